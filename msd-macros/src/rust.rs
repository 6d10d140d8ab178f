//! Words of Rust: which are reserved, and why one that stands in a body is no part of a kernel.

use proc_macro2::{Ident, Span};

/// Every word that is no plain identifier in some edition.
const KEYWORDS: [&str; 53] = [
    "Self", "_", "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do",
    "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro",
    "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super",
    "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Keywords that no `r#` turns into a name.
const NEVER_RAW: [&str; 5] = ["Self", "_", "crate", "self", "super"];

/// Names that a pattern takes for something that exists, in the scope of the expansion.
const TAKEN: [&str; 6] = ["SOURCE", "Kernel", "Ok", "Err", "Some", "None"];

/// Why a word of Rust is refused.
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) help: &'static str,
    /// Whether what follows makes sense without it.
    pub(crate) is_modifier: bool,
}

/// What to say of a keyword in a body; nothing if it is none.
pub(crate) fn keyword(word: &str) -> Option<Refusal> {
    if !KEYWORDS.contains(&word) || word == "_" {
        return None;
    }
    let help = match word {
        "if" | "else" | "match" => {
            "choose element by element with `where(condition, a, b)`: `msd!(where(x > 0, x, 0))`, or `r#where(...)`"
        }
        "for" | "while" | "loop" | "break" | "continue" => {
            "a body has no loops: ops work on whole tensors, such as `sum(x)` and `matmul(a, b)`"
        }
        "return" => "the result is the last value of the body, without `;`",
        "as" => "convert with `cast(x, bf16)`, or by the declared result",
        "mut" | "ref" => "a binding keeps its value: remove the word",
        "true" | "false" => "truth values come from comparisons, such as `x > 0`",
        _ => "a body is lines of `let name = value;` and a final value without `;`",
    };
    let is_modifier = matches!(word, "mut" | "ref");
    Some(Refusal { message: format!("`{word}` is not in the language"), help, is_modifier })
}

/// A name of the language as an identifier: itself where Rust lets it, raw or with `_` behind it
/// where not. `others` are the names it must differ from then.
pub(crate) fn ident(name: &str, others: &[&str], span: Span) -> Ident {
    if !NEVER_RAW.contains(&name) && !TAKEN.contains(&name) {
        return match KEYWORDS.contains(&name) {
            true => Ident::new_raw(name, span),
            false => Ident::new(name, span),
        };
    }
    fresh(name, others, span)
}

/// `name` with as many `_` behind it as it takes.
pub(crate) fn fresh(name: &str, others: &[&str], span: Span) -> Ident {
    let mut name = name.to_string();
    while others.contains(&name.as_str()) || NEVER_RAW.contains(&name.as_str()) || TAKEN.contains(&name.as_str()) {
        name.push('_');
    }
    Ident::new(&name, span)
}
