//! Tokens to syntax trees. Owns the resumption after faults: the file is split at the reserved
//! word `kernel`, each piece is parsed on its own, and within a piece only the first fault of a
//! statement or parameter is reported, since those behind it are mostly its echo.

use std::collections::HashSet;

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::span::Span;

use crate::ast::{Arena, Context, Kernel, Statement};
use crate::error::{self, Section, SyntaxError};
use crate::grammar::KernelParser;
use crate::lexer::{Spanned, Token};

/// Deepest nesting of brackets within a statement or header.
const MAX_DEPTH: usize = 256;

/// A parsed kernel with its expressions.
#[derive(Debug)]
pub struct Piece<'a> {
    /// The kernel.
    pub kernel: Kernel<'a>,
    /// Its expressions.
    pub arena: Arena<'a>,
    /// Names that faulty text may have declared; not knowing them is no further fault.
    pub lost: HashSet<&'a str>,
}

/// Every kernel that could be made out, and every syntax error.
#[derive(Debug)]
pub struct File<'a> {
    /// The kernels.
    pub pieces: Vec<Piece<'a>>,
    /// The errors, in no particular order.
    pub errors: Vec<Diagnostic>,
}

/// Parses the tokens of a file; comments must have been left out.
pub fn file<'a>(tokens: &[Spanned<'a>]) -> File<'a> {
    let mut file = File { pieces: Vec::new(), errors: Vec::new() };
    let starts = piece_starts(tokens);
    let first = starts.first().copied().unwrap_or(tokens.len());
    stray(&tokens[..first], &mut file.errors);
    if tokens.is_empty() {
        let fault = Diagnostic::new(Code::EmptyFile, "the file holds no kernel").at(Span::default());
        file.errors.push(fault.help("write one: `kernel name(x: f32[M, N]) -> f32[M, N] { x }`"));
    }
    for (i, start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).copied().unwrap_or(tokens.len());
        piece(&tokens[*start..end], tokens.get(end), &mut file);
    }
    file
}

/// Where each kernel begins: at `kernel`, or at the first `#` before it that follows no body.
fn piece_starts(tokens: &[Spanned<'_>]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut attributes = None;
    for (i, (_, token, _)) in tokens.iter().enumerate() {
        match token {
            Token::Hash => attributes = attributes.or(Some(i)),
            Token::Kernel => starts.push(attributes.take().unwrap_or(i)),
            Token::BraceOpen | Token::BraceClose | Token::Semicolon => attributes = None,
            _ => {}
        }
    }
    starts
}

fn stray(tokens: &[Spanned<'_>], errors: &mut Vec<Diagnostic>) {
    lexical(tokens, errors);
    let sound = |t: &&Spanned<'_>| !matches!(t.1, Token::Fault(_));
    if let (Some(first), Some(last)) = (tokens.iter().find(sound), tokens.iter().rfind(sound)) {
        errors.push(error::stray(Span::new(first.0, last.2)));
    }
}

fn lexical(tokens: &[Spanned<'_>], errors: &mut Vec<Diagnostic>) {
    for (start, token, end) in tokens {
        if let Token::Fault(fault) = token {
            errors.push(error::of_fault(*fault, Span::new(*start, *end)));
        }
    }
}

/// Parses one kernel and what follows it up to the next.
fn piece<'a>(tokens: &[Spanned<'a>], next: Option<&Spanned<'a>>, file: &mut File<'a>) {
    let (length, open) = body_end(tokens);
    let (tokens, rest) = tokens.split_at(length);
    stray(rest, &mut file.errors);
    lexical(tokens, &mut file.errors);
    check_depth(tokens, &mut file.errors);
    let mut items = Items::new(tokens);
    let end = tokens.last().map_or(0, |t| t.2);
    let mut closing = None;
    if let Some(open) = open {
        file.errors.push(error::unclosed(open, end, next.map(|t| Span::new(t.0, t.2))));
        closing = Some((end, Token::BraceClose, end));
    }
    let mut context = Context::default();
    let input = tokens.iter().copied().chain(closing);
    let parsed = KernelParser::new().parse(&mut context, input);

    let mut swallowed_body = false;
    let recovered = context.recovered.iter().map(|r| (&r.error, r.dropped_tokens.as_slice()));
    let mut faults: Vec<(&SyntaxError<'_>, &[Spanned<'_>])> = recovered.collect();
    if let Err(fault) = &parsed {
        faults.push((fault, &[]));
    }
    faults.sort_by_key(|(fault, _)| error::place(fault).start);
    for (fault, dropped) in faults {
        if swallowed_body {
            break;
        }
        swallowed_body = dropped.iter().any(|t| t.1 == Token::BraceOpen);
        let at = error::place(fault);
        // The closing brace was made up, and its absence is reported already.
        let made_up = closing.is_some_and(|c| at == Span::new(c.0, c.2));
        if items.first_fault(at.start) && !made_up {
            let behind = next.map(|t| (t.1, Span::new(t.0, t.2)));
            file.errors.push(error::of_syntax(fault, items.section(at.start), behind));
        }
    }
    let Ok(kernel) = parsed else { return };
    report_form(&kernel, &items, closing.is_some(), &mut file.errors);
    if !swallowed_body {
        let lost = items.lost_names(tokens);
        file.pieces.push(Piece { kernel, arena: context.arena, lost });
    }
}

/// How many tokens belong to the kernel, and its brace if that is never closed.
fn body_end(tokens: &[Spanned<'_>]) -> (usize, Option<Span>) {
    let mut open = Vec::new();
    for (i, (start, token, end)) in tokens.iter().enumerate() {
        match token {
            Token::BraceOpen => open.push(Span::new(*start, *end)),
            Token::BraceClose if open.len() == 1 => return (i + 1, None),
            Token::BraceClose => {
                open.pop();
            }
            _ => {}
        }
    }
    (tokens.len(), open.first().copied())
}

/// Reports the first bracket of each statement that nests too deeply.
fn check_depth(tokens: &[Spanned<'_>], errors: &mut Vec<Diagnostic>) {
    let mut depth = 0usize;
    let mut reported = false;
    for (start, token, end) in tokens {
        match token {
            Token::ParenOpen | Token::BracketOpen => {
                depth += 1;
                if depth > MAX_DEPTH && !reported {
                    errors.push(error::too_deep(MAX_DEPTH, Span::new(*start, *end)));
                    reported = true;
                }
            }
            Token::ParenClose | Token::BracketClose => depth = depth.saturating_sub(1),
            Token::Semicolon | Token::BraceOpen | Token::BraceClose => (depth, reported) = (0, false),
            _ => {}
        }
    }
}

/// Bodies the grammar accepts so that their fault can be named: a value that ends with `;`, and
/// none at the end.
fn report_form(kernel: &Kernel<'_>, items: &Items, unclosed: bool, errors: &mut Vec<Diagnostic>) {
    let last = kernel.statements.len();
    for (i, statement) in kernel.statements.iter().enumerate() {
        let Statement::Unused { semicolon, .. } = statement else { continue };
        let is_result = i + 1 == last && kernel.value.is_none();
        let (message, help) = if is_result {
            ("expected `}`, found `;`: the final value takes no semicolon", "remove the `;`")
        } else {
            ("expected an operator or `}`, found `;`: the value is used by nothing", "bind it: `let name = value;`")
        };
        if !items.is_faulty(semicolon.start) {
            errors.push(Diagnostic::new(Code::UnexpectedToken, message).at(*semicolon).help(help));
        }
    }
    let explained = match kernel.statements.last() {
        Some(Statement::Unused { .. } | Statement::Fault) => true,
        Some(Statement::Let { .. }) | None => unclosed,
    };
    if kernel.value.is_none() && !explained && !items.is_faulty(kernel.end.start) {
        let message = "expected a value, found `}`: the kernel has no result";
        let fault = Diagnostic::new(Code::UnexpectedToken, message).at(kernel.end);
        errors.push(fault.help("end the body with a value without `;`"));
    }
}

/// The stretches of a kernel within which one fault is reported: attributes, parameters, the
/// result type, statements.
struct Items {
    /// Start and number of each token's item.
    items: Vec<(usize, usize)>,
    faulty: HashSet<usize>,
    body: usize,
}

impl Items {
    fn new(tokens: &[Spanned<'_>]) -> Items {
        let (mut item, mut depth, mut body) = (0, 0usize, None);
        let mut items = Vec::with_capacity(tokens.len());
        let mut faulty = HashSet::new();
        for (start, token, _) in tokens {
            if matches!(token, Token::Hash | Token::Kernel | Token::Arrow | Token::BraceOpen) && body.is_none() {
                item += 1;
            }
            items.push((*start, item));
            match token {
                Token::BraceOpen => body = body.or(Some(*start)),
                Token::ParenOpen | Token::BracketOpen => depth += 1,
                Token::ParenClose | Token::BracketClose => depth = depth.saturating_sub(1),
                Token::Fault(_) => {
                    faulty.insert(item);
                }
                _ => {}
            }
            let ends_param = *token == Token::Comma && body.is_none() && depth <= 1;
            if ends_param || matches!(token, Token::BraceOpen | Token::Semicolon) {
                item += 1;
                depth = usize::from(body.is_none());
            }
        }
        Items { items, faulty, body: body.unwrap_or(usize::MAX) }
    }

    fn item(&self, at: usize) -> usize {
        let behind = self.items.partition_point(|(start, _)| *start <= at);
        behind.checked_sub(1).map_or(0, |i| self.items[i].1)
    }

    /// Marks the item at that place as faulty; whether it was sound before.
    fn first_fault(&mut self, at: usize) -> bool {
        let item = self.item(at);
        self.faulty.insert(item)
    }

    fn is_faulty(&self, at: usize) -> bool {
        self.faulty.contains(&self.item(at))
    }

    fn section(&self, at: usize) -> Section {
        if at > self.body { Section::Body } else { Section::Header }
    }

    /// Names that faulty items may have declared: all in a header, those behind `let` in a body.
    fn lost_names<'a>(&self, tokens: &[Spanned<'a>]) -> HashSet<&'a str> {
        let mut names = HashSet::new();
        let mut declares = false;
        for ((start, token, _), (_, item)) in tokens.iter().zip(&self.items) {
            declares = match token {
                Token::Let => true,
                Token::Assign | Token::Semicolon => false,
                _ => declares,
            };
            if let Token::Name(name) = token
                && self.faulty.contains(item)
                && (declares || *start < self.body)
            {
                names.insert(*name);
            }
        }
        names
    }
}
