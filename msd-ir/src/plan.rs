//! The planner: for each product with a dequantized weight, which lowering and which scheme, with
//! the reason, the certified bound and what the alternatives would have cost. Decisions depend on
//! the kernel, its sizes and a machine profile, never on threads or instruction sets, so that a
//! plan means the same bits everywhere.

use std::collections::BTreeMap;

use crate::cost::{Cost, Product};
use crate::diag::{Code, Diagnostic};
use crate::dim::{Dim, Sizes};
use crate::dtype::DType;
use crate::graph::{Kernel, Lowering};
use crate::machine::Machine;
use crate::ops::Op;
use crate::quant::scheme::{Family, Scheme};
use crate::rewrite::lowering::{activation_guard, native_guard, stored_guard};
use crate::rewrite::pattern::Weight;
use crate::span::Span;
use crate::types::Part;

/// What the caller asks for; attributes of the kernel stand where this is silent.
#[derive(Clone, Debug)]
pub struct Request {
    /// `--lowering`
    pub lowering: Option<Lowering>,
    /// `--scheme`
    pub scheme: Option<Scheme>,
    /// Most error a result may have, as `#[tolerance(t)]` says it; finite and above 0.
    pub tolerance: Option<f64>,
    /// `--machine`
    pub machine: Machine,
}

impl Default for Request {
    fn default() -> Self {
        Request { lowering: None, scheme: None, tolerance: None, machine: Machine::default_profile() }
    }
}

/// What the rules are told to do with a product.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// [`Lowering::Msd`] or [`Lowering::Dequant`].
    pub lowering: Lowering,
    /// The scheme, should the lowering be `msd`.
    pub scheme: Scheme,
    /// Why.
    pub because: String,
}

/// One way to compute a product.
#[derive(Clone, Debug, PartialEq)]
pub struct Alternative {
    /// `msd` or `dequant`.
    pub lowering: Lowering,
    /// The scheme of an `msd` alternative.
    pub scheme: Option<Scheme>,
    /// Certified bound: `|y - y*| <= bound * Mx * sum_k |w|` before the final cast, as long as no
    /// intermediate leaves the range of normal F32 numbers; `None` where it depends on a size that
    /// is not known.
    pub bound: Option<f64>,
    /// Predicted cost; `None` where a size is not known.
    pub cost: Option<Cost>,
}

/// A product with a dequantized weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// The product's node in the canonical kernel.
    pub node: usize,
    /// Its place in the source.
    pub span: Span,
    /// Name of the quantized parameter.
    pub weight: String,
    /// What is to be done.
    pub choice: Choice,
    /// Certified bound of what is to be done.
    pub bound: Option<f64>,
    /// Everything considered, chosen one included.
    pub alternatives: Vec<Alternative>,
}

/// Decisions for every site of a kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In node order.
    pub sites: Vec<Site>,
}

impl Plan {
    /// The choices by node, as the rewrite driver wants them.
    pub fn choices(&self) -> BTreeMap<usize, Choice> {
        self.sites.iter().map(|s| (s.node, s.choice.clone())).collect()
    }
}

/// Half a unit in the last place of F32: the relative error of one rounding.
const ROUNDING: f64 = 1.0 / (1u64 << 24) as f64;

/// Plans a kernel in canonical form (see [`crate::rewrite::canonical::RULES`]).
///
/// # Errors
/// If a tolerance is asked for that no scheme meets.
pub fn plan(kernel: &Kernel, sizes: &Sizes, request: &Request) -> Result<Plan, Diagnostic> {
    let mut sites = Vec::new();
    for (node, n) in kernel.nodes.iter().enumerate() {
        if n.op != Op::MatMul {
            continue;
        }
        let Some(weight) = Weight::find(kernel, n.operands[1]) else { continue };
        let activation = kernel.tensor_ty(n.operands[0]);
        let shape = &n.types[0].shape().to_vec();
        let k = activation.shape.last().and_then(|d| d.eval(sizes).ok());
        let product = product(&weight, shape, activation.dtype, k, sizes);
        let stored = stored_guard(&weight).is_none() && activation_guard(kernel, n.operands[0]).is_none();
        let is_native = stored && native_guard(kernel, n.operands[0]).is_none();
        let mut alternatives = alternatives(&product, k, stored, is_native, &request.machine);
        if !is_native && Weight::find(kernel, n.operands[0]).is_some() {
            // The other operand is itself dequantized, which rounds each of its elements once.
            alternatives.iter_mut().for_each(|a| a.bound = a.bound.map(|b| b + (1.0 + b) * ROUNDING));
        }
        let default = Scheme::default_for(activation.dtype);
        let weight = match kernel.node(weight.param).op {
            Op::Param { index } => kernel.params[index].name.to_string(),
            _ => String::new(),
        };
        let choice = choose(kernel, request, &alternatives, default).map_err(|d| {
            let message = format!("product with `{weight}`: {}", d.message);
            Diagnostic { message, ..d }.at(n.span)
        })?;
        let bound = alternatives
            .iter()
            .find(|a| a.lowering == choice.lowering && a.scheme.is_none_or(|s| s == choice.scheme))
            .and_then(|a| a.bound);
        sites.push(Site { node, span: n.span, weight, choice, bound, alternatives });
    }
    Ok(Plan { sites })
}

/// The product's sizes, if all are known.
fn product(weight: &Weight, shape: &[Dim], x: DType, k: Option<u64>, sizes: &Sizes) -> Option<Product> {
    let count = |shape: &[Dim]| shape.iter().try_fold(1.0, |n, d| d.eval(sizes).ok().map(|s| n * s as f64));
    let rank = shape.len();
    let codes = &weight.ty.codes;
    let elements = count(&codes.shape)?;
    let part_bits = |p: &Part| count(&p.ty.shape).map(|n| n * p.ty.dtype.bits() as f64);
    let parts = part_bits(&weight.ty.scale)? + weight.ty.zero.as_ref().map_or(Some(0.0), part_bits)?;
    Some(Product {
        batches: count(&shape[..rank - 2])?,
        m: count(&shape[rank - 2..rank - 1])?,
        n: count(&shape[rank - 1..])?,
        k: k? as f64,
        weight_bits: codes.dtype.bits() as f64 + if elements > 0.0 { parts / elements } else { 0.0 },
        activation_bits: x.bits() as f64,
    })
}

fn alternatives(
    product: &Option<Product>,
    k: Option<u64>,
    stored: bool,
    is_native: bool,
    machine: &Machine,
) -> Vec<Alternative> {
    let mut list: Vec<Alternative> = Vec::new();
    if is_native {
        list.push(Alternative {
            lowering: Lowering::Msd,
            scheme: None,
            bound: Some(roundings(3)),
            cost: product.map(|p| p.msd(1, machine)),
        });
    } else if stored {
        list.extend(Scheme::ALL.iter().map(|scheme| Alternative {
            lowering: Lowering::Msd,
            scheme: Some(*scheme),
            bound: Some(msd_bound(*scheme)),
            cost: product.map(|p| p.msd(scheme.weights().len(), machine)),
        }));
    }
    list.push(Alternative {
        lowering: Lowering::Dequant,
        scheme: None,
        bound: k.map(dequant_bound),
        cost: product.map(|p| p.dequant(!stored, machine)),
    });
    list
}

/// Error of the digits, then the roundings of S, of the weight scale and of the row scale, each
/// relative to |y| <= Mx * sum |w| up to the digits' own error.
fn msd_bound(scheme: Scheme) -> f64 {
    let digits = scheme.bound();
    digits + (1.0 + digits) * roundings(3)
}

/// Relative error of `n` roundings in a row.
fn roundings(n: i32) -> f64 {
    (1.0 + ROUNDING).powi(n) - 1.0
}

/// `k` fused multiply-adds in sequence, and one rounding of the scaled result or of each weight.
fn dequant_bound(k: u64) -> f64 {
    let steps = (k as f64 + 1.0) * ROUNDING;
    if steps < 1.0 { steps / (1.0 - steps) } else { f64::INFINITY }
}

/// Decides a site. A tolerance binds whatever is chosen, dequantization included.
fn choose(
    kernel: &Kernel,
    request: &Request,
    alternatives: &[Alternative],
    default: Scheme,
) -> Result<Choice, Diagnostic> {
    let tolerance = request.tolerance.or(kernel.attributes.tolerance);
    let asked_scheme = request.scheme.or(kernel.attributes.scheme);
    let asked_lowering = request.lowering.or(kernel.attributes.lowering).unwrap_or(Lowering::Auto);
    let from = |flag: bool| if flag { "asked for" } else { "by attribute" };
    let find = |l: Lowering, s: Scheme| {
        alternatives.iter().find(move |a| a.lowering == l && a.scheme.is_none_or(|own| own == s))
    };
    let is_native = alternatives.iter().any(|a| a.lowering == Lowering::Msd && a.scheme.is_none());
    let (scheme, scheme_reason) = match (asked_scheme, tolerance) {
        _ if is_native => (default, "both operands are stored as integers".to_string()),
        (Some(scheme), _) => (scheme, format!("`{}` {}", scheme.name(), from(request.scheme.is_some()))),
        (None, Some(t)) if find(Lowering::Msd, default).is_some() => cheapest_within(t, default),
        (None, _) => (default, format!("`{}` is the default for these activations", default.name())),
    };
    let costs = |l| find(l, scheme).and_then(|a| a.cost).map(|c| c.seconds);
    let (lowering, because) = match asked_lowering {
        Lowering::Msd => (Lowering::Msd, format!("`msd` {}, {scheme_reason}", from(request.lowering.is_some()))),
        Lowering::Dequant => (Lowering::Dequant, format!("`dequant` {}", from(request.lowering.is_some()))),
        Lowering::Auto if find(Lowering::Msd, scheme).is_none() => {
            (Lowering::Dequant, "no rule multiplies this weight as stored".to_string())
        }
        Lowering::Auto if asked_scheme.is_some() || is_native => (Lowering::Msd, scheme_reason.clone()),
        Lowering::Auto => match (costs(Lowering::Msd), costs(Lowering::Dequant)) {
            (Some(m), Some(d)) if m <= d => {
                (Lowering::Msd, format!("predicted {} against {} for dequant; {scheme_reason}", time(m), time(d)))
            }
            (Some(m), Some(d)) => (Lowering::Dequant, format!("predicted {} against {} for msd", time(d), time(m))),
            _ => (Lowering::Msd, format!("sizes are open; {scheme_reason}")),
        },
    };
    // A rule that its guard stops leaves the dequantization to answer for the tolerance.
    let done = find(lowering, scheme).or_else(|| find(Lowering::Dequant, scheme));
    match (tolerance, done.and_then(|a| a.bound)) {
        (Some(t), Some(bound)) if bound > t => match lowering {
            // Dearer within the tolerance beats cheaper outside it.
            Lowering::Dequant if asked_lowering == Lowering::Auto => {
                within_or_unmet(t, alternatives, scheme, scheme_reason)
            }
            _ if asked_scheme.is_some() || asked_lowering != Lowering::Auto => {
                let message = format!("what was asked for is certified to {bound:.3e} only, not to {t:e}");
                Err(Diagnostic::new(Code::ToleranceUnmet, message)
                    .help("leave scheme and lowering to the compiler, or raise the tolerance"))
            }
            _ => Err(unmet(t, alternatives)),
        },
        _ => Ok(Choice { lowering, scheme, because }),
    }
}

fn within_or_unmet(t: f64, alternatives: &[Alternative], scheme: Scheme, reason: String) -> Result<Choice, Diagnostic> {
    let meets = |a: &Alternative| {
        a.lowering == Lowering::Msd && a.scheme.is_none_or(|s| s == scheme) && a.bound.is_some_and(|b| b <= t)
    };
    if alternatives.iter().any(meets) {
        let because = format!("dequant is cheaper but not certified to {t:e}; {reason}");
        return Ok(Choice { lowering: Lowering::Msd, scheme, because });
    }
    Err(unmet(t, alternatives))
}

/// The scheme of fewest digits within tolerance `t`, the default before others of as many; the
/// most precise one if none is.
fn cheapest_within(t: f64, default: Scheme) -> (Scheme, String) {
    let schemes = || Scheme::ALL.iter().copied();
    let by_bound = |a: &Scheme, b: &Scheme| msd_bound(*a).total_cmp(&msd_bound(*b));
    let within = schemes().filter(|s| msd_bound(*s) <= t);
    let best = within.min_by(|a, b| {
        // Of as many digits, those that split one integer cost less than those that divide for each.
        let rank = |s: &Scheme| (s.weights().len(), *s != default, matches!(s.family(), Family::Greedy { .. }));
        rank(a).cmp(&rank(b)).then(by_bound(a, b))
    });
    match best {
        Some(scheme) => (scheme, format!("`{}` is the cheapest within {t:e}", scheme.name())),
        None => {
            let scheme = schemes().min_by(by_bound).unwrap_or(default);
            (scheme, format!("`{}` is the most precise", scheme.name()))
        }
    }
}

fn unmet(t: f64, alternatives: &[Alternative]) -> Diagnostic {
    let bounds = alternatives.iter().filter_map(|a| Some((a.bound?, a.scheme.map_or(a.lowering.name(), Scheme::name))));
    let best = bounds.min_by(|a, b| a.0.total_cmp(&b.0));
    let help = best.map_or_else(String::new, |(bound, name)| {
        format!("the best bound here is {bound:.3e} (`{name}`): raise the tolerance to at least that")
    });
    Diagnostic::new(Code::ToleranceUnmet, format!("no lowering has a certified error of at most {t:e}")).help(help)
}

fn time(seconds: f64) -> String {
    if seconds < 1e-3 { format!("{:.1} us", seconds * 1e6) } else { format!("{:.2} ms", seconds * 1e3) }
}
