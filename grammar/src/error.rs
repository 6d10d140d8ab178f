//! Faults of the lexer and the parser as diagnostics: the parser's token sets become the
//! language's own terms. Owns the wording of syntax errors; where the parse goes on is
//! [`crate::parse`]'s business.

use lalrpop_util::ParseError;
use msd_ir::diag::{Code, Diagnostic};
use msd_ir::span::Span;

use crate::lexer::{Fault, Token};

/// A fault of the parser.
pub(crate) type SyntaxError<'a> = ParseError<usize, Token<'a>, &'static str>;

/// Which part of a kernel a fault lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// Up to the opening brace.
    Header,
    /// Behind it.
    Body,
}

/// What the lexer found in place of a token.
pub(crate) fn of_fault(fault: Fault, span: Span) -> Diagnostic {
    let (message, help) = match fault {
        Fault::Characters => ("no token starts here", "remove these characters; comments begin with `//`"),
        Fault::Number => {
            ("a number runs into letters", "write numbers as `128`, `0.5` or `1e-4`; names begin with a letter")
        }
        Fault::Text => ("the string does not end on its line", "close it with `\"`"),
    };
    Diagnostic::new(Code::InvalidToken, message).at(span).help(help)
}

/// Where the parser stopped: the token's range, or the end of the input.
pub(crate) fn place(error: &SyntaxError<'_>) -> Span {
    match error {
        ParseError::InvalidToken { location } | ParseError::UnrecognizedEof { location, .. } => {
            Span::new(*location, *location)
        }
        ParseError::UnrecognizedToken { token, .. } | ParseError::ExtraToken { token } => Span::new(token.0, token.2),
        ParseError::User { .. } => Span::default(),
    }
}

/// The token the parser could not take; nothing at the end of the input.
pub(crate) fn found<'a>(error: &SyntaxError<'a>) -> Option<Token<'a>> {
    match error {
        ParseError::UnrecognizedToken { token, .. } | ParseError::ExtraToken { token } => Some(token.1),
        ParseError::InvalidToken { .. } | ParseError::UnrecognizedEof { .. } | ParseError::User { .. } => None,
    }
}

/// What the parser found and what it could have taken. `behind` is the token that follows the
/// kernel's text, if the text ended too early.
pub(crate) fn of_syntax(error: &SyntaxError<'_>, section: Section, behind: Option<(Token<'_>, Span)>) -> Diagnostic {
    let expected = match error {
        ParseError::UnrecognizedToken { expected, .. } | ParseError::UnrecognizedEof { expected, .. } => {
            expected.as_slice()
        }
        ParseError::InvalidToken { .. } | ParseError::ExtraToken { .. } | ParseError::User { .. } => &[],
    };
    let wanted = describe(expected);
    let (token, span) = match (found(error), behind) {
        (Some(token), _) => (Some(token), place(error)),
        (None, Some((token, span))) => (Some(token), span),
        (None, None) => (None, place(error)),
    };
    let Some(token) = token else {
        return Diagnostic::new(Code::UnexpectedEnd, format!("the text ends where {wanted} should follow"))
            .at(span)
            .here(format!("expected {wanted}"))
            .help(form_of(section));
    };
    Diagnostic::new(Code::UnexpectedToken, format!("expected {wanted}, found `{token}`"))
        .at(span)
        .here(format!("expected {wanted}"))
        .help(hint(token, expected, section))
}

/// A kernel whose closing brace is missing.
pub(crate) fn unclosed(open: Span, end: usize, behind: Option<Span>) -> Diagnostic {
    let message = "the kernel's `{` is not closed";
    match behind {
        Some(next) => {
            Diagnostic::new(Code::UnexpectedToken, format!("expected `}}`, found `kernel`: {message}")).at(next)
        }
        None => Diagnostic::new(Code::UnexpectedEnd, format!("the text ends where `}}` should follow: {message}"))
            .at(Span::new(end, end)),
    }
    .here("expected `}`")
    .label(open, "opened here")
    .help("end the kernel with `}`")
}

/// Text that belongs to no kernel.
pub(crate) fn stray(span: Span) -> Diagnostic {
    Diagnostic::new(Code::StrayText, "text outside a kernel")
        .at(span)
        .here("belongs to no kernel")
        .help(form_of(Section::Header))
}

/// Brackets beyond the limit.
pub(crate) fn too_deep(limit: usize, span: Span) -> Diagnostic {
    Diagnostic::new(Code::NestingTooDeep, format!("brackets nest deeper than {limit}"))
        .at(span)
        .help("bind inner expressions with `let`")
}

fn form_of(section: Section) -> &'static str {
    match section {
        Section::Header => "a kernel is written `kernel name(x: f32[M, N]) -> f32[M, N] { ... }`",
        Section::Body => "a body is lines of `let name = value;` and a final value without `;`",
    }
}

fn hint(found: Token<'_>, expected: &[String], section: Section) -> String {
    let can = |terminal: &str| expected.iter().any(|e| e == terminal || e.trim_matches('"') == terminal);
    match found {
        Token::Kernel | Token::Let if can("name") && !can("let") => format!("`{found}` is a reserved word"),
        Token::Assign if can("+") => "equality is written `==`; bind names with `let name = value;`".into(),
        Token::Operator("<" | "<=" | ">" | ">=" | "==" | "!=") if can("+") => {
            "comparisons do not chain: put parentheses around one of them".into()
        }
        Token::Colon if can("=") => "a binding has the type of its value; convert with `cast(x, bf16)`".into(),
        Token::BracketOpen if can("+") => {
            "elements are not indexed; take a part with `slice(x, axis, start, stop)`".into()
        }
        _ if can(";") && can("+") && !can("}") => "end the `let` with `;`".into(),
        _ if can(":") => "a parameter is written `name: type[sizes]`".into(),
        _ if expected.len() == 1 && can("[") => "a type has sizes: `f32[M, N]`, or `f32[]` for one number".into(),
        _ if can("->") => "declare the result: `-> f32[M, N]`".into(),
        _ => form_of(section).into(),
    }
}

/// Terminals that begin an expression, and those that continue one.
const BEGIN: [&str; 7] = ["name", "number", "text", "fault", "(", "[", "-"];
const CONTINUE: [&str; 13] = ["+", "-", "*", "/", "@", "<", "<=", ">", ">=", "==", "!=", ".", "("];

/// The parser's terminals in the language's terms: "an operator, `;` or `}`".
fn describe(expected: &[String]) -> String {
    let mut terminals: Vec<&str> =
        expected.iter().map(|e| e.strip_prefix('"').and_then(|e| e.strip_suffix('"')).unwrap_or(e)).collect();
    let mut words: Vec<String> = Vec::new();
    let has = |terminals: &[&str], t: &str| terminals.contains(&t);
    if has(&terminals, "number") && has(&terminals, "(") {
        words.push("a value".into());
        terminals.retain(|t| !BEGIN.contains(t));
    } else if has(&terminals, "+") || has(&terminals, ".") {
        words.push("an operator".into());
        terminals.retain(|t| !CONTINUE.contains(t));
    }
    terminals.retain(|t| *t != "fault");
    words.extend(terminals.iter().map(|t| match *t {
        "name" => "a name".to_string(),
        "number" => "a number".to_string(),
        "text" => "a string".to_string(),
        other => format!("`{other}`"),
    }));
    match words.as_slice() {
        [] => "nothing more".into(),
        [one] => one.clone(),
        [all @ .., last] => format!("{} or {last}", all.join(", ")),
    }
}
