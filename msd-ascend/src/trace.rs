//! A run as a trace for Chrome's or Perfetto's viewer: a process per core, a lane per pipe. Owns the format.

use msd_ir::diag::{Code, Diagnostic};
use serde::Serialize;

use crate::check::Machine;
use crate::chip::Chip;
use crate::engine::{Observer, core_name};
use crate::isa::memory::Pipe;
use crate::program::{Instruction, Program};
use crate::timing::{self, Report};
use crate::unroll::CoreId;

/// Most instructions of a trace: viewers do not open more.
pub const MAX_EVENTS: usize = 2_000_000;

struct Busy<'p> {
    core: u32,
    pipe: Pipe,
    instruction: &'p Instruction,
    from: u64,
    to: u64,
}

#[derive(Default)]
struct Recorder<'p> {
    events: Vec<Busy<'p>>,
    dropped: usize,
}

impl<'p> Observer<'p> for Recorder<'p> {
    fn busy(&mut self, core: usize, pipe: Pipe, instruction: &'p Instruction, from: u64, to: u64) {
        if self.events.len() == MAX_EVENTS {
            self.dropped += 1;
            return;
        }
        self.events.push(Busy { core: core as u32, pipe, instruction, from, to });
    }
}

#[derive(Serialize)]
struct Event<'a> {
    name: &'a str,
    ph: &'static str,
    pid: u32,
    tid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Args<'a>>,
}

#[derive(Serialize)]
struct Args<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cycles: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Trace<'a> {
    trace_events: Vec<Event<'a>>,
    display_time_unit: &'static str,
}

/// Runs a program and records it, as JSON. Times are modelled microseconds.
///
/// # Errors
/// As [`crate::engine::run`], and if there is more to record than [`MAX_EVENTS`].
pub fn trace(program: &Program, chip: &Chip) -> Result<(Report, String), Diagnostic> {
    let mut recorder = Recorder::default();
    let report = timing::observed(program, chip, &mut recorder)?;
    if recorder.dropped > 0 {
        let message = format!("{} instructions are too many for a trace", MAX_EVENTS + recorder.dropped);
        return Err(Diagnostic::new(Code::StreamTooLong, message).help("trace a smaller shape; cycles need no trace"));
    }
    let cores = Machine::new(program, chip)?.cores;
    let json = serde_json::to_string(&document(&recorder, &cores, chip));
    let json = json.map_err(|e| Diagnostic::new(Code::Internal, format!("trace: {e}")))?;
    Ok((report, json))
}

fn document<'a>(recorder: &Recorder<'a>, cores: &[CoreId], chip: &Chip) -> Trace<'a> {
    let mut trace_events = Vec::new();
    let named = |name, pid, tid, value: String| {
        let args = Some(Args { name: Some(value), op: None, cycles: None });
        Event { name, ph: "M", pid, tid, ts: None, dur: None, args }
    };
    for (index, id) in cores.iter().enumerate() {
        let pid = index as u32;
        trace_events.push(named("process_name", pid, 0, core_name(*id)));
        for pipe in Pipe::ALL.into_iter().filter(|p| id.kind.has(*p)) {
            trace_events.push(named("thread_name", pid, pipe.index() as u32, pipe.lane().to_string()));
        }
    }
    let microseconds = |cycles: u64| cycles as f64 / (*chip.clock_ghz * 1e3);
    trace_events.extend(recorder.events.iter().map(|busy| Event {
        name: if busy.pipe == Pipe::S { "issue" } else { busy.instruction.spec().mnemonic },
        ph: "X",
        pid: busy.core,
        tid: busy.pipe.index() as u32,
        ts: Some(microseconds(busy.from)),
        dur: Some(microseconds(busy.to - busy.from)),
        args: Some(Args { name: None, op: busy.instruction.note.as_deref(), cycles: Some(busy.to - busy.from) }),
    }));
    Trace { trace_events, display_time_unit: "ns" }
}
