//! Why a kernel was rewritten as it was: for each use of a dequantized weight what is done, why,
//! with which certified error, and what the alternatives would have cost. Owns the account as
//! data and, in [`text`], as words; the decisions are the planner's and the rules'.

mod text;

#[cfg(test)]
mod tests;

use std::collections::HashSet;

use msd_ir::certificate::Certificate;
use msd_ir::certificate::compose::{Bound, Ended};
use msd_ir::graph::{Kernel, Lowering, Value};
use msd_ir::ops::{Class, Op};
use msd_ir::pass::PASSES;
use msd_ir::plan::{Alternative, Site};
use msd_ir::quant::scheme::Scheme;
use msd_ir::rewrite::lowering::{AS_STORED, NATIVE_PRODUCT};
use msd_ir::rewrite::{Event, EventResult};
use msd_ir::span::Span;

use crate::{Options, Rewritten};

/// What was decided for a kernel, and why; made by [`Kernel::explain`](crate::Kernel::explain) and
/// [`Rewritten::explain`].
///
/// It displays as several lines for people, without places, since it does not hold the source:
/// [`Explanation::with_places`] adds them.
///
/// ```
/// use msd::{Explanation, Kernel, Options};
///
/// let text = "kernel linear(w: i8[N, K] scale f32[N], x: bf16[M, K]) -> f32[M, N] { x @ dequant(w).T }";
/// let explanation: Explanation = Kernel::new(text, &Options::new())?.explain(&[("K", 4096)])?;
/// assert_eq!((explanation.lowering, explanation.scheme), ("msd", Some("int8x2-pow2")));
/// assert_eq!(explanation.sizes[..2], [("N".to_owned(), None), ("K".to_owned(), Some(4096))]);
/// assert!(explanation.to_string().contains("w: rule digit-split with int8x2-pow2"));
/// # Ok::<(), msd::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// Name of the kernel.
    pub kernel: String,
    /// `msd` or `dequant` if all products with a dequantized weight agree, `mixed` if they do not,
    /// `plain` if there is none. As of [`Rewritten::lowering`].
    pub lowering: &'static str,
    /// The scheme of all sites that have one, `mixed` if they differ. As of [`Rewritten::scheme`].
    pub scheme: Option<&'static str>,
    /// Name of the machine profile the costs are predicted for.
    pub profile: String,
    /// The kernel's dimensions in the order of their first mention, each with its size in elements,
    /// or `None` where it was open when the plan was made.
    pub sizes: Vec<(String, Option<u64>)>,
    /// The uses of dequantized weights, in the order of their places.
    pub sites: Vec<SiteReport>,
    /// For each result how far it can be from the exact one, or why nothing is certified of it. As
    /// of [`Rewritten::certificate`].
    pub results: Vec<Result<Bound, Ended>>,
}

/// One use of a dequantized weight: a product, or where the weight comes to exist as F32.
///
/// It displays as one line, without its place.
///
/// ```
/// use msd::{Kernel, Options, Scheme};
///
/// let text = "kernel linear(w: i8[N, K] scale f32[N], x: bf16[M, K]) -> f32[M, N] { x @ dequant(w).T }";
/// let explanation = Kernel::new(text, &Options::new())?.explain(&[])?;
/// let site = &explanation.sites[0];
/// assert_eq!((site.weight.as_str(), site.rule), ("w", Some("digit-split")));
/// assert_eq!(site.scheme, Some(Scheme::Int8x2Pow2));
/// assert_eq!(&text[site.span.start..site.span.end], "x @ dequant(w).T");
/// assert!(site.to_string().starts_with("w: digit-split, int8x2-pow2; |error| <= 3.082e-5 max|x| sum|w|; "));
/// # Ok::<(), msd::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SiteReport {
    /// Name of the quantized parameter.
    pub weight: String,
    /// The expression, in bytes of the source.
    pub span: Span,
    /// The rule that replaced the product; `None` if none did.
    pub rule: Option<&'static str>,
    /// How the activations are split; `None` if they are not.
    pub scheme: Option<Scheme>,
    /// [`Lowering::Msd`] or [`Lowering::Dequant`]: what is done, whatever was asked for.
    pub lowering: Lowering,
    /// How far the product can be from the exact one, before the final conversion; `None` where it
    /// depends on a size that is open, and where there is no product.
    pub certificate: Option<Certificate>,
    /// Why.
    pub chosen_because: String,
    /// Rules of the right form that a guard held back.
    pub stopped: Vec<StoppedRule>,
    /// The product as the rule found it.
    pub before: Option<String>,
    /// What the rule made of it.
    pub after: Option<String>,
    /// What was considered, the chosen one included; empty where there is no product. Costs are
    /// those of one thread: bytes, multiply-accumulates, operations, seconds.
    pub alternatives: Vec<Alternative>,
}

impl SiteReport {
    /// The certified bound as a number: it multiplies what [`Certificate::measure`] says.
    pub fn bound(&self) -> Option<f64> {
        self.certificate.as_ref().map(|c| c.bound)
    }
}

/// A rule that did not fire where it might have.
///
/// ```
/// use msd::{Kernel, Lowering, Options, StoppedRule};
///
/// let text = "kernel linear(w: i8[N, K] scale f32[N], x: bf16[M, K]) -> f32[M, N] { x @ dequant(w).T }";
/// let explanation = Kernel::new(text, &Options::new().lowering(Lowering::Dequant))?.explain(&[])?;
/// let reason = "`dequant` asked for".to_owned();
/// assert_eq!(explanation.sites[0].stopped, [StoppedRule { rule: "digit-split", guard: "plan", reason }]);
/// # Ok::<(), msd::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoppedRule {
    /// Its name.
    pub rule: &'static str,
    /// Name of the guard.
    pub guard: &'static str,
    /// What the guard found.
    pub reason: String,
}

impl Rewritten {
    /// What was decided, and why; `options` are those the kernel was planned with.
    ///
    /// ```
    /// use msd::{Options, Source};
    ///
    /// let text = "kernel two(W: i8[N, K] scale f32[N]) -> f32[N, K] { dequant(W) + dequant(W) }";
    /// let checked = Source::new("two.msd", text).check()?;
    /// let options = Options::new();
    /// let rewritten = checked.rewrite(checked.kernel(None)?, &Default::default(), &options)?;
    /// let explanation = rewritten.explain(&options);
    /// assert_eq!(explanation.sites[0].chosen_because, "materialised: used elementwise");
    /// # Ok::<(), Vec<msd::ir::diag::Diagnostic>>(())
    /// ```
    pub fn explain(&self, options: &Options) -> Explanation {
        let mut sites = self.sites();
        sites.extend(materialised(&self.kernel, &self.source, &self.events));
        sites.sort_by_key(|s| s.span.start);
        let size = |name: &str| (name.to_owned(), self.sizes.get(name).copied());
        Explanation {
            kernel: self.source.name.to_string(),
            lowering: self.lowering(),
            scheme: self.scheme(),
            profile: options.request.machine.name.clone(),
            sizes: self.source.dimensions().iter().map(|name| size(name)).collect(),
            sites,
            results: self.certificate().map(|c| c.results).unwrap_or_default(),
        }
    }

    /// The products with dequantized weights, in the order of the plan.
    ///
    /// ```
    /// use msd::{Options, Source};
    ///
    /// let text = "kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    /// let checked = Source::new("linear.msd", text).check()?;
    /// let sizes = [("M", 1), ("N", 64), ("K", 64)].map(|(name, size)| (name.into(), size)).into();
    /// let rewritten = checked.rewrite(checked.kernel(None)?, &sizes, &Options::new())?;
    /// let sites = rewritten.sites();
    /// assert!(sites[0].alternatives.iter().all(|a| a.cost.is_some_and(|cost| cost.seconds > 0.0)));
    /// # Ok::<(), Vec<msd::ir::diag::Diagnostic>>(())
    /// ```
    pub fn sites(&self) -> Vec<SiteReport> {
        self.plan.sites.iter().map(|site| report(site, &self.events)).collect()
    }

    /// The scheme of all products that have one, `mixed` if they differ; `None` where nothing is
    /// split into digits.
    ///
    /// ```
    /// use msd::{Options, Source};
    ///
    /// let text = "kernel product(A: f32[M, K], B: f32[K, N]) -> f32[M, N] { A @ B }";
    /// let checked = Source::new("product.msd", text).check()?;
    /// let rewritten = checked.rewrite(checked.kernel(None)?, &Default::default(), &Options::new())?;
    /// assert_eq!((rewritten.lowering(), rewritten.scheme()), ("plain", None));
    /// # Ok::<(), Vec<msd::ir::diag::Diagnostic>>(())
    /// ```
    pub fn scheme(&self) -> Option<&'static str> {
        let sites = self.sites();
        let mut schemes = sites.iter().filter_map(|s| s.scheme);
        let first = schemes.next()?;
        Some(if schemes.all(|s| s == first) { first.name() } else { "mixed" })
    }
}

fn report(site: &Site, events: &[Event]) -> SiteReport {
    let events: Vec<&Event> = events.iter().filter(|e| e.node == site.node && replaces_products(e.rule)).collect();
    let fired = events.iter().find_map(|e| match &e.result {
        EventResult::Fired { before, after } => Some((e.rule, before, after)),
        EventResult::Stopped { .. } => None,
    });
    let rule = fired.map(|(rule, ..)| rule);
    let native = rule == Some(NATIVE_PRODUCT);
    let split = !native && rule.is_some_and(|r| AS_STORED.contains(&r));
    let lowering = if split || native { Lowering::Msd } else { Lowering::Dequant };
    let scheme = split.then_some(site.choice.scheme);
    let done = site.alternatives.iter().find(|a| a.lowering == lowering && a.scheme == scheme);
    let chosen_because = match (native, lowering == site.choice.lowering) {
        (true, _) => "both operands are stored as integers, so their product needs no digits".to_owned(),
        (false, true) => site.choice.because.clone(),
        (false, false) => format!("no rule multiplies this weight as stored ({})", site.choice.because),
    };
    SiteReport {
        weight: site.weight.clone(),
        span: site.span,
        rule,
        scheme,
        lowering,
        certificate: done.and_then(|a| a.certificate.clone()),
        chosen_because,
        stopped: events.iter().filter_map(|e| stopped(e)).collect(),
        before: fired.map(|(_, before, _)| before.clone()),
        after: fired.map(|(.., after)| after.clone()),
        alternatives: site.alternatives.clone(),
    }
}

/// Whether a rule belongs to planned passes alone: then the node of its event is one of the kernel
/// that was planned, as the plan's sites are.
fn replaces_products(rule: &str) -> bool {
    let mut passes = PASSES.iter().filter(|p| p.rules.iter().any(|r| r.name == rule));
    passes.all(|p| p.planned)
}

fn stopped(event: &Event) -> Option<StoppedRule> {
    match &event.result {
        EventResult::Stopped { guard, reason } => Some(StoppedRule { rule: event.rule, guard, reason: reason.clone() }),
        EventResult::Fired { .. } => None,
    }
}

/// The dequantized weights of a rewritten kernel that something other than the right side of a
/// product reads: they exist as F32 tensors, and no rule is meant for them.
fn materialised(kernel: &Kernel, source: &Kernel, events: &[Event]) -> Vec<SiteReport> {
    let weights = kernel.nodes.iter().enumerate().filter(|(_, n)| n.op == Op::Dequant);
    let reports = weights.filter_map(|(node, dequant)| {
        let chosen_because = other_use(kernel, Value { node, result: 0 })?;
        let Op::Param { index } = kernel.node(dequant.operands[0]).op else { return None };
        let weight = kernel.params[index].name.to_string();
        Some(SiteReport {
            weight,
            span: dequant.span,
            rule: None,
            scheme: None,
            lowering: Lowering::Dequant,
            certificate: None,
            chosen_because,
            stopped: events.iter().filter(|e| is_about(e, source, index)).filter_map(stopped).collect(),
            before: None,
            after: None,
            alternatives: Vec::new(),
        })
    });
    reports.collect()
}

/// Whether a rule that brings weights out of other operands was held back at a product of `source`
/// that holds the parameter `index`, dequantized and not multiplied before.
fn is_about(event: &Event, source: &Kernel, index: usize) -> bool {
    if replaces_products(event.rule) || !matches!(event.result, EventResult::Stopped { .. }) {
        return false;
    }
    let mut seen = HashSet::new();
    let mut open = source.nodes[event.node].operands.clone();
    while let Some(value) = open.pop() {
        let node = source.node(value);
        match node.op {
            Op::Dequant if source.node(node.operands[0]).op == (Op::Param { index }) => return true,
            Op::MatMul => {}
            _ if seen.insert(value.node) => open.extend(&node.operands),
            _ => {}
        }
    }
    false
}

/// How `value`, or a transpose or slice of it, is used other than on the right of a product.
fn other_use(kernel: &Kernel, value: Value) -> Option<String> {
    let mut seen = vec![value];
    let mut at = 0;
    while let Some(value) = seen.get(at).copied() {
        at += 1;
        if kernel.results.contains(&value) {
            return Some("materialised: it is a result".to_owned());
        }
        for (node, user) in kernel.nodes.iter().enumerate().filter(|(_, n)| n.operands.contains(&value)) {
            match user.op {
                // A product sees through both, and then it is a site of its own.
                Op::Transpose { .. } | Op::Slice { .. } => seen.push(Value { node, result: 0 }),
                Op::MatMul if user.operands[0] == value => {
                    return Some("materialised: it stands where the activations of a product do".to_owned());
                }
                Op::MatMul => {}
                _ if user.op.class() == Class::Elementwise => {
                    return Some("materialised: used elementwise".to_owned());
                }
                _ => {
                    let name = user.op.info().map_or("an op", |i| i.name);
                    return Some(format!("materialised: no rule looks through `{name}`"));
                }
            }
        }
    }
    None
}
