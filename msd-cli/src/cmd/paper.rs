//! `msd paper`: the paper's tables beside ours. Owns which tables are run and where charts and pages
//! are written; the experiments are [`crate::paper`].

use std::thread;

use msd::io;
use msd::ir::diag::{Code, Diagnostic};

use crate::args::PaperArgs;
use crate::origin::Fault;
use crate::paper::{EXPERIMENTS, Effort, Experiment, Figure, Table};
use crate::progress::Progress;
use crate::report::page::stage;
use crate::report::{Body, Outcome, paper};

/// Runs the tables.
pub(crate) fn run(args: &PaperArgs) -> Outcome {
    reproduce(args).unwrap_or_else(Outcome::failure)
}

fn reproduce(args: &PaperArgs) -> Result<Outcome, Vec<Fault>> {
    let chosen: Vec<&Experiment> =
        EXPERIMENTS.iter().filter(|e| args.table.is_none_or(|table| e.id == table)).collect();
    if let (Some(table), true) = (args.table, chosen.is_empty()) {
        let known: Vec<String> = EXPERIMENTS.iter().map(|e| e.id.to_string()).collect();
        let fault = Diagnostic::new(Code::BadUsage, format!("table {table} of the paper is not reproduced"));
        return Err(vec![fault.help(format!("tables are {}", known.join(", "))).into()]);
    }
    let effort = Effort::full(thread::available_parallelism().map_or(1, usize::from));
    let progress = Progress::new(chosen.len() as u64);
    let mut tables: Vec<Table> = Vec::new();
    for experiment in chosen {
        progress.step(&format!("table {}", experiment.id));
        let faults = |e: msd::Error| e.diagnostics().iter().cloned().map(Fault::from).collect::<Vec<_>>();
        tables.push((experiment.run)(effort).map_err(faults)?);
        progress.advance();
    }
    drop(progress);
    let mut files = Vec::new();
    if let Some(directory) = &args.svg {
        for Figure { name, chart } in tables.iter().flat_map(|t| &t.figures) {
            files.push(stage(&directory.join(format!("{name}.svg")), &chart.svg())?);
        }
    }
    if let Some(page) = &args.markdown {
        files.push(stage(page, &paper::markdown(&tables))?);
    }
    io::commit(files).map_err(|d| vec![d.into()])?;
    Ok(Outcome::done(paper::text(&tables), Body::Paper { tables: paper::json(&tables) }))
}
