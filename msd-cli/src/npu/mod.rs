//! What `msd npu` runs: streams as they are ([`stream`]), and kernels lowered to such ([`kernel`]). Owns how a stream
//! is looked at before it counts: faults, races, cycles.

pub(crate) mod charts;
pub(crate) mod kernel;
pub(crate) mod predict;
pub(crate) mod stream;

use std::path::Path;
use std::rc::Rc;

use msd::ascend::chip::Chip;
use msd::ascend::program::Program;
use msd::ascend::timing::Report;
use msd::ascend::{race, timing, trace, verify};
use msd::grammar::utf8;
use msd::ir::diag::{Code, Diagnostic};

use crate::kernel_args::NpuArgs;
use crate::origin::Fault;
use crate::report::npu::{Races, Run};
use crate::source::{SourceFile, display};

/// What was run.
#[derive(Default)]
pub(crate) struct Runs {
    /// Name of the stream or of the kernel.
    pub(crate) name: String,
    /// One for each combination of sizes and lowering.
    pub(crate) list: Vec<Run>,
    /// What each pipe did when, in the first run, if that was asked for.
    pub(crate) trace: Option<String>,
}

/// A stream that ran.
struct Executed {
    report: Report,
    races: Races,
    trace: Option<String>,
}

/// Runs everything.
pub(crate) fn runs(args: &NpuArgs, chip: &Chip) -> Result<Runs, Vec<Fault>> {
    match args.file.extension().is_some_and(|e| e == "npu") {
        true => stream::runs(args, chip),
        false => kernel::runs(args, chip),
    }
}

/// Looks for faults and races, if it is to, then counts cycles.
fn execute(program: &Program, chip: &Chip, checks: bool, traces: bool) -> Result<Executed, Vec<Diagnostic>> {
    let races = if checks { check(program, chip)? } else { Races::NotAsked };
    let fault = |d: Diagnostic| vec![d];
    match traces {
        false => Ok(Executed { report: timing::cycles(program, chip).map_err(fault)?, races, trace: None }),
        true => {
            let (report, json) = trace::trace(program, chip).map_err(fault)?;
            Ok(Executed { report, races, trace: Some(json) })
        }
    }
}

fn check(program: &Program, chip: &Chip) -> Result<Races, Vec<Diagnostic>> {
    verify::verify(program, chip)?;
    match race::find(program, chip) {
        Ok(()) => Ok(Races::None),
        Err(found) if found.iter().all(|d| d.code == Code::TooLarge) => Ok(Races::NotLookedFor),
        Err(found) => Err(found),
    }
}

/// A sweep writes no files but its chart.
fn check_single(args: &NpuArgs, points: usize) -> Result<(), Diagnostic> {
    if points > 1 && (args.trace.is_some() || args.csv.is_some() || !args.outputs.is_empty()) {
        let message = "a sweep writes no trace, no table and no outputs";
        return Err(Diagnostic::new(Code::BadUsage, message).help("give one size for each dimension"));
    }
    Ok(())
}

/// The chip of that name, or of that file.
pub(crate) fn chip(name: &str) -> Result<Chip, Vec<Fault>> {
    if Path::new(name).extension().is_none_or(|e| e != "toml") {
        return Chip::named(name).map_err(|d| vec![d.into()]);
    }
    let path = Path::new(name);
    let source = SourceFile::read(path).map(Rc::new).map_err(|d| vec![Fault::in_file(d, &display(path))])?;
    utf8(&source.bytes).and_then(Chip::parse).map_err(|d| Fault::in_source(vec![d], &source))
}
