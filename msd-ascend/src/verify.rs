//! Whether a program may run on a chip: every operand within its memory and aligned, every instruction one that
//! the chip has, every flag set once before each wait and left clear, and no core waiting for ever. Owns nothing
//! but the order of these questions; races are [`crate::race`]'s.

use std::collections::{HashMap, HashSet};

use msd_ir::diag::{Code, Diagnostic};

use crate::check::{self, Machine};
use crate::chip::Chip;
use crate::engine::{self, Observer, Start};
use crate::isa::memory::{Core, Pipe};
use crate::isa::{Issue, Op};
use crate::order::Clocks;
use crate::program::{Instruction, Program};
use crate::unroll::{CoreId, MAX_STEPS, Unroll};

/// Most findings of a run, here and of races.
pub(crate) const MAX_FINDINGS: usize = 20;

struct Ordered(Clocks);

impl<'p> Observer<'p> for Ordered {
    fn queued(&mut self, core: usize, pipe: Pipe) {
        self.0.queued(core, pipe);
    }

    fn start(&mut self, start: &Start<'_, 'p>) -> Result<(), Diagnostic> {
        self.0.start(start);
        Ok(())
    }
}

/// Checks a program: first every instruction for itself, each reported once; then their order.
///
/// # Errors
/// What it found.
pub fn verify(program: &Program, chip: &Chip) -> Result<(), Vec<Diagnostic>> {
    let machine = Machine::new(program, chip).map_err(|d| vec![d])?;
    let findings = instructions(program, chip, &machine);
    if !findings.is_empty() {
        return Err(findings);
    }
    let mut ordered = Ordered(Clocks::new(&machine.cores, chip));
    let ended = engine::run(program, chip, &mut ordered);
    let mut findings = ordered.0.findings();
    findings.extend(ended.err());
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

/// Who uses which counter. What two pipes of a core wait for, either may take first; what two pipes of a core set, or
/// what is set both for a group and for all, whoever waits cannot tell apart.
#[derive(Default)]
struct Counters {
    waits: HashMap<(CoreId, i64), Pipe>,
    sets: HashMap<(CoreId, i64), Pipe>,
    /// By who hears of it: whose setting it is, and whether that is for all.
    heard: HashMap<(Core, i64), (Core, i64)>,
    reported: HashSet<i64>,
}

impl Counters {
    fn use_of(&mut self, core: CoreId, instruction: &Instruction, issue: &Issue) -> Option<Diagnostic> {
        let [_, id, to, ..] = issue.ints;
        let pipe = issue.pipe();
        let other = |first: Pipe, what: &str| {
            let (first_name, name) = (first.name(), pipe.name());
            (first != pipe).then(|| format!("counter {id} is {what} in {first_name} and in {name}"))
        };
        let message = match issue.op {
            Op::CrossWait => other(*self.waits.entry((core, id)).or_insert(pipe), "waited for"),
            Op::CrossSet => {
                let hearer = if to == 1 { core.kind } else { core.kind.other() };
                let first = *self.heard.entry((hearer, id)).or_insert((core.kind, to));
                let mixed = format!("counter {id} of {} cores is set both for a group and for all", hearer.name());
                let mixed = (first != (core.kind, to)).then_some(mixed);
                mixed.or_else(|| other(*self.sets.entry((core, id)).or_insert(pipe), "set"))
            }
            _ => None,
        };
        let message = message.filter(|_| self.reported.insert(id))?;
        let diagnostic = Diagnostic::new(Code::CounterShared, message).help("give each purpose a counter of its own");
        Some(diagnostic.at_known(instruction.span))
    }
}

/// Faults of instructions each for itself, and counters that two have.
pub(crate) fn instructions(program: &Program, chip: &Chip, machine: &Machine) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let mut seen: HashSet<*const Instruction> = HashSet::new();
    let mut counters = Counters::default();
    let mut budget = MAX_STEPS;
    for id in &machine.cores {
        let mut unroll = Unroll::new(program, *id, machine.blocks);
        loop {
            let step = match unroll.next(&mut budget) {
                Ok(Some(step)) => step,
                Ok(None) => break,
                Err(diagnostic) => {
                    // What comes after an operand without a value is not known.
                    findings.push(check::placed(diagnostic, *id, &unroll, program));
                    return findings;
                }
            };
            if let Some(diagnostic) = counters.use_of(*id, step.instruction, &step.issue) {
                findings.push(diagnostic);
            }
            if let Err(diagnostic) = machine.check(step.instruction, &step.issue, id.kind, chip)
                && seen.insert(step.instruction)
            {
                findings.push(check::placed(diagnostic, *id, &unroll, program));
            }
            if findings.len() >= MAX_FINDINGS {
                return findings;
            }
        }
    }
    findings
}
