//! Accesses to memory that nothing orders, and reads of what nobody wrote. Owns what was last written and read where;
//! order is `order.rs`'s. Durations do not matter: a race is found though the model happens to run both accesses
//! one after the other. Flags that may collide are [`crate::verify`]'s.

use std::collections::HashSet;

use msd_ir::diag::{Code, Diagnostic};

use crate::check::Machine;
use crate::chip::Chip;
use crate::engine::{self, Observer, Start};
use crate::isa;
use crate::isa::memory::{Pipe, Region, Space};
use crate::order::{Clocks, Epoch, Thread};
use crate::program::{Arg, Instruction, Program, Purpose, Statement};
use crate::shadow::{Access, IN_GM, Kind, ON_CHIP, Shadow};
use crate::text::instruction_text;
use crate::verify::{self, MAX_FINDINGS};

/// Most accesses that are kept at a time, over all memories.
const MAX_ACCESSES: usize = 1 << 20;

/// Looks for races and for reads of what nobody wrote.
///
/// # Errors
/// What it found, or why the program does not run at all.
pub fn find(program: &Program, chip: &Chip) -> Result<(), Vec<Diagnostic>> {
    let machine = Machine::new(program, chip).map_err(|d| vec![d])?;
    let unsound = verify::instructions(program, chip, &machine);
    if !unsound.is_empty() {
        return Err(unsound);
    }
    let mut detector = Detector::new(program, chip, &machine);
    let ended = engine::run(program, chip, &mut detector);
    if ended.is_ok() {
        detector.unwritten_outputs(&machine);
    }
    let mut findings = detector.findings;
    findings.extend(ended.err());
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

struct Detector<'p> {
    program: &'p Program,
    clocks: Clocks,
    /// Shadow of memories on chip by core and space, and of tensors, as far as they were touched.
    local: Vec<[Shadow<'p>; Space::ALL.len()]>,
    tensors: Vec<Shadow<'p>>,
    /// Tensors that the program writes; the others hold what they are given.
    is_written: Vec<bool>,
    /// Cube cores' index by core, for memories that both kinds of cores reach.
    owner: Vec<[usize; Space::ALL.len()]>,
    /// Pairs of instructions that were reported.
    seen: HashSet<(*const Instruction, *const Instruction)>,
    findings: Vec<Diagnostic>,
    /// How many accesses are kept.
    accesses: usize,
}

impl<'p> Detector<'p> {
    fn new(program: &'p Program, chip: &Chip, machine: &Machine) -> Detector<'p> {
        let mut is_written = vec![false; program.tensors.len()];
        let mut stack: Vec<&Statement> = program.cube.iter().chain(&program.vector).collect();
        while let Some(statement) = stack.pop() {
            match statement {
                Statement::Instruction(instruction) => mark_written(instruction, &mut is_written),
                Statement::Let(..) => {}
                Statement::For { body, .. } => stack.extend(body),
                Statement::If { then, other, .. } => stack.extend(then.iter().chain(other)),
            }
        }
        Detector {
            program,
            clocks: Clocks::new(&machine.cores, chip),
            local: machine.cores.iter().map(|_| Space::ALL.map(|_| Shadow::new(ON_CHIP))).collect(),
            tensors: program.tensors.iter().map(|_| Shadow::new(IN_GM)).collect(),
            is_written,
            owner: owners(machine),
            seen: HashSet::new(),
            findings: Vec::new(),
            accesses: 0,
        }
    }

    fn touch(
        &mut self,
        start: &Start<'_, 'p>,
        region: &Region,
        kind: Kind,
        at: (Thread, Epoch),
    ) -> Result<(), Diagnostic> {
        let shadow = match region.space {
            Space::Gm if !self.is_written[usize::from(region.tensor)] => return Ok(()),
            Space::Gm => &mut self.tensors[usize::from(region.tensor)],
            space => &mut self.local[self.owner[start.core][space as usize]][space as usize],
        };
        // What a program is given holds values though nobody in it wrote them.
        let is_given = region.space == Space::Gm && {
            let purpose = self.program.tensors[usize::from(region.tensor)].purpose;
            matches!(purpose, Purpose::Weight | Purpose::Activation)
        };
        let region = region.joined();
        let access = Access { region, kind, thread: at.0, epoch: at.1, instruction: start.instruction };
        let unwritten = kind != Kind::Write && !is_given && !shadow.is_written(&region);
        let before = shadow.len();
        let other = shadow.touch(access, |other| disagrees(&self.clocks, other, &access));
        self.accesses = self.accesses + shadow.len() - before;
        if self.accesses > MAX_ACCESSES {
            let message = format!("more than {MAX_ACCESSES} accesses to keep while looking for races");
            return Err(Diagnostic::new(Code::TooLarge, message)
                .help("races do not depend on the shape alone: take a smaller one"));
        }
        if let Some(other) = other {
            self.report(start, &access, Some(&other));
        } else if unwritten {
            self.report(start, &access, None);
        }
        Ok(())
    }

    /// Results that nothing wrote in full.
    fn unwritten_outputs(&mut self, machine: &Machine) {
        for (index, tensor) in self.program.tensors.iter().enumerate() {
            let bytes = machine.tensors[index];
            if tensor.purpose == Purpose::Output && bytes > 0 && !self.tensors[index].holds(0, bytes) {
                let message = format!("a part of the output `{}` is never written", tensor.name);
                let diagnostic = Diagnostic::new(Code::Uninitialized, message).help("a tile or a core may be missing");
                self.findings.push(diagnostic.at_known(tensor.span));
            }
        }
    }

    /// Reports that nothing orders an access after another one, or that it reads what nobody wrote.
    fn report(&mut self, start: &Start<'_, 'p>, access: &Access<'p>, other: Option<&Access<'p>>) {
        let this = start.instruction;
        let pair =
            (this as *const Instruction, other.map_or(std::ptr::null(), |o| o.instruction as *const Instruction));
        if self.findings.len() >= MAX_FINDINGS || !self.seen.insert(pair) {
            return;
        }
        let place = match access.region.space {
            Space::Gm => self.program.tensors[usize::from(access.region.tensor)].name.as_str(),
            space => space.name(),
        };
        let text = |instruction: &Instruction| {
            instruction_text(&Instruction { note: None, ..instruction.clone() }, self.program)
        };
        let name = self.clocks.name(access.thread);
        let diagnostic = match other {
            None => {
                let message = format!("`{}` in {name} reads bytes of {place} that nothing wrote", text(this));
                Diagnostic::new(Code::Uninitialized, message)
                    .help("offset, extent or layout of this operand or of what was to write it is wrong")
            }
            Some(other) => {
                let message = format!(
                    "`{}` in {name} {} bytes of {place} that `{}` in {} {}, and nothing orders the two",
                    text(this),
                    verb(access.kind),
                    text(other.instruction),
                    self.clocks.name(other.thread),
                    verb(other.kind),
                );
                let one_core = access.thread / Pipe::COUNT == other.thread / Pipe::COUNT;
                let diagnostic = Diagnostic::new(Code::Race, message).help(match one_core {
                    true => "set a flag behind the first and wait for it before the second; within V, put a barrier",
                    false => "`cross_set` behind the first and `cross_wait` before the second order two cores",
                });
                match other.instruction.span {
                    Some(span) => diagnostic.label(span, "the other access"),
                    None => diagnostic,
                }
            }
        };
        self.findings.push(diagnostic.at_known(this.span));
    }
}

fn verb(kind: Kind) -> &'static str {
    match kind {
        Kind::Read => "reads",
        Kind::Write => "writes",
        Kind::Add => "adds to",
    }
}

impl<'p> Observer<'p> for Detector<'p> {
    fn queued(&mut self, core: usize, pipe: Pipe) {
        self.clocks.queued(core, pipe);
    }

    fn start(&mut self, start: &Start<'_, 'p>) -> Result<(), Diagnostic> {
        let at = self.clocks.start(start);
        let adds = start.issue.adds();
        // Reads before writes: an instruction may write what it reads.
        for region in start.regions.iter().filter(|r| !r.writes && !r.is_empty()) {
            let kind = if adds && region.space == Space::Gm { Kind::Add } else { Kind::Read };
            self.touch(start, region, kind, at)?;
        }
        for region in start.regions.iter().filter(|r| r.writes && !r.is_empty()) {
            let kind = if adds && region.space == Space::Gm { Kind::Add } else { Kind::Write };
            self.touch(start, region, kind, at)?;
        }
        Ok(())
    }
}

/// Whether two accesses to the same bytes need an order that they do not have.
fn disagrees(clocks: &Clocks, before: &Access<'_>, now: &Access<'_>) -> bool {
    let matters = match (before.kind, now.kind) {
        (Kind::Read, Kind::Read) | (Kind::Add, Kind::Add) => false,
        // A pipelined unit still starts and ends its operations in order: only results may come too late.
        (before_kind, kind) if before.thread == now.thread => before_kind != Kind::Read && kind == Kind::Read,
        _ => true,
    };
    matters && !clocks.is_before(before.thread, before.epoch, now.thread)
}

/// Marks the tensors that an instruction writes.
fn mark_written(instruction: &Instruction, is_written: &mut [bool]) {
    for (operand, arg) in instruction.spec().operands.iter().zip(&instruction.args) {
        if let (isa::Kind::Place { writes: true, .. }, Arg::Place(place)) = (operand.kind, arg)
            && place.space == Space::Gm
            && let Some(is_written) = is_written.get_mut(usize::from(place.tensor))
        {
            *is_written = true;
        }
    }
}

/// Whose memory each core means by a space: the way from L0C to UB ends at the first vector core of the group, that
/// from UB to L1 at its cube core.
fn owners(machine: &Machine) -> Vec<[usize; Space::ALL.len()]> {
    machine
        .cores
        .iter()
        .enumerate()
        .map(|(index, id)| Space::ALL.map(|space| machine.owner(index, *id, space)))
        .collect()
}
