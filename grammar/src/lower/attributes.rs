//! `#[...]` before a kernel: which attributes there are and what they may say.

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::graph::{Attributes, Lowering};
use msd_ir::quant::scheme::Scheme;

use super::Lower;
use crate::ast::{Attribute, AttributeValue};
use crate::nearest::suggestion;

/// The attributes a kernel may have.
pub const ATTRIBUTES: [&str; 3] = ["tolerance", "scheme", "lowering"];

impl<'a> Lower<'a, '_> {
    pub(super) fn attributes(&mut self, attributes: &[Option<Attribute<'a>>]) -> Attributes {
        let mut result = Attributes::default();
        let mut seen: Vec<&Attribute<'_>> = Vec::new();
        for attribute in attributes.iter().flatten() {
            if let Some(first) = seen.iter().find(|a| a.name.text == attribute.name.text) {
                let message = format!("attribute `{}` is given twice", attribute.name.text);
                let fault = Diagnostic::new(Code::DuplicateAttribute, message).at(attribute.span);
                self.report(fault.label(first.span, "first given here").help("remove one of them"));
                continue;
            }
            if ATTRIBUTES.contains(&attribute.name.text) {
                seen.push(attribute);
            }
            let outcome = set(&mut result, attribute);
            self.accept(outcome);
        }
        result
    }
}

fn set(result: &mut Attributes, attribute: &Attribute<'_>) -> Result<(), Diagnostic> {
    match (attribute.name.text, attribute.values.as_slice()) {
        ("tolerance", [value]) => result.tolerance = Some(tolerance(attribute, value)?),
        ("scheme", [AttributeValue::Words(words)]) => {
            let name = words.iter().map(|w| w.text).collect::<Vec<_>>().join("-");
            let span = words.iter().fold(attribute.name.span, |_, w| w.span);
            let span = words.first().map_or(span, |w| w.span.to(span));
            result.scheme = Some(scheme(&name).map_err(|fault| fault.at(span))?);
        }
        ("lowering", [AttributeValue::Words(words)]) => {
            let lowering = match words.as_slice() {
                [word] => Lowering::from_name(word.text),
                _ => None,
            };
            let bad = || bad(attribute, "`lowering` is `msd`, `dequant` or `auto`");
            result.lowering = Some(lowering.ok_or_else(bad)?);
        }
        ("tolerance", _) => return Err(bad(attribute, "`tolerance` takes one number, such as `1e-4`")),
        ("scheme", _) => return Err(bad(attribute, "`scheme` takes one name, such as `int8x2-pow2`")),
        ("lowering", _) => return Err(bad(attribute, "`lowering` is `msd`, `dequant` or `auto`")),
        (name, _) => {
            let help = suggestion(name, ATTRIBUTES, "attributes are `tolerance`, `scheme` and `lowering`");
            let message = format!("there is no attribute `{name}`");
            return Err(Diagnostic::new(Code::UnknownAttribute, message).at(attribute.name.span).help(help));
        }
    }
    Ok(())
}

fn tolerance(attribute: &Attribute<'_>, value: &AttributeValue<'_>) -> Result<f64, Diagnostic> {
    let value = match value {
        AttributeValue::Number { negative: false, text } => text.parse::<f64>().ok(),
        AttributeValue::Number { .. } | AttributeValue::Words(_) => None,
    };
    value
        .filter(|t| t.is_finite() && *t > 0.0)
        .ok_or_else(|| bad(attribute, "`tolerance` is a finite number above 0, such as `1e-4`"))
}

fn bad(attribute: &Attribute<'_>, rule: &str) -> Diagnostic {
    let message = format!("bad value of attribute `{}`", attribute.name.text);
    Diagnostic::new(Code::BadAttribute, message).at(attribute.span).help(rule)
}

/// The scheme of that name, or the nearest one as help; the place is the caller's.
pub(super) fn scheme(name: &str) -> Result<Scheme, Diagnostic> {
    name.parse().map_err(|fault: Diagnostic| {
        let all = fault.help.clone().unwrap_or_default();
        fault.help(suggestion(name, Scheme::ALL.iter().map(|s| s.name()), all))
    })
}
