//! Rust's tokens as tokens of the language, each with its place in the user's source. Owns what
//! of Rust's spelling the language takes and how the rest is refused; which token is one is the
//! lexer's business, and what may follow what the grammar's.
//!
//! Token `i` stands at `2*i..2*i + 1`, so that a diagnostic's place leads back to the tokens.

use std::collections::HashSet;
use std::iter::Peekable;

use msd_grammar::lexer::{Spanned, Token, lex};
use msd_ir::diag::{Code, Diagnostic};
use msd_ir::graph::Kernel;
use msd_ir::span::Span as Place;
use proc_macro2::token_stream::IntoIter;
use proc_macro2::{Delimiter, Group, Ident, Punct, Spacing, Span, TokenStream, TokenTree};
use quote::ToTokens;

use crate::error::Fault;
use crate::rust;

/// What the tokens were written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Rust: the body of a function.
    Rust,
    /// The language, within such a body.
    Inline,
    /// The language: whole kernels.
    Kernels,
}

/// A token, and the first and last of Rust's tokens that it was made of.
struct Word {
    text: String,
    first: Span,
    last: Span,
}

/// Tokens of the language, and what was refused on the way to them.
#[derive(Default)]
pub(crate) struct Tokens {
    words: Vec<Word>,
    /// Words that stand for something in `faults`.
    refused: HashSet<usize>,
    faults: Vec<Fault>,
    /// Whether not knowing a dimension is no further fault.
    lost_dimensions: bool,
    /// The doc comments before each `kernel`.
    pub(crate) docs: Vec<TokenStream>,
}

/// A group that is being read.
struct Level {
    rest: Peekable<IntoIter>,
    form: Form,
    /// What stands at its end.
    close: Option<(&'static str, Span)>,
}

/// Spelled so that the lexer takes it for no token.
const FAULT: &str = "?";

/// Operators of Rust that would read as two of the language.
const FOREIGN: [&str; 13] = ["::", "..", "=>", "&&", "||", "<<", ">>", "+=", "-=", "*=", "/=", "|=", "&="];

impl Tokens {
    pub(crate) fn push(&mut self, text: impl Into<String>, first: Span, last: Span) {
        self.words.push(Word { text: text.into(), first, last });
    }

    /// Stands in for what is reported.
    pub(crate) fn refuse(&mut self, fault: Fault, first: Span, last: Span) {
        self.report(fault);
        self.refused.insert(self.words.len());
        self.push(FAULT, first, last);
    }

    /// Stands in for a type, which may have declared any dimension.
    pub(crate) fn refuse_type(&mut self, fault: Fault, first: Span, last: Span) {
        self.lost_dimensions = true;
        self.refuse(fault, first, last);
    }

    /// Reports without a token in the place.
    pub(crate) fn report(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Appends the tokens of `stream`.
    pub(crate) fn read(&mut self, stream: TokenStream, form: Form) {
        let mut docs = TokenStream::new();
        let mut level = Level { rest: stream.into_iter().peekable(), form, close: None };
        let mut outer: Vec<Level> = Vec::new();
        loop {
            let Some(tree) = level.rest.next() else {
                if let Some((text, span)) = level.close {
                    self.push(text, span, span);
                }
                match outer.pop() {
                    Some(next) => level = next,
                    None => return,
                }
                continue;
            };
            let inner = match tree {
                TokenTree::Punct(hash) if hash.as_char() == '#' && is_doc(level.rest.peek()) => {
                    let doc = level.rest.next();
                    if outer.is_empty() {
                        docs.extend([hash.into_token_stream(), doc.into_token_stream()]);
                    }
                    None
                }
                TokenTree::Punct(punct) => self.punct(&punct, &mut level),
                TokenTree::Literal(literal) => self.literal(&literal.to_string(), literal.span()),
                TokenTree::Group(group) => self.group(&group, level.form, outer.is_empty()),
                TokenTree::Ident(ident) => {
                    if outer.is_empty() && form == Form::Kernels && ident == "kernel" {
                        self.docs.push(std::mem::take(&mut docs));
                    }
                    self.ident(&ident, &mut level)
                }
            };
            if let Some(inner) = inner {
                outer.push(std::mem::replace(&mut level, inner));
            }
        }
    }

    fn punct(&mut self, punct: &Punct, level: &mut Level) -> Option<Level> {
        let first = punct.span();
        let mut text = punct.as_char().to_string();
        if let (Spacing::Joint, Some(TokenTree::Punct(next))) = (punct.spacing(), level.rest.peek()) {
            let (both, last) = (format!("{text}{}", next.as_char()), next.span());
            if is_token(&both) {
                level.rest.next();
                self.push(both, first, last);
                return None;
            }
            if FOREIGN.contains(&both.as_str()) {
                text = both;
            }
        }
        if is_token(&text) {
            self.push(text, first, first);
            return None;
        }
        let message = format!("`{text}` is not in the language");
        let at = |help: &str| Fault::at(Code::NotInTheLanguage, &message, help, first);
        match text.as_str() {
            "&" => self.report(at("values are not borrowed: remove the `&`")),
            "?" => self.report(at("nothing in a body can fail: remove the `?`")),
            "::" => self.skip_statement(at("names have no paths: write the last part alone"), first, level),
            "!" => self.skip_statement(at("no macro but `msd!(...)` stands in a body"), first, level),
            _ => {
                let help = "operators are `@ * / + - < <= > >= == !=`; the rest are functions";
                self.skip_statement(at(help), first, level);
            }
        }
        None
    }

    /// One fault for everything up to the next `;`, the block of an `if` or a loop, or the end of
    /// the group: what follows is mostly its echo.
    fn skip_statement(&mut self, fault: Fault, first: Span, level: &mut Level) {
        let mut last = first;
        while let Some(tree) = level.rest.next_if(|tree| !is_punct(Some(tree), ';')) {
            last = tree.span();
            let is_block = matches!(&tree, TokenTree::Group(g) if g.delimiter() == Delimiter::Brace);
            let goes_on = matches!(level.rest.peek(), Some(TokenTree::Ident(word)) if word == "else");
            if is_block && !goes_on {
                break;
            }
        }
        self.refuse(fault, first, last);
    }

    fn group(&mut self, group: &Group, form: Form, outermost: bool) -> Option<Level> {
        let (open, close) = match group.delimiter() {
            Delimiter::Parenthesis => ("(", ")"),
            Delimiter::Bracket => ("[", "]"),
            Delimiter::Brace if outermost && form == Form::Kernels => ("{", "}"),
            // What a macro by example put here: `$x`.
            Delimiter::None if is_single(group) => {
                return Some(Level { rest: group.stream().into_iter().peekable(), form, close: None });
            }
            Delimiter::None => ("(", ")"),
            Delimiter::Brace => {
                let message = "a body holds no blocks";
                let help = "write their `let` lines in the body itself; names are not shadowed";
                let span = group.span_open();
                self.refuse(Fault::at(Code::NotInTheLanguage, message, help, span), group.span(), group.span());
                return None;
            }
        };
        self.push(open, group.span_open(), group.span_open());
        let close = Some((close, group.span_close()));
        Some(Level { rest: group.stream().into_iter().peekable(), form, close })
    }

    fn ident(&mut self, ident: &Ident, level: &mut Level) -> Option<Level> {
        let (text, span) = (ident.to_string(), ident.span());
        if let Some(name) = text.strip_prefix("r#") {
            self.name(name, span, level.form);
            return None;
        }
        if level.form == Form::Rust {
            if text == "msd" && is_punct(level.rest.peek(), ':') {
                // `msd::msd!(...)`
                level.rest.next();
                level.rest.next_if(|tree| is_punct(Some(tree), ':'));
                return None;
            }
            if text == "msd" && level.rest.next_if(|tree| is_punct(Some(tree), '!')).is_some() {
                return self.inline(level);
            }
            if let Some(refusal) = rust::keyword(&text).filter(|_| text != "let") {
                let fault = Fault::at(Code::NotInTheLanguage, &refusal.message, refusal.help, span);
                match refusal.is_modifier {
                    true => self.report(fault),
                    false => self.skip_statement(fault, span, level),
                }
                return None;
            }
        }
        self.name(&text, span, level.form);
        None
    }

    /// `msd!(value)` within Rust: the value in parentheses.
    fn inline(&mut self, level: &mut Level) -> Option<Level> {
        let Some(TokenTree::Group(group)) = level.rest.next() else { return None };
        self.push("(", group.span_open(), group.span_open());
        let close = Some((")", group.span_close()));
        Some(Level { rest: group.stream().into_iter().peekable(), form: Form::Inline, close })
    }

    pub(crate) fn name(&mut self, name: &str, span: Span, form: Form) {
        if name == "kernel" && form != Form::Kernels {
            let message = "`kernel` is a reserved word of the language";
            return self.refuse(Fault::at(Code::NotInTheLanguage, message, "choose another name", span), span, span);
        }
        if !is_token(name) {
            let message = format!("`{name}` is no name in the language");
            let help = "names are made of ASCII letters, digits and `_`";
            return self.refuse(Fault::at(Code::NotInTheLanguage, &message, help, span), span, span);
        }
        self.push(name, span, span);
    }

    fn literal(&mut self, written: &str, span: Span) -> Option<Level> {
        let plain = written.strip_suffix("f32").unwrap_or(written).trim_end_matches('_').replace('_', "");
        let plain = plain.strip_suffix('.').unwrap_or(&plain);
        let is_text = written.starts_with('"') && !written.contains('\\');
        let text = if is_text { written } else { plain };
        if is_token(text) {
            self.push(text, span, span);
            return None;
        }
        let message = format!("`{written}` is no literal of the language");
        let help = "numbers are decimal and `f32`: `128`, `0.5`, `1e-4`; others are made by `cast(x, i8)`";
        self.refuse(Fault::at(Code::NotInTheLanguage, &message, help, span), span, span);
        None
    }

    /// The tokens with their places.
    pub(crate) fn spanned(&self) -> Vec<Spanned<'_>> {
        let token = |word| spell(word).unwrap_or(Token::Fault(msd_grammar::lexer::Fault::Characters));
        self.words.iter().enumerate().map(|(i, word)| (2 * i, token(word.text.as_str()), 2 * i + 1)).collect()
    }

    /// The kernels, or every fault: of the spelling and of the kernels. One without a place is
    /// put at `otherwise`.
    pub(crate) fn check(&self, otherwise: Span) -> Result<Vec<Kernel>, Vec<Fault>> {
        let checked = msd_grammar::check_tokens(&self.spanned());
        let diagnostics = match checked {
            Ok(kernels) if self.faults.is_empty() => return Ok(kernels),
            Ok(_) => Vec::new(),
            Err(diagnostics) => diagnostics,
        };
        let mut faults = self.faults.clone();
        let is_new = |d: &&Diagnostic| {
            let at = d.span.filter(|_| d.code == Code::InvalidToken).map(|s| s.start / 2);
            let is_echo = self.lost_dimensions && d.code == Code::UnknownDimension;
            at.is_none_or(|word| !self.refused.contains(&word)) && !is_echo
        };
        for diagnostic in diagnostics.iter().filter(is_new) {
            let spans = diagnostic.span.map_or((otherwise, otherwise), |place| self.spans(place, otherwise));
            let line = |start| self.spans(Place::new(start, start), otherwise).0.start().line;
            faults.push(Fault::new(diagnostic, spans, line));
        }
        Err(faults)
    }

    /// Where the first and the last token of a place stand in the source.
    pub(crate) fn spans(&self, place: Place, otherwise: Span) -> (Span, Span) {
        // A place without extent lies behind the last token it knows.
        let word = |at: usize| self.words.get(at / 2).or(self.words.last());
        let last = place.end.max(place.start + 1) - 1;
        (word(place.start).map_or(otherwise, |w| w.first), word(last).map_or(otherwise, |w| w.last))
    }
}

/// The token of that spelling, if the whole of it is one.
fn spell(text: &str) -> Option<Token<'_>> {
    match lex(text).as_slice() {
        [(_, Token::Fault(_) | Token::Comment(_), _)] => None,
        [(0, token, end)] if *end == text.len() => Some(*token),
        _ => None,
    }
}

fn is_token(text: &str) -> bool {
    spell(text).is_some()
}

fn is_single(group: &Group) -> bool {
    group.stream().into_iter().nth(1).is_none()
}

pub(crate) fn is_punct(tree: Option<&TokenTree>, c: char) -> bool {
    matches!(tree, Some(TokenTree::Punct(p)) if p.as_char() == c)
}

/// `[doc = ...]`, which is what a doc comment is to a macro.
fn is_doc(tree: Option<&TokenTree>) -> bool {
    let Some(TokenTree::Group(group)) = tree else { return false };
    let mut inner = group.stream().into_iter();
    let named = matches!(inner.next(), Some(TokenTree::Ident(name)) if name == "doc");
    named && is_punct(inner.next().as_ref(), '=')
}
