//! Accesses to memory that nothing orders, and reads of what nobody wrote. Owns what was last written and read where;
//! order is [`crate::order`]'s. Durations do not matter: a race is found though the model happens to run both accesses
//! one after the other. Flags that may collide are [`crate::verify`]'s.

use std::collections::HashSet;

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::span::Span;

use crate::check::Machine;
use crate::chip::Chip;
use crate::engine::{self, Observer, Start};
use crate::isa::Kind;
use crate::isa::memory::{Pipe, Region, Space};
use crate::order::{Clocks, Epoch, Thread};
use crate::program::{Arg, Instruction, Program, Purpose, Statement};
use crate::text::instruction_text;

/// Bytes of a cell of shadow memory; a bit each.
const CELL: i64 = 32;

/// Most findings of a run.
const MAX_FINDINGS: usize = 20;
/// Most bytes of tensors that a program writes, if races are looked for.
const MAX_WRITTEN: i64 = 1 << 28;
/// Most cells that are looked at.
const MAX_CELLS: u64 = 1 << 31;

/// Looks for races and for reads of what nobody wrote.
///
/// # Errors
/// What it found, or why the program does not run at all.
pub fn find(program: &Program, chip: &Chip) -> Result<(), Vec<Diagnostic>> {
    let machine = Machine::new(program, chip).map_err(|d| vec![d])?;
    let mut detector = Detector::new(program, chip, &machine).map_err(|d| vec![d])?;
    let ended = engine::run(program, chip, &mut detector);
    let mut findings = detector.findings;
    findings.extend(ended.err());
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Access {
    Read,
    Write,
    /// Added to what is there; several of these need no order among each other.
    Add,
}

/// An access to some bytes of a cell.
struct Entry<'p> {
    bytes: u32,
    access: Access,
    thread: Thread,
    epoch: Epoch,
    instruction: &'p Instruction,
}

#[derive(Default)]
struct Cell<'p> {
    entries: Vec<Entry<'p>>,
    /// Bytes that somebody wrote.
    written: u32,
}

struct Detector<'p> {
    program: &'p Program,
    clocks: Clocks,
    /// Shadow of memories on chip by core and space, and of tensors, as far as they were touched.
    local: Vec<[Vec<Cell<'p>>; Space::ALL.len()]>,
    tensors: Vec<Vec<Cell<'p>>>,
    /// Tensors that the program writes; the others hold what they are given.
    is_written: Vec<bool>,
    /// Cube cores' index by core, for memories that both kinds of cores reach.
    owner: Vec<[usize; Space::ALL.len()]>,
    /// Pairs of instructions that were reported.
    seen: HashSet<(*const Instruction, *const Instruction)>,
    findings: Vec<Diagnostic>,
    /// Cells that may still be looked at.
    cells: u64,
}

impl<'p> Detector<'p> {
    fn new(program: &'p Program, chip: &Chip, machine: &Machine) -> Result<Detector<'p>, Diagnostic> {
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
        let written: i64 = machine.tensors.iter().zip(&is_written).filter(|(_, w)| **w).map(|(bytes, _)| bytes).sum();
        if written > MAX_WRITTEN {
            let message = format!("{written} bytes are too many to look for races in");
            return Err(Diagnostic::new(Code::TooLarge, message)
                .help(format!("races do not depend on the shape alone: take one that writes at most {MAX_WRITTEN}")));
        }
        Ok(Detector {
            program,
            clocks: Clocks::new(&machine.cores, chip),
            local: machine.cores.iter().map(|_| Default::default()).collect(),
            tensors: program.tensors.iter().map(|_| Vec::new()).collect(),
            is_written,
            owner: owners(machine),
            seen: HashSet::new(),
            findings: Vec::new(),
            cells: MAX_CELLS,
        })
    }

    fn touch(&mut self, start: &Start<'_, 'p>, region: &Region, access: Access, at: (Thread, Epoch)) {
        let cells = match region.space {
            Space::Gm if !self.is_written[usize::from(region.tensor)] => return,
            Space::Gm => &mut self.tensors[usize::from(region.tensor)],
            space => &mut self.local[self.owner[start.core][space as usize]][space as usize],
        };
        // What a program is given holds values though nobody in it wrote them.
        let is_given = region.space == Space::Gm && {
            let purpose = self.program.tensors[usize::from(region.tensor)].purpose;
            matches!(purpose, Purpose::Weight | Purpose::Activation)
        };
        let last = ((region.end() - 1).max(0) / CELL) as usize;
        if cells.len() <= last {
            cells.resize_with(last + 1, Cell::default);
        }
        let mut found = None;
        for row in 0..region.rows {
            let first = region.start + row * region.stride;
            let end = first + region.bytes;
            for cell in first / CELL..=(end - 1) / CELL {
                let low = (first - cell * CELL).max(0);
                let high = (end - cell * CELL).min(CELL);
                let bytes = (((1u64 << (high - low)) - 1) << low) as u32;
                let cell = &mut cells[cell as usize];
                found = found.or(conflict(&self.clocks, cell, bytes, access, at.0));
                if access != Access::Write && !is_given && cell.written & bytes != bytes {
                    found = found.or(Some(Conflict::Unwritten));
                }
                note(cell, bytes, Entry { bytes, access, thread: at.0, epoch: at.1, instruction: start.instruction });
            }
        }
        if let Some(conflict) = found {
            self.report(start, region, access, at.0, &conflict);
        }
    }

    fn report(
        &mut self,
        start: &Start<'_, 'p>,
        region: &Region,
        access: Access,
        thread: Thread,
        conflict: &Conflict<'p>,
    ) {
        let this = start.instruction;
        let other = match conflict {
            Conflict::With { instruction, .. } => *instruction as *const Instruction,
            Conflict::Unwritten => std::ptr::null(),
        };
        if self.findings.len() >= MAX_FINDINGS || !self.seen.insert((this, other)) {
            return;
        }
        let text = |instruction: &Instruction| {
            instruction_text(&Instruction { note: None, ..instruction.clone() }, self.program)
        };
        let place = match region.space {
            Space::Gm => self.program.tensors[usize::from(region.tensor)].name.as_str(),
            space => space.name(),
        };
        let verb = |access: &Access| match access {
            Access::Read => "reads",
            Access::Write => "writes",
            Access::Add => "adds to",
        };
        let name = self.clocks.name(thread);
        let located = |d: Diagnostic, span: Option<Span>| span.map_or(d.clone(), |span| d.at(span));
        let diagnostic = match conflict {
            Conflict::Unwritten => {
                let message = format!("`{}` in {name} reads bytes of {place} that nothing wrote", text(this));
                Diagnostic::new(Code::Uninitialized, message)
                    .help("offset, extent or layout of this operand or of what was to write it is wrong")
            }
            Conflict::With { instruction, access: before, thread } => {
                let message = format!(
                    "`{}` in {name} {} bytes of {place} that `{}` in {} {}, and nothing orders the two",
                    text(this),
                    verb(&access),
                    text(instruction),
                    self.clocks.name(*thread),
                    verb(before),
                );
                let diagnostic = Diagnostic::new(Code::Race, message)
                    .help("set a flag behind the first and wait for it before the second; within V, put a barrier");
                instruction.span.map_or(diagnostic.clone(), |span| diagnostic.label(span, "the other access"))
            }
        };
        self.findings.push(located(diagnostic, this.span));
    }
}

impl<'p> Observer<'p> for Detector<'p> {
    fn queued(&mut self, core: usize, pipe: Pipe) {
        self.clocks.queued(core, pipe);
    }

    fn start(&mut self, start: &Start<'_, 'p>) -> Result<(), Diagnostic> {
        let at = self.clocks.start(start);
        let adds = is_atomic(start);
        let cells = |r: &Region| r.rows.max(0) as u64 * (r.bytes.max(0) as u64 / CELL as u64 + 1);
        let touched: u64 = start.regions.iter().map(cells).sum();
        self.cells = self.cells.checked_sub(touched).ok_or_else(|| {
            Diagnostic::new(Code::TooLarge, "the stream moves too many bytes to look for races")
                .help("races do not depend on the shape alone: take a smaller one")
        })?;
        // Reads before writes: an instruction may write what it reads.
        for region in start.regions.iter().filter(|r| !r.writes && !r.is_empty()) {
            let access = if adds && region.space == Space::Gm { Access::Add } else { Access::Read };
            self.touch(start, region, access, at);
        }
        for region in start.regions.iter().filter(|r| r.writes && !r.is_empty()) {
            let access = if adds && region.space == Space::Gm { Access::Add } else { Access::Write };
            self.touch(start, region, access, at);
        }
        Ok(())
    }
}

/// What an access does not agree with.
enum Conflict<'p> {
    /// Another access that it is not ordered after.
    With { instruction: &'p Instruction, access: Access, thread: Thread },
    /// Nobody wrote what it reads.
    Unwritten,
}

/// An access to `bytes` of a cell that this one is not ordered after.
fn conflict<'p>(clocks: &Clocks, cell: &Cell<'p>, bytes: u32, access: Access, by: Thread) -> Option<Conflict<'p>> {
    let disagrees = |entry: &Entry<'p>| match (entry.access, access) {
        (Access::Read, Access::Read) | (Access::Add, Access::Add) => false,
        // A pipelined unit still starts and ends its operations in order: only results may come too late.
        (before, now) if entry.thread == by => before != Access::Read && now == Access::Read,
        _ => true,
    };
    let entry = cell
        .entries
        .iter()
        .find(|e| e.bytes & bytes != 0 && disagrees(e) && !clocks.is_before(e.thread, e.epoch, by))?;
    Some(Conflict::With { instruction: entry.instruction, access: entry.access, thread: entry.thread })
}

/// Keeps what later accesses must be ordered after.
fn note<'p>(cell: &mut Cell<'p>, bytes: u32, entry: Entry<'p>) {
    match entry.access {
        Access::Write => {
            cell.written |= bytes;
            cell.entries.retain_mut(|e| {
                e.bytes &= !bytes;
                e.bytes != 0
            });
        }
        Access::Read | Access::Add => {
            let same = |e: &Entry<'_>| e.thread == entry.thread && e.access == entry.access && e.bytes == bytes;
            cell.entries.retain(|e| !same(e));
        }
    }
    cell.entries.push(entry);
}

fn is_atomic(start: &Start<'_, '_>) -> bool {
    let words = start.issue.op.spec().operands.iter().filter(|o| !o.is_place()).zip(start.issue.ints);
    words.into_iter().any(|(operand, value)| operand.name == "atomic" && value != 0)
}

/// Marks the tensors that an instruction writes.
fn mark_written(instruction: &Instruction, is_written: &mut [bool]) {
    for (operand, arg) in instruction.spec().operands.iter().zip(&instruction.args) {
        if let (Kind::Place { writes: true, .. }, Arg::Place(place)) = (operand.kind, arg)
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
