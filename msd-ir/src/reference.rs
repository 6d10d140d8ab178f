//! The op reference, made from the op table and the function table: `docs/ops.md` is its output,
//! and a test keeps it so.

use std::fmt::Write;

use crate::functions::FUNCTIONS;
use crate::ops::{OPS, OpInfo, Syntax};
use crate::quant::scheme::Scheme;

/// The reference in Markdown.
pub fn markdown() -> String {
    let mut text = String::from("# Operations\n\nMade from the tables of `msd-ir`; do not edit.\n\n");
    text.push_str("## Ops\n\n| written | class | meaning |\n|---|---|---|\n");
    for info in OPS {
        let _ = writeln!(text, "| `{}` | {:?} | {} |", written(info), info.class, escaped(info.formula));
    }
    text.push_str("\n## Functions\n\nExpanded into ops where they are called.\n\n| written | meaning |\n|---|---|\n");
    for function in FUNCTIONS {
        let _ = writeln!(
            text,
            "| `{}({})` | {} |",
            function.name,
            function.arguments.join(", "),
            escaped(function.formula)
        );
    }
    text.push_str("\n## Schemes\n\n| name | digits | weights | error / Mx | |\n|---|---|---|---|---|\n");
    for scheme in Scheme::ALL {
        let weights: Vec<String> = scheme.weights().iter().map(i64::to_string).collect();
        let (name, bound, count) = (scheme.name(), scheme.bound(), weights.len());
        let _ = writeln!(text, "| `{name}` | {count} | {} | {bound:.3e} | {} |", weights.join(", "), scheme.describe());
    }
    text
}

fn written(info: &OpInfo) -> String {
    match info.syntax {
        Syntax::Infix(infix) => info.operands.join(&format!(" {} ", infix.text)),
        Syntax::Prefix(text) => format!("{text}{}", info.operands.join(", ")),
        Syntax::Call(name) => {
            let attributes = info.attrs.iter().map(|(name, _)| *name);
            let arguments: Vec<&str> = info.operands.iter().copied().chain(attributes).collect();
            format!("{name}({})", arguments.join(", "))
        }
        Syntax::Leaf => info.name.to_string(),
    }
}

/// Text that Markdown tables take literally.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*").replace('_', "\\_")
}
