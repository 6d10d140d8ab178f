//! Text to tokens. Owns the spelling of tokens; what is none becomes a [`Token::Fault`], so that every line is read.

use logos::Logos;
use msd_ir::span::Span;

/// A token; texts are borrowed from the source.
#[derive(Logos, Clone, Copy, Debug, PartialEq)]
#[logos(skip "[ \t\r\u{c}\u{feff}]+")]
pub(super) enum Token<'a> {
    /// A word.
    #[regex("[A-Za-z_][A-Za-z0-9_]*", |lex| lex.slice())]
    Name(&'a str),
    /// A number with a fraction or an exponent.
    #[regex(r"[0-9]+\.[0-9]+([eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+", |lex| lex.slice(), priority = 10)]
    Decimal(&'a str),
    /// An integer.
    #[regex("[0-9]+", |lex| lex.slice(), priority = 9)]
    Integer(&'a str),
    /// From `//` to the end of the line.
    #[regex("//[^\n]*", |lex| lex.slice()[2..].trim(), allow_greedy = true)]
    Comment(&'a str),
    /// The end of a line.
    #[token("\n")]
    Line,
    /// `..`
    #[token("..")]
    Dots,
    /// A sign.
    #[regex(r"<=|==|!=|[-+*/%<(){}\[\],:.=]", |lex| lex.slice())]
    Sign(&'a str),
    /// No token starts here.
    Fault,
    /// The end of the text.
    End,
}

/// Tokens with their places; the last is [`Token::End`].
pub(super) fn tokens(text: &str) -> Vec<(Token<'_>, Span)> {
    let mut tokens: Vec<(Token<'_>, Span)> = Token::lexer(text)
        .spanned()
        .map(|(token, range)| (token.unwrap_or(Token::Fault), Span::new(range.start, range.end)))
        .collect();
    tokens.push((Token::End, Span::new(text.len(), text.len())));
    tokens
}
