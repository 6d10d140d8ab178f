//! `msd npu`: a kernel or a stream on a modelled NPU. Owns which files are read and written and in which order; what is
//! run is [`crate::npu`]'s.

use std::path::Path;

use msd::io::npy::{self, Halves};
use msd::io::{self, Staged};
use msd::ir::diag::{Code, Diagnostic};

use crate::kernel_args::NpuArgs;
use crate::npu::{self, Runs, charts};
use crate::origin::Fault;
use crate::report::page::stage;
use crate::report::{Body, Outcome, npu as report};
use crate::request;

/// Runs it.
pub(crate) fn run(args: &NpuArgs) -> Outcome {
    execute(args).unwrap_or_else(Outcome::failure)
}

fn execute(args: &NpuArgs) -> Result<Outcome, Vec<Fault>> {
    let chip = npu::chip(&args.chip)?;
    for read in [args.file.as_path(), Path::new(&args.chip)] {
        let written = args.outputs.iter().chain(&args.trace).chain(&args.csv).chain(&args.sweep).chain(&args.bars);
        request::check_not_source(read, written).map_err(|d| vec![d.into()])?;
    }
    let runs = npu::runs(args, &chip)?;
    io::commit(staged(args, &runs, &chip.name)?).map_err(|d| vec![d.into()])?;
    let text = report::text(&runs.name, &chip.name, &runs.list);
    let runs_json = runs.list.into_iter().map(|run| report::json(run, &args.outputs)).collect();
    let body = Body::Npu { program: runs.name, chip: chip.name, runs: runs_json };
    Ok(Outcome::done(text, body))
}

/// Every file, complete and in no place yet. A trace, a table and outputs are those of the first run.
fn staged(args: &NpuArgs, runs: &Runs, chip: &str) -> Result<Vec<Staged>, Vec<Fault>> {
    let mut files = Vec::new();
    if let (Some(path), Some(trace)) = (&args.trace, &runs.trace) {
        files.push(stage(path, trace)?);
    }
    let Some(first) = runs.list.first() else { return Ok(files) };
    if let Some(path) = &args.csv {
        files.push(stage(path, &first.report.csv())?);
    }
    if let Some(path) = &args.sweep {
        let chart = charts::sweep(runs, chip).map_err(|d| vec![d.into()])?;
        files.push(stage(path, &chart.svg())?);
    }
    if let Some(path) = &args.bars {
        files.push(stage(path, &charts::traffic(runs, chip).svg())?);
    }
    if args.outputs.len() > first.outputs.len() {
        let message = format!("{} `-o` files for {} output tensors", args.outputs.len(), first.outputs.len());
        return Err(vec![
            Diagnostic::new(Code::BadUsage, message).help("outputs go to the files in their order").into(),
        ]);
    }
    for (path, (_, tensor)) in args.outputs.iter().zip(&first.outputs) {
        files.push(npy::stage(path, tensor, Halves::Widened).map_err(|d| vec![d.into()])?);
    }
    Ok(files)
}
