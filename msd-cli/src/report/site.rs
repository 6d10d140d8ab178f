//! What was decided at each site of a kernel, for run, explain, opt and bench. Owns the form of a
//! plan for programs and where its line for people points; the decisions and their words are the
//! library's.

use msd::SiteReport;
use msd::ir::certificate::Term;
use msd::ir::certificate::compose::{Bound, Ended};
use msd::ir::plan::Alternative;
use serde::Serialize;

use crate::source::SourceFile;

/// One use of a dequantized weight, as [`SiteReport`].
#[derive(Debug, Serialize)]
pub(crate) struct JsonSite {
    weight: String,
    /// Line of the expression, from 1.
    line: usize,
    /// Its column, from 1.
    column: usize,
    /// Null if none fired.
    rule: Option<&'static str>,
    /// Null if the activations are not split.
    scheme: Option<&'static str>,
    lowering: &'static str,
    bound: Option<f64>,
    /// What the bound multiplies.
    bound_of: Option<&'static str>,
    /// What adds up to the bound.
    derivation: Vec<JsonTerm>,
    chosen_because: String,
    stopped: Vec<JsonStopped>,
    before: Option<String>,
    after: Option<String>,
    alternatives: Vec<JsonAlternative>,
}

/// One cause of error.
#[derive(Debug, Serialize)]
struct JsonTerm {
    error: f64,
    what: String,
}

fn term(term: &Term) -> JsonTerm {
    JsonTerm { error: term.error, what: term.what.clone() }
}

/// A rule that did not fire, as [`msd::StoppedRule`].
#[derive(Debug, Serialize)]
struct JsonStopped {
    rule: &'static str,
    guard: &'static str,
    reason: String,
}

/// One way to compute a product, as [`Alternative`]; costs are null while a size is open.
#[derive(Debug, Serialize)]
struct JsonAlternative {
    lowering: &'static str,
    scheme: Option<&'static str>,
    bound: Option<f64>,
    /// Every transfer counted.
    bytes: Option<f64>,
    /// As the paper counts them.
    bytes_published: Option<f64>,
    macs: Option<f64>,
    /// Two per multiply-accumulate.
    flops: Option<f64>,
    vector_ops: Option<f64>,
    seconds: Option<f64>,
}

/// What is certified of a result.
#[derive(Debug, Serialize)]
pub(crate) struct JsonResult {
    certified: bool,
    /// Bounds |y - y*| before the final cast; null if nothing is certified.
    expression: Option<String>,
    /// The op that certificates are not composed through, if that is why not.
    ends_at: Option<String>,
    /// Why nothing is certified.
    reason: Option<String>,
}

/// A result for programs.
pub(crate) fn result(result: Result<Bound, Ended>) -> JsonResult {
    match result {
        Ok(bound) => JsonResult { certified: true, expression: Some(bound.expression), ends_at: None, reason: None },
        Err(ended) => JsonResult { certified: false, expression: None, ends_at: ended.at, reason: Some(ended.reason) },
    }
}

/// The sites for programs.
pub(crate) fn json(sites: Vec<SiteReport>, source: &SourceFile) -> Vec<JsonSite> {
    sites.into_iter().map(|site| json_site(site, source)).collect()
}

/// The sites for people, a line each.
pub(crate) fn lines(sites: &[SiteReport], source: &SourceFile) -> impl Iterator<Item = String> {
    sites.iter().map(|site| format!("{} {site}\n", source.locate(site.span)))
}

fn json_site(site: SiteReport, source: &SourceFile) -> JsonSite {
    let place = source.place(site.span);
    let bound = site.bound();
    let stopped = site.stopped.into_iter().map(|s| JsonStopped { rule: s.rule, guard: s.guard, reason: s.reason });
    JsonSite {
        weight: site.weight,
        line: place.line,
        column: place.column,
        rule: site.rule,
        scheme: site.scheme.map(|s| s.name()),
        lowering: site.lowering.name(),
        bound,
        bound_of: site.certificate.as_ref().map(|c| c.measure.text()),
        derivation: site.certificate.iter().flat_map(|c| &c.terms).map(term).collect(),
        chosen_because: site.chosen_because,
        stopped: stopped.collect(),
        before: site.before,
        after: site.after,
        alternatives: site.alternatives.iter().map(alternative).collect(),
    }
}

fn alternative(a: &Alternative) -> JsonAlternative {
    JsonAlternative {
        lowering: a.lowering.name(),
        scheme: a.scheme.map(|s| s.name()),
        bound: a.bound(),
        bytes: a.cost.map(|c| c.counts.bytes),
        bytes_published: a.cost.map(|c| c.counts.bytes_published),
        macs: a.cost.map(|c| c.counts.macs),
        flops: a.cost.map(|c| c.counts.flops()),
        vector_ops: a.cost.map(|c| c.counts.vector_ops),
        seconds: a.cost.map(|c| c.seconds),
    }
}
