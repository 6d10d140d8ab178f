//! The order in which a program executes, and when: every core's scalar unit hands instructions to its pipes, each
//! pipe takes them in order, flags and counters hold pipes back, and GM is shared. Driven by events, one after the
//! other in time. Owns order and time; an [`Observer`] sees each instruction as it starts and ends, and is what
//! makes a run one of values, of cycles, or a search for races.
//!
//! Whether a program comes to its end does not depend on any duration, as long as every flag and every counter of a
//! core is set by one pipe of each setter and waited for by one: flags are so by their name, counters by
//! [`crate::verify`]. So a deadlock found here is one everywhere.

pub mod gm;
mod pipes;
pub mod stall;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use msd_ir::diag::{Code, Diagnostic};

use crate::check::{self, Machine};
use crate::chip::Chip;
use crate::isa::cost::Cost;
use crate::isa::memory::{Core, Pipe, Region, Space};
use crate::isa::{Issue, Op};
use crate::program::{Instruction, Program, Purpose};
use crate::unroll::{CoreId, MAX_STEPS, Unroll};
use gm::{Gm, Traffic};
use pipes::{CoreState, Queued, Scalar, Stuck};
use stall::{Reason, Usage};

/// An instruction as it starts.
pub struct Start<'a, 'p> {
    /// Index of the core among [`Outcome::cores`].
    pub core: usize,
    /// The pipe.
    pub pipe: Pipe,
    /// As written.
    pub instruction: &'p Instruction,
    /// With values.
    pub issue: &'a Issue,
    /// Bytes it touches.
    pub regions: &'a [Region],
}

/// Who looks on. Instructions start in an order that flags, counters and queues allow.
pub trait Observer<'p> {
    /// An instruction starts; those that order pipes when they take effect.
    ///
    /// # Errors
    /// What it found; the run ends with it.
    fn start(&mut self, _start: &Start<'_, 'p>) -> Result<(), Diagnostic> {
        Ok(())
    }

    /// The scalar unit of a core hands an instruction over to another pipe.
    fn queued(&mut self, _core: usize, _pipe: Pipe) {}

    /// A pipe was busy with an instruction; the scalar unit with all that it handed over up to this one.
    fn busy(&mut self, _core: usize, _pipe: Pipe, _instruction: &'p Instruction, _from: u64, _to: u64) {}
}

/// Nobody looks on.
impl Observer<'_> for () {}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Cycles on the device until the last instruction was through, its start included.
    pub cycles: u64,
    /// The cores that ran.
    pub cores: Vec<CoreId>,
    /// What each pipe of each core did, by [`Pipe::index`].
    pub usage: Vec<[Usage; Pipe::COUNT]>,
    /// Bytes moved, in the order of [`Purpose::ALL`].
    pub traffic: [Traffic; Purpose::ALL.len()],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The scalar unit goes on.
    Scalar(usize),
    /// A pipe looks at its queue.
    Pipe(usize, Pipe),
    /// The bytes of a transfer start.
    Flow(usize, Pipe),
    /// A flag is seen.
    Flag(usize, Pipe, Pipe, usize),
    /// A core counts as having set a counter.
    Counter(usize, usize, bool),
}

/// Runs a program.
///
/// # Errors
/// If an instruction is not one the chip executes, the cores wait for each other for ever, a flag is left set or set
/// twice, the program is too long, or the observer found something.
pub fn run<'p>(program: &'p Program, chip: &Chip, observer: &mut dyn Observer<'p>) -> Result<Outcome, Diagnostic> {
    let machine = Machine::new(program, chip)?;
    let mut engine = Engine::new(program, chip, machine, observer);
    engine.run()?;
    engine.check_end()?;
    Ok(engine.outcome())
}

struct Engine<'a, 'p> {
    chip: &'a Chip,
    program: &'p Program,
    machine: Machine,
    observer: &'a mut dyn Observer<'p>,
    cores: Vec<CoreState<'p>>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    serial: u64,
    gm: Gm,
    budget: u64,
    /// Lines that instructions may still touch.
    lines: u64,
    end: u64,
}

impl<'a, 'p> Engine<'a, 'p> {
    fn new(program: &'p Program, chip: &'a Chip, machine: Machine, observer: &'a mut dyn Observer<'p>) -> Self {
        let gm = Gm::new(chip, &machine.tensor_purposes(program));
        let start = chip.kernel_start();
        let core = |id: &CoreId| CoreState::new(*id, Unroll::new(program, *id, machine.blocks), chip, start);
        let cores = machine.cores.iter().map(core).collect();
        let events = BinaryHeap::new();
        let (budget, lines) = (MAX_STEPS, MAX_LINES);
        let mut engine =
            Engine { chip, program, machine, observer, cores, events, serial: 0, gm, budget, lines, end: start };
        for core in 0..engine.cores.len() {
            engine.at(start, Event::Scalar(core));
        }
        engine
    }

    fn at(&mut self, time: u64, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((time, self.serial, event)));
    }

    fn run(&mut self) -> Result<(), Diagnostic> {
        loop {
            let event = self.events.peek().map(|Reverse((time, ..))| *time);
            if let Some(flow) = self.gm.next_by(event) {
                self.finish_flows(flow)?;
                continue;
            }
            let Some(Reverse((now, _, event))) = self.events.pop() else { return Ok(()) };
            self.handle(now, event)?;
        }
    }

    fn handle(&mut self, now: u64, event: Event) -> Result<(), Diagnostic> {
        match event {
            Event::Scalar(core) => self.dispatch(now, core),
            Event::Pipe(core, pipe) => self.advance(now, core, pipe),
            Event::Flow(core, pipe) => {
                let state = &self.cores[core];
                let Some((region, port)) = state.pipes[pipe.index()].transfer else { return Ok(()) };
                let token = (core * Pipe::COUNT + pipe.index()) as u64;
                self.gm.start(now, token, state.id.group as usize, port, &region);
                Ok(())
            }
            Event::Flag(core, from, to, id) => {
                self.cores[core].set_flag(from, to, id)?;
                self.advance(now, core, to)
            }
            Event::Counter(core, id, to_all) => self.count(now, core, id, to_all),
        }
    }

    fn finish_flows(&mut self, now: u64) -> Result<(), Diagnostic> {
        for token in self.gm.finish(now) {
            let (core, pipe) = (token as usize / Pipe::COUNT, Pipe::ALL[token as usize % Pipe::COUNT]);
            let state = &mut self.cores[core].pipes[pipe.index()];
            state.transfer = None;
            let tail = state.tail;
            if let Some(instruction) = state.running.take() {
                self.finish(core, pipe, instruction, now, now + tail);
            }
            self.advance(now, core, pipe)?;
        }
        Ok(())
    }

    /// A pipe is through with an instruction at `now`, its result there at `done`.
    fn finish(&mut self, core: usize, pipe: Pipe, instruction: &'p Instruction, now: u64, done: u64) {
        let blocked = self.cores[core].blocked;
        let state = &mut self.cores[core].pipes[pipe.index()];
        let from = state.idle_since;
        state.usage.busy += now - from;
        state.idles(now, &blocked);
        state.free_at = now;
        state.done_at = state.done_at.max(done);
        self.end = self.end.max(done);
        self.observer.busy(core, pipe, instruction, from, now);
        self.recheck_barrier(now, core);
    }

    /// A scalar unit that waits for all its pipes looks again.
    fn recheck_barrier(&mut self, now: u64, core: usize) {
        if self.cores[core].pipes[Pipe::S.index()].why == Reason::Barrier {
            self.at(now, Event::Pipe(core, Pipe::S));
        }
    }

    /// The scalar unit hands over instructions until it has to wait.
    fn dispatch(&mut self, now: u64, core: usize) -> Result<(), Diagnostic> {
        let issue_cycles = *self.chip.latency.issue;
        let depth = *self.chip.limits.queue as usize;
        loop {
            let state = &mut self.cores[core];
            let queued = match state.pending.take() {
                Some(queued) => queued,
                None => {
                    let step = state.unroll.next(&mut self.budget);
                    let step = step.map_err(|d| check::placed(d, state.id, &state.unroll, self.program))?;
                    let Some(step) = step else {
                        self.rest(core, Scalar::Done);
                        return Ok(());
                    };
                    let regions = self.machine.check(step.instruction, &step.issue, state.id.kind, self.chip);
                    let regions = regions.map_err(|d| check::placed(d, state.id, &state.unroll, self.program))?;
                    self.lines = self.lines.checked_sub(lines(&regions)).ok_or_else(too_much)?;
                    let cost = (step.issue.op.spec().cost.of)(&step.issue, self.chip);
                    state.works(issue_cycles * step.statements);
                    state.last = Some(step.instruction);
                    let ready = state.scalar_time;
                    Queued { ready, instruction: step.instruction, issue: step.issue, regions, cost }
                }
            };
            let pipe = queued.issue.pipe();
            if pipe == Pipe::S && queued.ready > now {
                let ready = queued.ready;
                state.pending = Some(queued);
                self.at(ready, Event::Scalar(core));
                return Ok(());
            }
            let slot = &mut state.pipes[pipe.index()];
            if pipe == Pipe::S {
                slot.queue.push_back(queued);
                self.advance(now, core, Pipe::S)?;
                if !self.cores[core].pipes[Pipe::S.index()].queue.is_empty() {
                    self.rest(core, Scalar::Waits);
                    return Ok(());
                }
                continue;
            }
            if slot.queue.len() >= depth {
                state.pending = Some(queued);
                self.rest(core, Scalar::Full(pipe));
                return Ok(());
            }
            let ready = queued.ready;
            slot.queue.push_back(queued);
            self.observer.queued(core, pipe);
            if slot.queue.len() == 1 && slot.transfer.is_none() {
                let time = ready.max(slot.free_at).max(now);
                self.at(time, Event::Pipe(core, pipe));
            }
        }
    }

    /// The scalar unit stops handing over.
    fn rest(&mut self, core: usize, scalar: Scalar) {
        let state = &mut self.cores[core];
        state.scalar = scalar;
        if let Some(last) = state.last {
            self.observer.busy(core, Pipe::S, last, state.works_since, state.scalar_time);
        }
    }

    /// A pipe executes what it can.
    fn advance(&mut self, now: u64, core: usize, pipe: Pipe) -> Result<(), Diagnostic> {
        loop {
            let state = &mut self.cores[core];
            let slot = &mut state.pipes[pipe.index()];
            if slot.transfer.is_some() || slot.free_at > now {
                return Ok(());
            }
            if let Some(instruction) = slot.running.take() {
                let done = now + slot.tail;
                self.finish(core, pipe, instruction, now, done);
                continue;
            }
            let Some(head) = slot.queue.front() else { return Ok(()) };
            let (ready, is_sync) = (head.ready, matches!(head.cost, Cost::Sync));
            if ready > now {
                self.at(ready, Event::Pipe(core, pipe));
                return Ok(());
            }
            if let Some(done) = slot.awaits(now) {
                state.wait(now, pipe, Reason::Result);
                self.at(done, Event::Pipe(core, pipe));
                return Ok(());
            }
            if is_sync && !self.synchronize(now, core, pipe)? {
                return Ok(());
            }
            self.start(now, core, pipe)?;
            let state = &mut self.cores[core];
            let resumes = match state.scalar {
                Scalar::Full(full) => full == pipe,
                Scalar::Waits => pipe == Pipe::S,
                Scalar::Runs | Scalar::Done => false,
            };
            if resumes {
                state.resume(now);
                self.at(now, Event::Scalar(core));
            }
        }
    }

    /// Takes the head off a queue and starts it.
    fn start(&mut self, now: u64, core: usize, pipe: Pipe) -> Result<(), Diagnostic> {
        let state = &mut self.cores[core];
        let slot = &mut state.pipes[pipe.index()];
        let Some(head) = slot.queue.pop_front() else { return Ok(()) };
        if pipe != Pipe::S {
            slot.account(now, &state.blocked);
            slot.why = Reason::Dispatch;
        }
        self.end = self.end.max(now);
        let (issue, regions) = (&head.issue, &head.regions[..]);
        self.observer.start(&Start { core, pipe, instruction: head.instruction, issue, regions })?;
        match head.cost {
            Cost::Sync => self.recheck_barrier(now, core),
            Cost::Busy { cycles, tail } => {
                slot.running = Some(head.instruction);
                slot.tail = tail;
                slot.free_at = now + cycles;
                if pipe == Pipe::V && !*self.chip.abilities.vector_is_pipelined {
                    let done = now + cycles + tail;
                    slot.results.extend(head.regions.iter().filter(|r| r.writes).map(|r| (*r, done)));
                }
                self.at(now + cycles, Event::Pipe(core, pipe));
            }
            Cost::Transfer { port, start, tail } => {
                let global = head.regions.iter().find(|r| r.space == Space::Gm);
                slot.running = Some(head.instruction);
                slot.tail = tail;
                slot.transfer = global.map(|region| (*region, port));
                self.at(now + start, Event::Flow(core, pipe));
            }
        }
        Ok(())
    }

    /// Whether what stands at the head of a queue and orders pipes takes effect now.
    fn synchronize(&mut self, now: u64, core: usize, pipe: Pipe) -> Result<bool, Diagnostic> {
        let latency = &self.chip.latency;
        let state = &mut self.cores[core];
        let slot = &state.pipes[pipe.index()];
        let Some(Issue { op, ints, .. }) = slot.queue.front().map(|head| head.issue) else { return Ok(false) };
        let done = slot.done_at.max(now);
        match op {
            Op::SetFlag => {
                let to = Pipe::ALL[ints[1] as usize];
                let seen = done + *latency.flag;
                self.at(seen, Event::Flag(core, pipe, to, ints[2] as usize));
            }
            Op::WaitFlag => {
                let from = Pipe::ALL[ints[0] as usize];
                if !state.take_flag(from, pipe, ints[2] as usize) {
                    state.wait(now, pipe, Reason::Flag(from));
                    return Ok(false);
                }
            }
            Op::Barrier if done > now => {
                state.wait(now, pipe, Reason::Barrier);
                self.at(done, Event::Pipe(core, pipe));
                return Ok(false);
            }
            Op::BarrierAll => {
                let others = state.pipes.iter().filter(|p| !std::ptr::eq(*p, &state.pipes[Pipe::S.index()]));
                let idle = others.clone().all(|p| p.queue.is_empty() && p.transfer.is_none() && p.running.is_none());
                let drained = others.map(|p| p.done_at).max().unwrap_or(now);
                if !idle || drained > now {
                    state.wait(now, pipe, Reason::Barrier);
                    if idle {
                        self.at(drained, Event::Pipe(core, Pipe::S));
                    }
                    return Ok(false);
                }
            }
            Op::CrossSet => {
                let seen = done + *latency.cross_core;
                self.at(seen, Event::Counter(core, ints[1] as usize, ints[2] == 1));
            }
            Op::CrossWait if !state.take_counter(ints[1] as usize) => {
                state.wait(now, pipe, Reason::OtherCore);
                return Ok(false);
            }
            _ => {}
        }
        Ok(true)
    }

    /// A core has set a counter: those whose turn it is now see it.
    fn count(&mut self, now: u64, core: usize, id: usize, to_all: bool) -> Result<(), Diagnostic> {
        let CoreId { kind, group, .. } = self.cores[core].id;
        let setters = |other: CoreId| other.kind == kind && (to_all || other.group == group);
        let sets = |state: &CoreState<'_>| state.sets[usize::from(to_all)][id];
        let before = self.cores.iter().filter(|c| setters(c.id)).map(sets).min().unwrap_or(0);
        self.cores[core].sets[usize::from(to_all)][id] += 1;
        let after = self.cores.iter().filter(|c| setters(c.id)).map(sets).min().unwrap_or(0);
        if after == before {
            return Ok(());
        }
        for other in 0..self.cores.len() {
            let seen = self.cores[other].id;
            let sees = if to_all { seen.kind == kind } else { seen.kind != kind && seen.group == group };
            if sees {
                self.cores[other].counters[id] += 1;
                if self.cores[other].counters[id] > MAX_COUNT {
                    let message = format!("{}: counter {id} goes beyond {MAX_COUNT}", core_name(seen));
                    return Err(Diagnostic::new(Code::FlagSetTwice, message).help("wait for it as often as it is set"));
                }
                for pipe in Pipe::ALL {
                    if matches!(self.cores[other].pipes[pipe.index()].why, Reason::OtherCore) {
                        self.advance(now, other, pipe)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether every core came to its end and every flag was taken.
    fn check_end(&self) -> Result<(), Diagnostic> {
        let stuck: Vec<Stuck> = self.cores.iter().filter_map(CoreState::stuck).collect();
        if let Some(first) = stuck.iter().find(|s| s.is_first).or(stuck.first()) {
            let more = match stuck.len() {
                1 => String::new(),
                n => format!(", and {} more cores wait", n - 1),
            };
            let diagnostic = Diagnostic::new(Code::Deadlock, format!("{}{more}", first.message))
                .help("each wait needs a set of its own, handed over before the pipe's queue is full");
            return Err(diagnostic.at_known(first.span));
        }
        for core in &self.cores {
            core.check_flags()?;
        }
        Ok(())
    }

    fn outcome(mut self) -> Outcome {
        for core in &mut self.cores {
            core.close(self.end);
        }
        Outcome {
            cycles: self.end,
            cores: self.cores.iter().map(|c| c.id).collect(),
            usage: self.cores.into_iter().map(|c| c.pipes.map(|p| p.usage)).collect(),
            traffic: self.gm.traffic(),
        }
    }
}

/// Most that a counter counts up to.
const MAX_COUNT: u64 = 1023;

/// Lines that all instructions together may touch, so that a run ends in bounded time.
const MAX_LINES: u64 = 1 << 32;

/// Rows of regions, a long row as one for each 256 bytes.
fn lines(regions: &[Region]) -> u64 {
    regions.iter().map(|r| r.rows.max(0) as u64 * (r.bytes.max(0) as u64 / 256 + 1)).sum()
}

fn too_much() -> Diagnostic {
    let message = format!("the cores move more than {MAX_LINES} lines of 256 bytes");
    Diagnostic::new(Code::StreamTooLong, message).help("a loop may run further than it was meant to")
}

/// Core of a kind, for messages.
pub(crate) fn core_name(id: CoreId) -> String {
    match id.kind {
        Core::Cube => format!("cube core {}", id.group),
        Core::Vector => format!("vector core {}.{}", id.group, id.sub),
    }
}
