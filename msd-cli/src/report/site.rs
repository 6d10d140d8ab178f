//! What was decided at each site of a kernel, for run, explain and opt. Owns the form of a plan
//! for programs and its line for people; the decisions are the library's.

use msd::Rewritten;
use msd::ir::graph::Lowering;
use msd::ir::pass::PASSES;
use msd::ir::plan::{Alternative, Site};
use msd::ir::rewrite::{Event, EventResult};
use serde::Serialize;

use crate::source::SourceFile;

/// One use of a dequantized weight.
#[derive(Debug, Serialize)]
pub(crate) struct SiteReport {
    /// The quantized parameter.
    pub(crate) weight: String,
    /// Line of the expression, from 1.
    pub(crate) line: usize,
    /// Its column, from 1.
    pub(crate) column: usize,
    /// The rule that replaced the product; null if none did.
    pub(crate) rule: Option<&'static str>,
    /// How the activations are split; null if they are not.
    pub(crate) scheme: Option<&'static str>,
    /// `msd` or `dequant`: what is done, whatever was asked for.
    pub(crate) lowering: &'static str,
    /// Certified: `|y - y*| <= bound * max|x| * sum|w|` before the final conversion.
    pub(crate) bound: Option<f64>,
    /// Why.
    pub(crate) chosen_because: String,
    /// Rules of the right form that a guard held back.
    pub(crate) stopped: Vec<StoppedRule>,
    /// The product as the rule found it.
    pub(crate) before: Option<String>,
    /// What the rule made of it.
    pub(crate) after: Option<String>,
    /// What was considered.
    pub(crate) alternatives: Vec<AlternativeReport>,
}

/// A rule that did not fire.
#[derive(Debug, Serialize)]
pub(crate) struct StoppedRule {
    /// Its name.
    pub(crate) rule: &'static str,
    /// The guard.
    pub(crate) guard: &'static str,
    /// What the guard found.
    pub(crate) reason: String,
}

/// One way to compute a product; costs are null while a size is open.
#[derive(Debug, Serialize)]
pub(crate) struct AlternativeReport {
    /// `msd` or `dequant`.
    pub(crate) lowering: &'static str,
    /// The scheme of an `msd` alternative.
    pub(crate) scheme: Option<&'static str>,
    /// Certified bound, as of the site.
    pub(crate) bound: Option<f64>,
    /// Bytes moved.
    pub(crate) bytes: Option<f64>,
    /// Multiply-accumulates.
    pub(crate) macs: Option<f64>,
    /// Two per multiply-accumulate.
    pub(crate) flops: Option<f64>,
    /// Elementwise operations around the product.
    pub(crate) vector_ops: Option<f64>,
    /// Predicted time on one thread.
    pub(crate) seconds: Option<f64>,
}

/// The products of a kernel with dequantized weights, in order.
pub(crate) fn sites(rewritten: &Rewritten, source: &SourceFile) -> Vec<SiteReport> {
    rewritten.plan.sites.iter().map(|site| report(site, rewritten, source)).collect()
}

/// The scheme of all sites that have one, `mixed` if they differ.
pub(crate) fn common_scheme(sites: &[SiteReport]) -> Option<&'static str> {
    let mut schemes = sites.iter().filter_map(|s| s.scheme);
    let first = schemes.next()?;
    Some(if schemes.all(|s| s == first) { first } else { "mixed" })
}

fn report(site: &Site, rewritten: &Rewritten, source: &SourceFile) -> SiteReport {
    let events: Vec<&Event> =
        rewritten.events.iter().filter(|e| e.node == site.node && replaces_products(e.rule)).collect();
    let fired = events.iter().find_map(|e| match &e.result {
        EventResult::Fired { before, after } => Some((e.rule, before, after)),
        EventResult::Stopped { .. } => None,
    });
    let rule = fired.map(|(rule, ..)| rule);
    let native = rule == Some(NATIVE);
    let split = !native && rule.is_some_and(|r| r != POST_SCALE) && site.choice.lowering == Lowering::Msd;
    let lowering = if split || native { Lowering::Msd } else { Lowering::Dequant };
    let scheme = split.then_some(site.choice.scheme);
    let done = site.alternatives.iter().find(|a| a.lowering == lowering && a.scheme == scheme);
    let chosen_because = match (native, lowering == site.choice.lowering) {
        (true, _) => "both operands are stored as integers, so their product needs no digits".to_owned(),
        (false, true) => site.choice.because.clone(),
        (false, false) => format!("no rule multiplies this weight as stored ({})", site.choice.because),
    };
    let place = source.place(site.span);
    SiteReport {
        weight: site.weight.clone(),
        line: place.line,
        column: place.column,
        rule,
        scheme: scheme.map(|s| s.name()),
        lowering: lowering.name(),
        bound: done.and_then(|a| a.bound),
        chosen_because,
        stopped: events.iter().filter_map(|e| stopped(e)).collect(),
        before: fired.map(|(_, before, _)| before.clone()),
        after: fired.map(|(.., after)| after.clone()),
        alternatives: site.alternatives.iter().map(alternative).collect(),
    }
}

/// The rule that multiplies two stored operands.
pub(crate) const NATIVE: &str = "native-product";
/// The rule that multiplies stored codes as floats.
const POST_SCALE: &str = "post-scale";

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

fn alternative(a: &Alternative) -> AlternativeReport {
    AlternativeReport {
        lowering: a.lowering.name(),
        scheme: a.scheme.map(|s| s.name()),
        bound: a.bound,
        bytes: a.cost.map(|c| c.bytes),
        macs: a.cost.map(|c| c.macs),
        flops: a.cost.map(|c| 2.0 * c.macs),
        vector_ops: a.cost.map(|c| c.vector_ops),
        seconds: a.cost.map(|c| c.seconds),
    }
}

impl SiteReport {
    /// The decision as one line.
    pub(crate) fn line(&self, file: &str) -> String {
        let what = match (self.rule, self.scheme) {
            (Some(rule), Some(scheme)) => format!("{rule}, {scheme}"),
            (Some(rule), None) => rule.to_owned(),
            (None, _) => "no rule, the weight is materialised as f32".to_owned(),
        };
        let bound = match self.bound {
            Some(bound) => format!("|error| <= {bound:.3e} max|x| sum|w|"),
            None => "no bound while sizes are open".to_owned(),
        };
        let place = format!("{file}:{}:{}", self.line, self.column);
        format!("{place} {}: {what}; {bound}; {}\n", self.weight, self.chosen_because)
    }
}
