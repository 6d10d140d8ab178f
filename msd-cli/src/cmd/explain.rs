//! `msd explain`: for each use of a dequantized weight, what is done, why, with which certified
//! error, and what the alternatives would have cost. Works without sizes, which then are open.

use std::fmt::Write as _;

use msd::Rewritten;
use msd::ir::dim::Sizes;
use msd::ir::graph::{Kernel, Value};
use msd::ir::ops::{Class, Op};
use msd::ir::quant::scheme::Scheme;

use crate::inputs::{dims, sizes};
use crate::kernel_args::ExplainArgs;
use crate::origin::Fault;
use crate::report::site::{NATIVE, SiteReport, common_scheme, sites};
use crate::report::table::{Column, table};
use crate::report::{Body, Outcome};
use crate::request::{self, Subject};
use crate::source::SourceFile;

/// Explains the kernel's plan.
pub(crate) fn run(args: &ExplainArgs) -> Outcome {
    explain(args).unwrap_or_else(Outcome::failure)
}

fn explain(args: &ExplainArgs) -> Result<Outcome, Vec<Fault>> {
    let subject = Subject::read(&args.plan)?;
    let dims = dims::single(&args.plan.dims).map_err(|d| subject.faults(vec![d]))?;
    sizes::check(&subject.kernel, &dims).map_err(|d| subject.faults(d))?;
    let options = request::options(&args.plan, args.threads.threads);
    let rewritten = Rewritten::new(&subject.kernel, &dims, &options).map_err(|d| subject.faults(vec![d]))?;
    let mut sites = sites(&rewritten, &subject.source);
    sites.extend(materialised(&rewritten.kernel, &subject.source));
    sites.sort_by_key(|s| (s.line, s.column));

    let text = text(&subject, &rewritten, &dims, &options.request.machine.name, &sites);
    let body = Body::Explain {
        kernel: subject.kernel.name.to_string(),
        lowering: rewritten.lowering(),
        scheme: common_scheme(&sites),
        profile: options.request.machine.name,
        sites,
    };
    Ok(Outcome::done(text, body))
}

/// The dequantized weights of a rewritten kernel that something other than the right side of a
/// product reads: they exist as F32 tensors, and no rule is meant for them.
fn materialised(kernel: &Kernel, source: &SourceFile) -> Vec<SiteReport> {
    let weights = kernel.nodes.iter().enumerate().filter(|(_, n)| n.op == Op::Dequant);
    let reports = weights.filter_map(|(node, dequant)| {
        let because = other_use(kernel, Value { node, result: 0 })?;
        let weight = match kernel.node(dequant.operands[0]).op {
            Op::Param { index } => kernel.params[index].name.to_string(),
            _ => String::new(),
        };
        let place = source.place(dequant.span);
        Some(SiteReport {
            weight,
            line: place.line,
            column: place.column,
            rule: None,
            scheme: None,
            lowering: "dequant",
            bound: None,
            chosen_because: because,
            stopped: Vec::new(),
            before: None,
            after: None,
            alternatives: Vec::new(),
        })
    });
    reports.collect()
}

/// How `value`, or a transpose of it, is used other than on the right of a product.
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
                Op::Transpose { .. } => seen.push(Value { node, result: 0 }),
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

fn text(subject: &Subject, rewritten: &Rewritten, dims: &Sizes, profile: &str, sites: &[SiteReport]) -> String {
    let kernel = &subject.kernel;
    let sizes: Vec<String> = kernel
        .dimensions()
        .iter()
        .map(|name| dims.get(name).map_or_else(|| format!("{name} open"), |size| format!("{name}={size}")))
        .collect();
    let mut text = format!(
        "kernel {}: {}; sizes {}; costs of one thread of the {profile} machine\n",
        kernel.name,
        rewritten.lowering(),
        if sizes.is_empty() { "none".to_owned() } else { sizes.join(", ") },
    );
    if sites.is_empty() {
        text += "nothing is dequantized, so nothing is rewritten\n";
    }
    for site in sites {
        text.push('\n');
        text += &site_text(site, &subject.source.name);
    }
    text
}

fn site_text(site: &SiteReport, file: &str) -> String {
    let mut text = format!("{file}:{}:{} {}: ", site.line, site.column, site.weight);
    // Writing to a String cannot fail.
    let _ = match (site.rule, site.scheme) {
        (Some(rule), Some(scheme)) => writeln!(text, "rule {rule} with {scheme}"),
        (Some(rule), None) => writeln!(text, "rule {rule}"),
        (None, _) => writeln!(text, "no rule; the weight is materialised as f32"),
    };
    let _ = writeln!(text, "  because  {}", site.chosen_because);
    for stopped in &site.stopped {
        let _ = writeln!(text, "  stopped  {} by its guard {}: {}", stopped.rule, stopped.guard, stopped.reason);
    }
    if let (Some(before), Some(after)) = (&site.before, &site.after) {
        let _ = writeln!(text, "  before   {before}\n  after    {after}");
    }
    if let Some(bound) = site.bound {
        let _ = writeln!(text, "  bound    |y - y*| <= {bound:.3e} max|x| sum|w|: {}", derivation(site, bound));
    } else if !site.alternatives.is_empty() {
        let _ = writeln!(text, "  bound    {}", unbounded(site));
    }
    text + &alternatives(site)
}

/// Where a bound comes from.
fn derivation(site: &SiteReport, bound: f64) -> String {
    match site.scheme.and_then(Scheme::from_name) {
        Some(scheme) => format!(
            "{:.3e} for digits of `{}`, then {:.1e} for one rounding each of the exact sum, of its product with the \
             weight's scale and of that with the row's unit",
            scheme.bound(),
            scheme.name(),
            bound - scheme.bound()
        ),
        None if site.rule == Some(NATIVE) => {
            "three roundings of 2^-24: the exact sum, and its product with each scale".to_owned()
        }
        None => "one rounding of 2^-24 for each multiply-add along the contraction, and one for the scale".to_owned(),
    }
}

fn unbounded(site: &SiteReport) -> &'static str {
    if site.lowering == "msd" { "three roundings of an exact sum" } else { "open until the contracted size is known" }
}

/// The table of what was considered.
fn alternatives(site: &SiteReport) -> String {
    if site.alternatives.is_empty() {
        return String::new();
    }
    let columns = ["  alternative", "bound", "bytes", "FLOPs", "vector ops", "predicted"];
    let columns = columns.map(|head| Column { head, numeric: !head.starts_with(' ') });
    let number = |v: Option<f64>| v.map_or_else(|| "open".to_owned(), |v| format!("{v:.3e}"));
    let time = |v: Option<f64>| v.map_or_else(|| "open".to_owned(), |v| format!("{:.1} us", v * 1e6));
    let rows = site.alternatives.iter().map(|a| {
        let chosen = a.lowering == site.lowering && a.scheme == site.scheme;
        let name = a.scheme.unwrap_or(a.lowering);
        vec![
            format!("{} {name}", if chosen { "*" } else { " " }),
            number(a.bound),
            number(a.bytes),
            number(a.flops),
            number(a.vector_ops),
            time(a.seconds),
        ]
    });
    table(&columns, rows)
}
