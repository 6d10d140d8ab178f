//! Choosing among the alternatives of a site: attributes, requests, tolerance, then cost.

use super::{Alternative, Choice, Request};
use crate::diag::{Code, Diagnostic};
use crate::dtype::DType;
use crate::graph::{Kernel, Lowering};
use crate::quant::scheme::{Family, Scheme};
use crate::rewrite::form::Form;

/// What is known of a site before anything is chosen.
pub(super) struct Facts {
    /// Whether both operands are stored and can be multiplied as they are.
    pub(super) is_native: bool,
    /// Whether the activations are never negative.
    pub(super) is_positive: bool,
    /// Whether the activations are themselves dequantized.
    pub(super) is_dequantized: bool,
    /// Element type of the activations.
    pub(super) declared: DType,
    /// Length of the contraction.
    pub(super) k: Option<u64>,
    /// How the weight can be multiplied as stored.
    pub(super) form: Option<Form>,
    /// The scheme that is asked for.
    pub(super) asked: Option<Scheme>,
}

impl Facts {
    /// The scheme used when none is asked for. Numbers that are never negative waste no bit on a
    /// sign, but those of BF16 are rather kept exact.
    fn default_scheme(&self) -> Scheme {
        match self.declared {
            DType::BF16 => Scheme::Int8x2Pow2,
            _ if self.is_positive => Scheme::Uint8x2,
            _ => Scheme::Int8x2Radix,
        }
    }

    /// Whether a scheme is an alternative here. One digit of 16 bits is two of 8, which a target asks
    /// for by itself.
    pub(super) fn offers(&self, scheme: Scheme) -> bool {
        let is_form = scheme.digit_dtype() == DType::I16;
        (!scheme.is_unsigned() || self.is_positive) && (!is_form || self.asked == Some(scheme))
    }

    /// The block that is asked for, where it fits: it divides the contraction and its groups.
    pub(super) fn blocks(&self, request: &Request, form: &Form) -> Option<u64> {
        let block = request.block?;
        let fits = self.k.is_some_and(|k| k % block == 0) && form.unit.is_none_or(|unit| unit % block == 0);
        fits.then_some(block)
    }
}

/// Decides a site. A tolerance binds whatever is chosen, dequantization included.
pub(super) fn choose(
    kernel: &Kernel,
    request: &Request,
    alternatives: &[Alternative],
    facts: &Facts,
    block: Option<u64>,
) -> Result<Choice, Diagnostic> {
    let tolerance = request.tolerance.or(kernel.attributes.tolerance);
    let asked_scheme = facts.asked;
    let asked_lowering = request.lowering.or(kernel.attributes.lowering).unwrap_or(Lowering::Auto);
    let from = |flag: bool| if flag { "asked for" } else { "by attribute" };
    let find = |l: Lowering, s: Scheme| {
        alternatives.iter().find(move |a| a.lowering == l && a.scheme.is_none_or(|own| own == s))
    };
    let default = facts.default_scheme();
    let offered = |s: Scheme| facts.form.is_none() || find(Lowering::Msd, s).is_some();
    let (scheme, scheme_reason) = match (asked_scheme, tolerance) {
        _ if facts.is_native => (default, "both operands are stored as integers".to_string()),
        (Some(scheme), _) if offered(scheme) => {
            (scheme, format!("`{}` {}", scheme.name(), from(request.scheme.is_some())))
        }
        (Some(scheme), _) => {
            let (asked, name) = (scheme.name(), default.name());
            (default, format!("`{asked}` needs activations that are never negative; `{name}` is the default for these"))
        }
        (None, Some(t)) if find(Lowering::Msd, default).is_some() => cheapest_within(t, alternatives, default),
        (None, _) => (default, format!("`{}` is the default for these activations", default.name())),
    };
    let scheme_reason = match (request.block, block) {
        (Some(_), Some(block)) => format!("{scheme_reason}, in blocks of {block}"),
        (Some(block), None) if facts.form.is_some() && !facts.is_native => {
            format!("{scheme_reason}; blocks of {block} do not fit the contraction or its groups")
        }
        _ => scheme_reason,
    };
    let costs = |l| find(l, scheme).and_then(|a| a.cost).map(|c| c.seconds);
    let (lowering, because) = match asked_lowering {
        Lowering::Msd => (Lowering::Msd, format!("`msd` {}, {scheme_reason}", from(request.lowering.is_some()))),
        Lowering::Dequant => (Lowering::Dequant, format!("`dequant` {}", from(request.lowering.is_some()))),
        Lowering::Auto if find(Lowering::Msd, scheme).is_none() => {
            (Lowering::Dequant, "no rule multiplies this weight as stored".to_string())
        }
        Lowering::Auto if asked_scheme.is_some() || block.is_some() || facts.is_native => {
            (Lowering::Msd, scheme_reason.clone())
        }
        Lowering::Auto => match (costs(Lowering::Msd), costs(Lowering::Dequant)) {
            (Some(m), Some(d)) if m <= d => {
                (Lowering::Msd, format!("predicted {} against {} for dequant; {scheme_reason}", time(m), time(d)))
            }
            (Some(m), Some(d)) => (Lowering::Dequant, format!("predicted {} against {} for msd", time(d), time(m))),
            _ => (Lowering::Msd, format!("sizes are open; {scheme_reason}")),
        },
    };
    let choice = |lowering, because| Choice { lowering, scheme, block, recombine: false, because };
    // A rule that its guard stops leaves the dequantization to answer for the tolerance.
    let done = find(lowering, scheme).or_else(|| find(Lowering::Dequant, scheme));
    match (tolerance, done.and_then(Alternative::bound)) {
        (Some(t), Some(bound)) if bound > t => {
            let meets = |a: &Alternative| a.bound().is_some_and(|b| b <= t);
            if asked_scheme.is_some() || asked_lowering != Lowering::Auto {
                let message = format!("what was asked for is certified to {bound:.3e} only, not to {t:e}");
                return Err(Diagnostic::new(Code::ToleranceUnmet, message)
                    .help("leave scheme and lowering to the compiler, or raise the tolerance"));
            }
            // Dearer within the tolerance beats cheaper outside it.
            let other = if lowering == Lowering::Dequant { Lowering::Msd } else { Lowering::Dequant };
            if find(other, scheme).is_some_and(meets) {
                let (cheap, good) = (lowering.name(), other.name());
                let rest = if other == Lowering::Msd { format!("; {scheme_reason}") } else { String::new() };
                let because = format!("{cheap} is cheaper but not certified to {t:e}, {good} is{rest}");
                return Ok(choice(other, because));
            }
            Err(unmet(t, alternatives))
        }
        _ => Ok(choice(lowering, because)),
    }
}

/// The scheme of fewest digits within tolerance `t`, the default before others of as many; the
/// most precise one if none is.
fn cheapest_within(t: f64, alternatives: &[Alternative], default: Scheme) -> (Scheme, String) {
    let schemes = || alternatives.iter().filter_map(|a| Some((a.scheme?, a.bound())));
    // Without a contraction length groups have no bound yet, and digits alone decide.
    let bound = |s: Scheme, bound: Option<f64>| bound.unwrap_or(s.bound());
    let within = schemes().filter(|(s, b)| bound(*s, *b) <= t);
    let best = within.min_by(|(a, x), (b, y)| {
        // Of as many digits, those that split one integer cost less than those that divide for each.
        let rank = |s: &Scheme| (s.weights().len(), *s != default, matches!(s.family(), Family::Greedy { .. }));
        rank(a).cmp(&rank(b)).then(bound(*a, *x).total_cmp(&bound(*b, *y)))
    });
    match best {
        Some((scheme, _)) => (scheme, format!("`{}` is the cheapest within {t:e}", scheme.name())),
        None => {
            let precise = schemes().min_by(|(a, x), (b, y)| bound(*a, *x).total_cmp(&bound(*b, *y)));
            let scheme = precise.map_or(default, |(s, _)| s);
            (scheme, format!("`{}` is the most precise", scheme.name()))
        }
    }
}

fn unmet(t: f64, alternatives: &[Alternative]) -> Diagnostic {
    let name = |a: &Alternative| a.scheme.map_or(a.lowering.name(), Scheme::name);
    let bounds = alternatives.iter().filter_map(|a| Some((a.bound()?, name(a))));
    let best = bounds.min_by(|a, b| a.0.total_cmp(&b.0));
    let help = best.map_or_else(String::new, |(bound, name)| {
        format!("the best bound here is {bound:.3e} (`{name}`): raise the tolerance to at least that")
    });
    Diagnostic::new(Code::ToleranceUnmet, format!("no lowering has a certified error of at most {t:e}")).help(help)
}

fn time(seconds: f64) -> String {
    if seconds < 1e-3 { format!("{:.1} us", seconds * 1e6) } else { format!("{:.2} ms", seconds * 1e3) }
}
