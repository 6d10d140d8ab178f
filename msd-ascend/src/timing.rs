//! Cycles: how long a program takes on a chip, what its pipes did meanwhile and what it moved. Needs no data. Owns the
//! sums; the model is [`crate::engine`]'s.

use std::fmt::Write;

use msd_ir::diag::Diagnostic;

use crate::chip::Chip;
use crate::engine::gm::Traffic;
use crate::engine::stall::{Reason, Usage};
use crate::engine::{self, Observer, Outcome};
use crate::isa::memory::{Core, Pipe};
use crate::program::{Program, Purpose};

/// What a program cost.
#[derive(Clone, Debug)]
pub struct Report {
    /// Name of the chip.
    pub chip: String,
    /// Cycles on the device until the last instruction was through, its start included.
    pub cycles: u64,
    /// The same over the clock.
    pub microseconds: f64,
    /// Of each kind of core that ran: how many, and what each of their pipes did, summed up.
    pub cores: Vec<(Core, u64, [Usage; Pipe::COUNT])>,
    /// Bytes moved, by purpose.
    pub traffic: Vec<(Purpose, Traffic)>,
}

/// Works out how long a program takes.
///
/// # Errors
/// As [`engine::run`].
pub fn cycles(program: &Program, chip: &Chip) -> Result<Report, Diagnostic> {
    observed(program, chip, &mut ())
}

/// The same, with somebody looking on.
///
/// # Errors
/// As [`engine::run`].
pub fn observed<'p>(program: &'p Program, chip: &Chip, observer: &mut dyn Observer<'p>) -> Result<Report, Diagnostic> {
    engine::run(program, chip, observer).map(|outcome| Report::new(chip, &outcome))
}

impl Report {
    fn new(chip: &Chip, outcome: &Outcome) -> Report {
        let mut cores = Vec::new();
        for kind in [Core::Cube, Core::Vector] {
            let mut sum: [Usage; Pipe::COUNT] = Default::default();
            let mut count = 0;
            for (_, usage) in outcome.cores.iter().zip(&outcome.usage).filter(|(id, _)| id.kind == kind) {
                count += 1;
                sum.iter_mut().zip(usage).for_each(|(sum, usage)| sum.add(usage));
            }
            if count > 0 {
                cores.push((kind, count, sum));
            }
        }
        Report {
            chip: chip.name.clone(),
            cycles: outcome.cycles,
            microseconds: outcome.cycles as f64 / (*chip.clock_ghz * 1e3),
            cores,
            traffic: Purpose::ALL.into_iter().zip(outcome.traffic).collect(),
        }
    }

    /// Part of the time in which a pipe was busy, over all cores of the kind; none if none ran.
    pub fn busy(&self, kind: Core, pipe: Pipe) -> Option<f64> {
        let (_, count, usage) = self.cores.iter().find(|(k, ..)| *k == kind)?;
        kind.has(pipe).then(|| self.part(usage[pipe.index()].busy, *count))
    }

    /// Parts of the time in which a pipe did nothing, by reason, largest first.
    pub fn stalls(&self, kind: Core, pipe: Pipe) -> Vec<(Reason, f64)> {
        let Some((_, count, usage)) = self.cores.iter().find(|(k, ..)| *k == kind) else { return Vec::new() };
        let stalls = usage[pipe.index()].stalls.iter();
        let mut parts: Vec<(Reason, f64)> = stalls.map(|(reason, c)| (*reason, self.part(*c, *count))).collect();
        parts.sort_by(|a, b| b.1.total_cmp(&a.1));
        parts
    }

    fn part(&self, cycles: u64, cores: u64) -> f64 {
        cycles as f64 / (self.cycles.max(1) * cores) as f64
    }

    /// All bytes moved.
    pub fn total(&self) -> Traffic {
        self.traffic.iter().fold(Traffic::default(), |sum, (_, traffic)| sum.plus(*traffic))
    }

    /// A table with the columns of the profilers of such chips: `aic` are cube cores, `aiv` vector cores, `mac` the
    /// cube.
    pub fn csv(&self) -> String {
        let columns: [(Core, &str, Pipe, &str); 9] = [
            (Core::Cube, "aic", Pipe::M, "mac"),
            (Core::Cube, "aic", Pipe::S, "scalar"),
            (Core::Cube, "aic", Pipe::Mte1, "mte1"),
            (Core::Cube, "aic", Pipe::Mte2, "mte2"),
            (Core::Cube, "aic", Pipe::Fix, "fixpipe"),
            (Core::Vector, "aiv", Pipe::V, "vec"),
            (Core::Vector, "aiv", Pipe::S, "scalar"),
            (Core::Vector, "aiv", Pipe::Mte2, "mte2"),
            (Core::Vector, "aiv", Pipe::Mte3, "mte3"),
        ];
        let (mut head, mut row) = (String::from("Task Duration(us)"), format!("{:.3}", self.microseconds));
        for (prefix, kind) in [("aic", Core::Cube), ("aiv", Core::Vector)] {
            let ran = self.cores.iter().any(|(k, ..)| *k == kind);
            let _ = write!(head, ",{prefix}_total_cycles");
            let _ = write!(row, ",{}", if ran { self.cycles } else { 0 });
            for (_, _, pipe, name) in columns.iter().filter(|(k, ..)| *k == kind) {
                let busy = self.busy(kind, *pipe).unwrap_or(0.0);
                let _ = write!(head, ",{prefix}_{name}_time(us),{prefix}_{name}_ratio");
                let _ = write!(row, ",{:.3},{busy:.3}", self.microseconds * busy);
            }
        }
        format!("{head}\n{row}\n")
    }
}
