//! Text to tokens. Owns the spelling of tokens; what may follow what is the grammar's business.
//! Whatever is no token becomes a [`Token::Fault`], so that the parse goes on behind it.

use std::fmt;

use logos::Logos;

/// Why no token stands here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Characters that begin no token.
    Characters,
    /// A number that runs into letters, such as `128K`.
    Number,
    /// A string that does not end on its line.
    Text,
}

/// A token; texts are borrowed from whoever holds the source.
#[derive(Logos, Clone, Copy, Debug, PartialEq)]
#[logos(skip "[ \t\r\n\u{c}\u{feff}]+")]
pub enum Token<'a> {
    /// `kernel`
    #[token("kernel")]
    Kernel,
    /// `let`
    #[token("let")]
    Let,
    /// A name; all words but the two reserved ones.
    #[regex("[A-Za-z_][A-Za-z0-9_]*", |lex| lex.slice())]
    Name(&'a str),
    /// An integer or decimal, perhaps with an exponent.
    #[regex(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", |lex| lex.slice(), priority = 10)]
    Number(&'a str),
    /// A string without its quotes.
    #[regex("\"[^\"\n]*\"", |lex| lex.slice().trim_matches('"'), priority = 10)]
    Text(&'a str),
    /// From `//` to the end of the line; the parser never sees it.
    #[regex("//[^\n]*", |lex| lex.slice().trim_end(), allow_greedy = true)]
    Comment(&'a str),
    /// `(`
    #[token("(")]
    ParenOpen,
    /// `)`
    #[token(")")]
    ParenClose,
    /// `[`
    #[token("[")]
    BracketOpen,
    /// `]`
    #[token("]")]
    BracketClose,
    /// `{`
    #[token("{")]
    BraceOpen,
    /// `}`
    #[token("}")]
    BraceClose,
    /// `,`
    #[token(",")]
    Comma,
    /// `;`
    #[token(";")]
    Semicolon,
    /// `:`
    #[token(":")]
    Colon,
    /// `.`
    #[token(".")]
    Dot,
    /// `#`
    #[token("#")]
    Hash,
    /// `->`
    #[token("->")]
    Arrow,
    /// `=`
    #[token("=")]
    Assign,
    /// `-`, before or between operands.
    #[token("-")]
    Minus,
    /// Any other infix operator.
    #[token("+", |lex| lex.slice())]
    #[token("*", |lex| lex.slice())]
    #[token("/", |lex| lex.slice())]
    #[token("@", |lex| lex.slice())]
    #[token("<", |lex| lex.slice())]
    #[token("<=", |lex| lex.slice())]
    #[token(">", |lex| lex.slice())]
    #[token(">=", |lex| lex.slice())]
    #[token("==", |lex| lex.slice())]
    #[token("!=", |lex| lex.slice())]
    Operator(&'a str),
    /// No token.
    #[regex(r"[0-9]+(\.[0-9]+)?[A-Za-z_][A-Za-z0-9_]*", |_| Fault::Number, priority = 5)]
    #[regex("\"[^\"\n]*", |_| Fault::Text, priority = 5)]
    Fault(Fault),
}

/// A token with the byte range it stands at.
pub type Spanned<'a> = (usize, Token<'a>, usize);

/// Every token of `text`, comments included. Neighbouring characters that are no token make one fault.
pub fn lex(text: &str) -> Vec<Spanned<'_>> {
    let mut tokens: Vec<Spanned<'_>> = Vec::new();
    for (token, range) in Token::lexer(text).spanned() {
        let token = token.unwrap_or(Token::Fault(Fault::Characters));
        if let (Token::Fault(Fault::Characters), Some(last)) = (token, tokens.last_mut())
            && last.1 == token
            && last.2 == range.start
        {
            last.2 = range.end;
            continue;
        }
        tokens.push((range.start, token, range.end));
    }
    tokens
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Token::Text(text) => return write!(f, "\"{text}\""),
            Token::Kernel => "kernel",
            Token::Let => "let",
            Token::Name(text) | Token::Number(text) | Token::Comment(text) | Token::Operator(text) => text,
            Token::ParenOpen => "(",
            Token::ParenClose => ")",
            Token::BracketOpen => "[",
            Token::BracketClose => "]",
            Token::BraceOpen => "{",
            Token::BraceClose => "}",
            Token::Comma => ",",
            Token::Semicolon => ";",
            Token::Colon => ":",
            Token::Dot => ".",
            Token::Hash => "#",
            Token::Arrow => "->",
            Token::Assign => "=",
            Token::Minus => "-",
            Token::Fault(_) => "?",
        };
        f.write_str(text)
    }
}
