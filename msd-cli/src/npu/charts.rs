//! Charts of runs: cycles over the size that varies, a line for each lowering and for what the closed form says of it;
//! and bytes by what they are for, a bar for each lowering.

use std::collections::BTreeMap;

use msd::ir::diag::{Code, Diagnostic};

use super::Runs;
use crate::report::npu::Run;
use crate::report::svg::{Across, Axis, Chart, Series};

/// Cycles over a size.
///
/// # Errors
/// If no size varies, or several do.
pub(crate) fn sweep(runs: &Runs, chip: &str) -> Result<Chart, Diagnostic> {
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

/// Bytes of HBM and of L2, read and written, by what they are for; those of the first size, if several are swept.
pub(crate) fn traffic(runs: &Runs, chip: &str) -> Chart {
    let Some(first) = runs.list.first() else {
        return bars(format!("{} on {chip}", runs.name), Vec::new(), Vec::new());
    };
    let same = || runs.list.iter().filter(|run| run.dims == first.dims);
    let of = |run: &Run, index: usize| {
        let (_, traffic) = run.report.traffic[index];
        [traffic.hbm_read + traffic.hbm_write, traffic.l2_read + traffic.l2_write]
    };
    let mut names = Vec::new();
    let mut values: Vec<Vec<f64>> = same().map(|_| Vec::new()).collect();
    for (index, (purpose, _)) in first.report.traffic.iter().enumerate() {
        for (memory, name) in ["HBM", "L2"].into_iter().enumerate() {
            if same().all(|run| of(run, index)[memory] == 0) {
                continue;
            }
            names.push(format!("{}, {name}", purpose.name()));
            values.iter_mut().zip(same()).for_each(|(all, run)| all.push(of(run, index)[memory] as f64 / 1e6));
        }
    }
    let dims: Vec<String> = first.dims.iter().map(|(name, size)| format!("{name}={size}")).collect();
    let series = same().zip(values).map(|(run, values)| Series {
        name: run.lowering.to_string(),
        points: values.into_iter().enumerate().map(|(place, value)| (place as f64, value)).collect(),
    });
    bars(format!("{} on {chip}, {}: bytes that move", runs.name, dims.join(" ")), names, series.collect())
}

fn bars(title: String, names: Vec<String>, series: Vec<Series>) -> Chart {
    let most = series.iter().flat_map(|s| &s.points).map(|point| point.1).fold(1e-6, f64::max);
    let y = Axis { label: "megabytes".into(), range: (0.0, most * 1.05), logarithmic: false };
    Chart { title, x: Across::Names(names), y, series }
}
