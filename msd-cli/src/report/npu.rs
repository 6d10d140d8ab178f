//! Runs of an NPU's stream, for people and programs: cycles, what each pipe did and why it waited, bytes by purpose.

use std::collections::BTreeMap;

use msd::ascend::engine::gm::Traffic;
use msd::ascend::isa::memory::{Core, Pipe};
use msd::ascend::timing::Report;
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
}

/// One run.
pub(crate) struct Run {
    /// Parameters of the stream.
    pub(crate) dims: BTreeMap<String, i64>,
    /// Cycles.
    pub(crate) report: Report,
    /// Races.
    pub(crate) races: Races,
    /// Output tensors, of a functional run.
    pub(crate) outputs: Vec<(String, Output)>,
}

/// A run as programs read it.
#[derive(Debug, Serialize)]
pub(crate) struct JsonRun {
    /// `stream`: nothing was lowered.
    lowering: &'static str,
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
    /// Whether races were looked for; a stream with one does not run.
    races_checked: bool,
    /// Of a functional run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outputs: Vec<JsonOutput>,
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
pub(crate) fn json(run: Run) -> JsonRun {
    let Run { dims, report, races, outputs } = run;
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
        lowering: "stream",
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
        text += &format!("{program} on {chip}, {}\n", dims.join(" "));
        text += &format!("{} cycles, {:.2} us (modelled, launch excluded)", report.cycles, report.microseconds);
        if run.races == Races::NotLookedFor {
            text += "; too large to look for races";
        }
        text += "\n\n";
        text += &pipe_table(report);
        text.push('\n');
        text += &traffic_table(report);
        for (name, output) in &run.outputs {
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
    text
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

fn traffic_table(report: &Report) -> String {
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
    table(&columns, rows.into_iter().chain([row("all", report.total())]))
}
