//! The chart of a sweep: cycles over the size that varies, a line for each lowering, and what the closed form says of
//! it.

use std::collections::BTreeMap;

use msd::ir::diag::{Code, Diagnostic};

use super::Runs;
use crate::report::svg::{Across, Axis, Chart, Series};

/// The chart.
///
/// # Errors
/// If no size varies, or several do.
pub(crate) fn chart(runs: &Runs, chip: &str) -> Result<Chart, Diagnostic> {
    let mut values: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for (name, value) in runs.list.iter().flat_map(|run| &run.dims) {
        let known = values.entry(name).or_default();
        if !known.contains(value) {
            known.push(*value);
        }
    }
    values.retain(|_, values| values.len() > 1);
    let [(name, sizes)] = values.iter().collect::<Vec<_>>()[..] else {
        let message = "a chart of a sweep has one size that varies";
        return Err(Diagnostic::new(Code::BadUsage, message).help("such as `-D N=4096,K=4096 -D M=1,4,16,64`"));
    };
    let mut series: Vec<Series> = Vec::new();
    for run in &runs.list {
        let Some(size) = run.dims.get(*name) else { continue };
        let measured = (run.lowering.to_string(), run.report.cycles as f64);
        let formula = run.model.as_ref().map(|model| (format!("{}, closed form", run.lowering), model.cycles));
        for (name, cycles) in [measured].into_iter().chain(formula) {
            let point = (*size as f64, cycles);
            match series.iter_mut().find(|s| s.name == name) {
                Some(known) => known.points.push(point),
                None => series.push(Series { name, points: vec![point] }),
            }
        }
    }
    let all = || series.iter().flat_map(|s| s.points.iter().map(|point| point.1));
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(1.0, f64::max));
    let ends = (sizes.iter().min(), sizes.iter().max());
    let (first, last) = (*ends.0.unwrap_or(&1) as f64, *ends.1.unwrap_or(&1) as f64);
    Ok(Chart {
        title: format!("{} on {chip}: modelled cycles", runs.name),
        x: Across::Numbers(Axis { label: (*name).to_string(), range: (first.max(1.0), last), logarithmic: true }),
        y: Axis { label: "cycles".into(), range: (low / 1.5, high * 1.5), logarithmic: true },
        series,
    })
}
