//! Choosing among the alternatives of a site: attributes, requests, tolerance, then cost.

use super::{Abilities, Alternative, Choice, Request};
use crate::certificate::Measure;
use crate::diag::{Code, Diagnostic};
use crate::dtype::DType;
use crate::graph::{Kernel, Lowering};
use crate::quant::scheme::{Family, Scheme};
use crate::rewrite::form::{Codes, Form, Zero};

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
    /// What the machine can do.
    pub(super) abilities: Abilities,
}

impl Facts {
    /// The scheme used when none is asked for. Numbers that are never negative waste no bit on a
    /// sign, but those of BF16 are rather kept exact.
    fn default_scheme(&self) -> Scheme {
        match self.declared {
            DType::BF16 => Scheme::Int8x2Pow2,
            _ if self.is_positive && self.abilities.unsigned_digits => Scheme::Uint8x2,
            _ => Scheme::Int8x2Radix,
        }
    }

    /// Whether a scheme is an alternative here. One digit of 16 bits is two of 8, which a target asks
    /// for by itself, and digits that are floats are for hardware that multiplies such: both only
    /// where they are asked for.
    pub(super) fn offers(&self, scheme: Scheme) -> bool {
        let is_special = scheme.digit_dtype() == DType::I16 || matches!(scheme.family(), Family::Minifloat { .. });
        (!is_special || self.asked == Some(scheme)) && self.refusal(scheme).is_none()
    }

    /// Why a scheme does not fit these operands.
    fn refusal(&self, scheme: Scheme) -> Option<String> {
        if scheme.is_unsigned() && !self.is_positive {
            return Some("needs activations that are never negative".to_string());
        }
        if scheme.is_unsigned() && !self.abilities.unsigned_digits {
            return Some("needs a machine that multiplies digits without a sign".to_string());
        }
        let form = self.form?;
        if let Some(block) = scheme.block().filter(|block| !self.fits(*block, &form)) {
            let is_open = self.k.is_none() && form.unit.is_none();
            return Some(match is_open {
                true => format!("has blocks of {block}: whether they fit is open until the contracted size is known"),
                false => format!("has blocks of {block}, which do not fit the contraction or its groups"),
            });
        }
        let is_rounded = form.zero != Zero::None && !form.codes.is_exact_with(scheme);
        is_rounded.then(|| "has products that are rounded before a zero point could be taken off".to_string())
    }

    /// Elements of the contraction with a unit of their own: those of the scheme, or those that are
    /// asked for, where they fit.
    pub(super) fn block(&self, request: &Request, scheme: Scheme) -> Option<u64> {
        let form = self.form?;
        scheme.block().or(request.block.filter(|block| *block > 0 && self.fits(*block, &form)))
    }

    /// Whether blocks are known to divide the contraction and its groups, which divide it themselves.
    fn fits(&self, block: u64, form: &Form) -> bool {
        let divides = |n: u64| n >= block && n.is_multiple_of(block);
        form.unit.or(self.k).is_some_and(divides) && self.k.is_none_or(|k| k >= block)
    }

    /// The scheme that is asked for, if it fits.
    fn wish(&self) -> Option<Scheme> {
        self.asked.filter(|scheme| self.refusal(*scheme).is_none())
    }
}

/// Digits are the choice up to this multiple of the time of dequantization: with few tokens, when reading the
/// weight is all there is to it, both take as long, and small sizes differ by less than the model is good for.
const TIE: f64 = 1.5;

/// A site being decided.
struct Deciding<'a> {
    request: &'a Request,
    alternatives: &'a [Alternative],
    facts: &'a Facts,
    tolerance: Option<f64>,
}

/// Whose wish it is.
fn from(is_request: bool) -> &'static str {
    if is_request { "asked for" } else { "by attribute" }
}

/// Decides a site. A tolerance binds whatever is chosen, dequantization included.
pub(super) fn choose(
    kernel: &Kernel,
    request: &Request,
    alternatives: &[Alternative],
    facts: &Facts,
) -> Result<Choice, Diagnostic> {
    let tolerance = request.tolerance.or(kernel.attributes.tolerance);
    let asked_lowering = request.lowering.or(kernel.attributes.lowering).unwrap_or(Lowering::Auto);
    let site = Deciding { request, alternatives, facts, tolerance };
    let (scheme, scheme_reason) = site.scheme();
    let block = facts.block(request, scheme);
    let (lowering, because) = match asked_lowering {
        Lowering::Msd => (Lowering::Msd, format!("`msd` {}, {scheme_reason}", from(request.lowering.is_some()))),
        Lowering::Dequant => (Lowering::Dequant, format!("`dequant` {}", from(request.lowering.is_some()))),
        Lowering::Auto => site.cheaper(scheme, block, &scheme_reason),
    };
    let choice = |lowering, because| {
        let hoists_scales = request.abilities.hoists_scales;
        Choice { lowering, scheme, block, form: facts.form, recombine: false, hoists_scales, because }
    };
    // A rule that its guard stops leaves the dequantization to answer for the tolerance.
    let done = site.find(lowering, scheme).or_else(|| site.find(Lowering::Dequant, scheme));
    let (Some(t), Some(done)) = (tolerance, done) else { return Ok(choice(lowering, because)) };
    if is_within(done, t).unwrap_or(true) {
        return Ok(choice(lowering, because));
    }
    if facts.wish().is_some() || asked_lowering != Lowering::Auto {
        let bound = done.bound().unwrap_or(f64::INFINITY);
        let message = format!("what was asked for is certified to {bound:.3e} {} only, not to {t:e}", measure(done));
        return Err(Diagnostic::new(Code::ToleranceUnmet, message)
            .help("leave scheme and lowering to the compiler, or raise the tolerance"));
    }
    // Dearer within the tolerance beats cheaper outside it.
    let other = if lowering == Lowering::Dequant { Lowering::Msd } else { Lowering::Dequant };
    if site.find(other, scheme).is_some_and(|a| is_within(a, t) == Some(true)) {
        let (cheap, good) = (lowering.name(), other.name());
        let rest = if other == Lowering::Msd { format!("; {scheme_reason}") } else { String::new() };
        return Ok(choice(other, format!("{cheap} is cheaper but not certified to {t:e}, {good} is{rest}")));
    }
    Err(unmet(t, alternatives))
}

/// Whether an alternative is certified to `t * max|x| * sum|w|`; nothing if that depends on sizes that
/// are open. A bound that is relative to something else is none of those.
fn is_within(a: &Alternative, t: f64) -> Option<bool> {
    a.certificate.as_ref().map(|c| c.measure == Measure::Product && c.bound <= t)
}

/// What the bound of an alternative is relative to.
fn measure(a: &Alternative) -> &'static str {
    a.certificate.as_ref().map_or("", |c| c.measure.text())
}

impl Deciding<'_> {
    fn find(&self, lowering: Lowering, scheme: Scheme) -> Option<&Alternative> {
        self.alternatives.iter().find(|a| a.lowering == lowering && a.scheme.is_none_or(|own| own == scheme))
    }

    /// The scheme, should activations be split, and the reason.
    fn scheme(&self) -> (Scheme, String) {
        let Deciding { request, facts, .. } = self;
        let default = facts.default_scheme();
        let (scheme, reason) = match (facts.wish(), self.tolerance) {
            _ if facts.is_native => (default, "both operands are stored as integers".to_string()),
            (Some(scheme), _) => (scheme, format!("`{}` {}", scheme.name(), from(request.scheme.is_some()))),
            (None, Some(t)) if self.find(Lowering::Msd, default).is_some() => {
                cheapest_within(t, self.alternatives, default)
            }
            (None, _) => (default, format!("`{}` is the default for these activations", default.name())),
        };
        let reason = match self.refused() {
            Some(refused) if !facts.is_native => format!("{refused}; {reason}"),
            _ => reason,
        };
        let reason = match (request.block.or(scheme.block()), facts.block(request, scheme)) {
            _ if facts.is_native || facts.form.is_none() => reason,
            (Some(asked), Some(block)) if asked != block => {
                format!("{reason}, in blocks of {block} of its own, not of {asked}")
            }
            (Some(_), Some(block)) => format!("{reason}, in blocks of {block}"),
            (Some(block), None) if facts.k.is_none() => {
                format!("{reason}; whether blocks of {block} fit is open until the contracted size is known")
            }
            (Some(block), None) => format!("{reason}; blocks of {block} do not fit the contraction or its groups"),
            (None, _) => reason,
        };
        (scheme, reason)
    }

    /// Why what was asked for is not done.
    fn refused(&self) -> Option<String> {
        let asked = self.facts.asked?;
        Some(format!("`{}` {}", asked.name(), self.facts.refusal(asked)?))
    }

    /// What the cost model finds cheaper; a scheme or block that is asked for is a wish for digits.
    fn cheaper(&self, scheme: Scheme, block: Option<u64>, reason: &str) -> (Lowering, String) {
        let (msd, dequant) = (self.find(Lowering::Msd, scheme), self.find(Lowering::Dequant, scheme));
        let Some(msd) = msd else {
            return (Lowering::Dequant, "no rule multiplies this weight as stored".to_string());
        };
        if self.facts.wish().is_some() || block.is_some() || self.facts.is_native {
            return (Lowering::Msd, reason.to_string());
        }
        let rest = self.refused().map_or(String::new(), |refused| format!("; {refused}"));
        if self.facts.form.is_some_and(|form| form.codes == Codes::Floats) {
            let because = "FP8 codes are converted exactly, and digits would add error and work";
            return (Lowering::Dequant, format!("{because}{rest}"));
        }
        match (msd.cost, dequant.and_then(|a| a.cost)) {
            (Some(m), Some(d)) if m.seconds <= TIE * d.seconds => {
                let (m, d) = (time(m.seconds), time(d.seconds));
                (Lowering::Msd, format!("predicted {m} against {d} for dequant; {reason}"))
            }
            (Some(m), Some(d)) => {
                let (m, d) = (time(m.seconds), time(d.seconds));
                (Lowering::Dequant, format!("predicted {d} against {m} for msd{rest}"))
            }
            _ => (Lowering::Msd, format!("sizes are open; {reason}")),
        }
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
    let product = |a: &&Alternative| a.certificate.as_ref().is_some_and(|c| c.measure == Measure::Product);
    let bounds = alternatives.iter().filter(product).filter_map(|a| Some((a.bound()?, name(a))));
    let best = bounds.min_by(|a, b| a.0.total_cmp(&b.0));
    let help = best.map_or_else(String::new, |(bound, name)| {
        format!("the best bound here is {bound:.3e} (`{name}`): raise the tolerance to at least that")
    });
    let is_absorbed = alternatives.iter().any(|a| measure(a) == Measure::Absorbed.text());
    let note = if is_absorbed {
        format!(
            "; digits of activations that take over the weight's scale are bounded by {} only",
            Measure::Absorbed.text()
        )
    } else {
        String::new()
    };
    let message = format!("no lowering has a certified error of at most {t:e}{note}");
    Diagnostic::new(Code::ToleranceUnmet, message).help(help)
}

fn time(seconds: f64) -> String {
    if seconds < 1e-3 { format!("{:.1} us", seconds * 1e6) } else { format!("{:.2} ms", seconds * 1e3) }
}
