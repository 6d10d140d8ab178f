//! Runs of an NPU's stream, for people and programs: cycles, what each pipe did and why it waited, bytes by purpose.

use std::collections::BTreeMap;
use std::path::PathBuf;

use msd::ascend::engine::gm::Traffic;
use msd::ascend::isa::memory::{Core, Pipe};
use msd::ascend::lower::Model;
use msd::ascend::timing::Report;
use msd::ir::tensor::Tensor;
use serde::Serialize;

use super::Output;
use super::table::{Column, table};

/// Whether races were looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Races {
    /// There are none.
    None,
    /// The stream writes more than the detector keeps track of.
    NotLookedFor,
    /// Nobody asked.
    NotAsked,
}

/// One run.
pub(crate) struct Run {
    /// `stream` if nothing was lowered, else `msd`, `dequant`, `mixed` or `plain`.
    pub(crate) lowering: &'static str,
    /// How activations were split, if they were.
    pub(crate) scheme: Option<&'static str>,
    /// What `--dequant-variant` and `--merge` asked for, where it has a say.
    pub(crate) variant: Vec<&'static str>,
    /// Parameters of the stream, or dimensions of the kernel.
    pub(crate) dims: BTreeMap<String, i64>,
    /// Cycles.
    pub(crate) report: Report,
    /// Races.
    pub(crate) races: Races,
    /// What formulas say of a kernel.
    pub(crate) model: Option<Model>,
    /// Why this lowering, if it was not asked for.
    pub(crate) because: Option<String>,
    /// Output tensors, of a functional run.
    pub(crate) outputs: Vec<(String, Tensor)>,
}

/// A run as programs read it.
#[derive(Debug, Serialize)]
pub(crate) struct JsonRun {
    lowering: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheme: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    variant: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chosen_because: Option<String>,
    dims: BTreeMap<String, i64>,
    /// Modelled, on the device until the last instruction was through, its start included.
    cycles: u64,
    /// Cycles over the clock.
    microseconds: f64,
    /// Part of the time in which each lane was busy; of lanes that both kinds of cores have, the busier.
    busy: BTreeMap<&'static str, f64>,
    /// The same of each kind of core.
    cores: Vec<JsonCore>,
    /// Parts of the time in which pipes did nothing, largest first.
    stalls: Vec<JsonStall>,
    traffic: JsonTraffic,
    /// What the closed form says, of a kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<JsonModel>,
    /// Whether races were looked for; a stream with one does not run.
    races_checked: bool,
    /// Of a functional run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<JsonOutput>,
}

#[derive(Debug, Serialize)]
struct JsonModel {
    cycles: f64,
    traffic: JsonBytes,
}

#[derive(Debug, Serialize)]
struct JsonCore {
    kind: &'static str,
    count: u64,
    busy: BTreeMap<&'static str, f64>,
}

#[derive(Debug, Serialize)]
struct JsonStall {
    core: &'static str,
    pipe: &'static str,
    reason: String,
    fraction: f64,
}

#[derive(Debug, Serialize)]
struct JsonBytes {
    hbm_read: u64,
    hbm_write: u64,
    l2_read: u64,
    l2_write: u64,
}

#[derive(Debug, Serialize)]
struct JsonTraffic {
    #[serde(flatten)]
    total: JsonBytes,
    by_purpose: BTreeMap<&'static str, JsonBytes>,
}

#[derive(Debug, Serialize)]
struct JsonOutput {
    name: String,
    #[serde(flatten)]
    output: Output,
}

/// Summaries of the results of a run, and the files they went to.
fn summaries(outputs: &[(String, Tensor)], files: &[PathBuf]) -> Vec<(String, Output)> {
    let of = |(index, (name, tensor)): (usize, &(String, Tensor))| {
        (name.clone(), Output::new(index, tensor, files.get(index)))
    };
    outputs.iter().enumerate().map(of).collect()
}

/// Stalls below this part of the time are nobody's concern.
const SHOWN: f64 = 0.005;

fn pipes(kind: Core) -> impl Iterator<Item = Pipe> {
    Pipe::ALL.into_iter().filter(move |pipe| kind.has(*pipe))
}

fn busy(report: &Report, kind: Core) -> BTreeMap<&'static str, f64> {
    pipes(kind).filter_map(|pipe| Some((pipe.lane(), report.busy(kind, pipe)?))).collect()
}

fn bytes(traffic: Traffic) -> JsonBytes {
    let Traffic { hbm_read, hbm_write, l2_read, l2_write } = traffic;
    JsonBytes { hbm_read, hbm_write, l2_read, l2_write }
}

/// For programs.
pub(crate) fn json(run: Run, files: &[PathBuf]) -> JsonRun {
    let Run { lowering, scheme, variant, dims, report, races, model, because, outputs } = run;
    let outputs = summaries(&outputs, files);
    let kinds = || report.cores.iter().map(|(kind, count, _)| (*kind, *count));
    let mut lanes: BTreeMap<&'static str, f64> = BTreeMap::new();
    let mut stalls = Vec::new();
    for (kind, _) in kinds() {
        for (lane, part) in busy(&report, kind) {
            let entry = lanes.entry(lane).or_default();
            *entry = entry.max(part);
        }
        for pipe in pipes(kind) {
            let all = report.stalls(kind, pipe).into_iter();
            stalls.extend(all.map(|(reason, fraction)| JsonStall {
                core: kind.name(),
                pipe: pipe.lane(),
                reason: reason.to_string(),
                fraction,
            }));
        }
    }
    stalls.sort_by(|a, b| b.fraction.total_cmp(&a.fraction));
    JsonRun {
        lowering,
        scheme,
        variant,
        chosen_because: because,
        dims,
        cycles: report.cycles,
        microseconds: report.microseconds,
        busy: lanes,
        cores: kinds().map(|(kind, count)| JsonCore { kind: kind.name(), count, busy: busy(&report, kind) }).collect(),
        stalls,
        traffic: JsonTraffic {
            total: bytes(report.total()),
            by_purpose: report.traffic.iter().map(|(purpose, traffic)| (purpose.name(), bytes(*traffic))).collect(),
        },
        model: model.map(|m| JsonModel { cycles: m.cycles.round(), traffic: bytes(m.traffic) }),
        races_checked: races == Races::None,
        outputs: outputs.into_iter().map(|(name, output)| JsonOutput { name, output }).collect(),
    }
}

/// For people.
pub(crate) fn text(program: &str, chip: &str, runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs {
        let dims: Vec<String> = run.dims.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let report = &run.report;
        let title = [program, "on", chip].join(" ");
        let lowering = if run.lowering == "stream" { String::new() } else { format!(", {}", run.lowering) };
        let how: Vec<&str> = run.scheme.into_iter().chain(run.variant.iter().copied()).collect();
        let how = if how.is_empty() { String::new() } else { format!(" ({})", how.join(", ")) };
        text += format!("{title}{lowering}{how}, {}", dims.join(" ")).trim_end_matches(", ");
        text.push('\n');
        text += &format!("{} cycles, {:.2} us (modelled, launch excluded)", report.cycles, report.microseconds);
        if let Some(model) = &run.model {
            text += &format!("; closed form {:.0}", model.cycles);
        }
        if run.races == Races::NotLookedFor {
            text += "; too large to look for races";
        }
        if let Some(because) = &run.because {
            text += &format!("\nchosen by {because}");
        }
        text += "\n\n";
        text += &pipe_table(report);
        text.push('\n');
        text += &traffic_table(report, run.model.as_ref());
        for (name, output) in &summaries(&run.outputs, &[]) {
            text += &format!("\n{name}: {}{:?}", output.dtype, output.shape);
            if let (Some(min), Some(max), Some(mean)) = (output.min, output.max, output.mean) {
                text += &format!(", min {min:.6}, max {max:.6}, mean {mean:.6}");
            }
            text.push('\n');
        }
        if runs.len() > 1 {
            text.push('\n');
        }
    }
    text + &ratios(runs)
}

/// How many times as long the other lowering takes, for each combination of sizes that has both.
fn ratios(runs: &[Run]) -> String {
    let mut rows = Vec::new();
    for msd in runs.iter().filter(|run| run.lowering == "msd") {
        let Some(other) = runs.iter().find(|run| run.lowering == "dequant" && run.dims == msd.dims) else { continue };
        let dims: Vec<String> = msd.dims.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let ratio = other.report.cycles as f64 / msd.report.cycles as f64;
        let cycles = [msd, other].map(|run| run.report.cycles.to_string());
        rows.push([vec![dims.join(" ")], cycles.to_vec(), vec![format!("{ratio:.2}")]].concat());
    }
    if rows.is_empty() {
        return String::new();
    }
    let column = |head, numeric| Column { head, numeric };
    let columns =
        [column("cycles", false), column("msd", true), column("dequant", true), column("dequant / msd", true)];
    table(&columns, rows)
}

fn pipe_table(report: &Report) -> String {
    let columns = [
        Column { head: "cores", numeric: false },
        Column { head: "pipe", numeric: false },
        Column { head: "busy", numeric: true },
        Column { head: "otherwise", numeric: false },
    ];
    let mut rows = Vec::new();
    for (kind, count, _) in &report.cores {
        for pipe in pipes(*kind) {
            let Some(part) = report.busy(*kind, pipe) else { continue };
            let stalls = report.stalls(*kind, pipe).into_iter().filter(|(_, part)| *part >= SHOWN);
            let stalls: Vec<String> = stalls.map(|(why, part)| format!("{why} {:.1} %", part * 100.0)).collect();
            let cores = format!("{count} {}", kind.name());
            rows.push(vec![cores, pipe.lane().to_owned(), format!("{:.1} %", part * 100.0), stalls.join(", ")]);
        }
    }
    table(&columns, rows)
}

fn traffic_table(report: &Report, model: Option<&Model>) -> String {
    let columns = [
        Column { head: "bytes", numeric: false },
        Column { head: "HBM read", numeric: true },
        Column { head: "HBM write", numeric: true },
        Column { head: "L2 read", numeric: true },
        Column { head: "L2 write", numeric: true },
    ];
    let row = |name: &str, t: Traffic| {
        let cells = [t.hbm_read, t.hbm_write, t.l2_read, t.l2_write].map(|bytes| bytes.to_string());
        [vec![name.to_owned()], cells.to_vec()].concat()
    };
    let used = report.traffic.iter().filter(|(_, traffic)| traffic.total() > 0);
    let rows: Vec<Vec<String>> = used.map(|(purpose, traffic)| row(purpose.name(), *traffic)).collect();
    let formula = model.map(|model| row("closed form", model.traffic));
    table(&columns, rows.into_iter().chain([row("all", report.total())]).chain(formula))
}
