//! What a core is in the middle of: its scalar unit, its pipes with their queues, its flags and counters. Owns the
//! state and what of a pipe's time counts as which stall; [`super`] moves it.

use std::collections::VecDeque;

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::span::Span;

use super::core_name;
use super::stall::{Reason, Usage};
use crate::chip::Chip;
use crate::isa::cost::Cost;
use crate::isa::memory::{Pipe, Region};
use crate::isa::{Issue, Op, Regions};
use crate::program::Instruction;
use crate::unroll::{CoreId, Unroll};

/// An instruction on its way to its pipe.
pub(super) struct Queued<'p> {
    /// When it gets there.
    pub(super) ready: u64,
    pub(super) instruction: &'p Instruction,
    pub(super) issue: Issue,
    pub(super) regions: Regions,
    pub(super) cost: Cost,
}

/// What a scalar unit does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Runs,
    /// It waits for a place in a queue.
    Full(Pipe),
    /// It waits at an instruction of its own.
    Waits,
    Done,
}

/// How long a scalar unit has waited for a place in each pipe's queue.
pub(super) type Blocked = [u64; Pipe::COUNT];

/// A pipe.
pub(super) struct PipeState<'p> {
    pub(super) queue: VecDeque<Queued<'p>>,
    /// What it executes.
    pub(super) running: Option<&'p Instruction>,
    /// Bytes that it moves from or to GM, and its port.
    pub(super) transfer: Option<(Region, u64)>,
    /// Cycles from the end of what it executes to its result.
    pub(super) tail: u64,
    /// When it may start the next instruction.
    pub(super) free_at: u64,
    /// When everything it executed is through.
    pub(super) done_at: u64,
    /// Since when its time is not accounted for, and how long the scalar unit had waited for queues by then.
    pub(super) idle_since: u64,
    blocked: Blocked,
    /// Results on their way, of a vector unit that waits for those it needs.
    pub(super) results: Vec<(Region, u64)>,
    /// Why it is idle, if it is.
    pub(super) why: Reason,
    pub(super) usage: Usage,
}

impl PipeState<'_> {
    fn new(start: u64) -> Self {
        let mut usage = Usage::default();
        usage.stall(Reason::Start, start);
        PipeState {
            queue: VecDeque::new(),
            running: None,
            transfer: None,
            tail: 0,
            free_at: start,
            done_at: start,
            idle_since: start,
            blocked: [0; Pipe::COUNT],
            results: Vec::new(),
            why: Reason::Dispatch,
            usage,
        }
    }

    /// When the results that the next instruction needs are there, if they are not.
    pub(super) fn awaits(&mut self, now: u64) -> Option<u64> {
        self.results.retain(|(_, done)| *done > now);
        let head = self.queue.front()?;
        let needs = |result: &Region| head.regions.iter().any(|r| r.overlaps(result));
        self.results.iter().filter(|(region, _)| needs(region)).map(|(_, done)| *done).max()
    }

    /// It is free from now on.
    pub(super) fn idles(&mut self, now: u64, blocked: &Blocked) {
        self.idle_since = now;
        self.blocked = *blocked;
    }

    /// Time since the last instruction was a stall, of which a part may have been the scalar unit's waiting for others.
    pub(super) fn account(&mut self, now: u64, blocked: &Blocked) {
        let mut left = now - self.idle_since;
        if self.why == Reason::Dispatch {
            for (pipe, (after, before)) in Pipe::ALL.into_iter().zip(blocked.iter().zip(self.blocked)) {
                let part = (after - before).min(left);
                self.usage.stall(Reason::Queue(pipe), part);
                left -= part;
            }
        }
        self.usage.stall(self.why, left);
        self.idles(now, blocked);
    }
}

/// An instruction that waits for ever.
pub(super) struct Stuck {
    pub(super) message: String,
    pub(super) span: Option<Span>,
    /// Whether it does not wait for another core, which would then be where it started.
    pub(super) is_first: bool,
}

/// A core.
pub(super) struct CoreState<'p> {
    pub(super) id: CoreId,
    pub(super) unroll: Unroll<'p>,
    pub(super) scalar: Scalar,
    /// Up to when the scalar unit has worked.
    pub(super) scalar_time: u64,
    /// Since when the scalar unit has worked without waiting, and what it handed over last.
    pub(super) works_since: u64,
    pub(super) last: Option<&'p Instruction>,
    /// How long it has waited for queues.
    pub(super) blocked: Blocked,
    /// What it could not hand over yet.
    pub(super) pending: Option<Queued<'p>>,
    pub(super) pipes: [PipeState<'p>; Pipe::COUNT],
    flags: Vec<u32>,
    flags_per_pair: usize,
    pub(super) counters: Vec<u64>,
    /// How often this core has set each counter: for its group, for all.
    pub(super) sets: [Vec<u64>; 2],
}

impl<'p> CoreState<'p> {
    pub(super) fn new(id: CoreId, unroll: Unroll<'p>, chip: &Chip, start: u64) -> Self {
        let flags_per_pair = *chip.limits.flags as usize;
        let counters = *chip.limits.counters as usize;
        CoreState {
            id,
            unroll,
            scalar: Scalar::Runs,
            scalar_time: start,
            works_since: start,
            last: None,
            blocked: [0; Pipe::COUNT],
            pending: None,
            pipes: Pipe::ALL.map(|_| PipeState::new(start)),
            flags: vec![0; Pipe::COUNT * Pipe::COUNT * flags_per_pair],
            flags_per_pair,
            counters: vec![0; counters],
            sets: [vec![0; counters], vec![0; counters]],
        }
    }

    fn flag(&mut self, from: Pipe, to: Pipe, id: usize) -> &mut u32 {
        &mut self.flags[(from.index() * Pipe::COUNT + to.index()) * self.flags_per_pair + id]
    }

    /// Sets a flag.
    pub(super) fn set_flag(&mut self, from: Pipe, to: Pipe, id: usize) -> Result<(), Diagnostic> {
        let core = core_name(self.id);
        let flag = self.flag(from, to, id);
        if *flag > 0 {
            let name = format!("{}, {}, {id}", from.name(), to.name());
            return Err(Diagnostic::new(Code::FlagSetTwice, format!("{core}: flag {name} is set twice in a row"))
                .help("the pipe that waits must have taken the flag before it is set again"));
        }
        *flag += 1;
        Ok(())
    }

    /// Takes a flag, if it is set.
    pub(super) fn take_flag(&mut self, from: Pipe, to: Pipe, id: usize) -> bool {
        let flag = self.flag(from, to, id);
        let is_set = *flag > 0;
        *flag -= u32::from(is_set);
        is_set
    }

    /// Takes one off a counter, if it can.
    pub(super) fn take_counter(&mut self, id: usize) -> bool {
        let is_set = self.counters[id] > 0;
        self.counters[id] -= u64::from(is_set);
        is_set
    }

    /// A pipe has to wait from now on. The scalar unit's time is accounted for where it goes on.
    pub(super) fn wait(&mut self, now: u64, pipe: Pipe, why: Reason) {
        let state = &mut self.pipes[pipe.index()];
        if pipe != Pipe::S && state.why != why {
            state.account(now, &self.blocked);
        }
        state.why = why;
    }

    /// The scalar unit works so long.
    pub(super) fn works(&mut self, cycles: u64) {
        self.scalar_time += cycles;
        self.pipes[Pipe::S.index()].usage.busy += cycles;
    }

    /// The scalar unit need not wait any more.
    pub(super) fn resume(&mut self, now: u64) {
        let waited = now.saturating_sub(self.scalar_time);
        let scalar = &mut self.pipes[Pipe::S.index()];
        match self.scalar {
            Scalar::Full(pipe) if waited > 0 => {
                scalar.usage.stall(Reason::Queue(pipe), waited);
                self.blocked[pipe.index()] += waited;
            }
            Scalar::Waits => scalar.usage.stall(scalar.why, waited),
            _ => {}
        }
        scalar.why = Reason::Dispatch;
        self.scalar = Scalar::Runs;
        self.scalar_time = self.scalar_time.max(now);
        self.works_since = self.scalar_time;
    }

    /// At the end of the run, all time is accounted for.
    pub(super) fn close(&mut self, end: u64) {
        for (index, pipe) in self.pipes.iter_mut().enumerate() {
            if index == Pipe::S.index() {
                let known = pipe.usage.busy + pipe.usage.stalls.values().sum::<u64>();
                pipe.usage.stall(Reason::End, end.saturating_sub(known));
            } else {
                pipe.why = Reason::End;
                pipe.account(end, &self.blocked);
            }
        }
    }

    /// What the core waits for though nothing will come, if it does.
    pub(super) fn stuck(&self) -> Option<Stuck> {
        let core = core_name(self.id);
        // What was handed over first comes first in the program, and all before it was done.
        let heads = Pipe::ALL.iter().zip(&self.pipes).filter_map(|(pipe, state)| Some((*pipe, state.queue.front()?)));
        let Some((pipe, head)) = heads.min_by_key(|(_, head)| head.ready) else {
            let message = format!("{core}: its scalar unit waits for ever");
            return (self.scalar != Scalar::Done).then_some(Stuck { message, span: None, is_first: false });
        };
        let ints = head.issue.ints;
        let what = match head.issue.op {
            Op::WaitFlag => {
                let from = Pipe::ALL[ints[0] as usize % Pipe::COUNT];
                format!("flag {}, {}, {} is never set", from.name(), pipe.name(), ints[2])
            }
            Op::CrossWait => format!("counter {} never goes up", ints[1]),
            _ => "waits for ever".to_string(),
        };
        let message = format!("{core}: `{}` in {}: {what}", head.instruction.spec().mnemonic, pipe.name());
        Some(Stuck { message, span: head.instruction.span, is_first: head.issue.op != Op::CrossWait })
    }

    /// Whether every flag that was set was taken, and every counter is down again.
    pub(super) fn check_flags(&self) -> Result<(), Diagnostic> {
        if let Some((id, count)) = self.counters.iter().enumerate().find(|(_, count)| **count > 0) {
            let message = format!("{}: counter {id} is still {count} at the end", core_name(self.id));
            return Err(
                Diagnostic::new(Code::FlagLeft, message).help("the next kernel would find it so: wait once more")
            );
        }
        let Some(at) = self.flags.iter().position(|count| *count > 0) else { return Ok(()) };
        let (pair, id) = (at / self.flags_per_pair, at % self.flags_per_pair);
        let (from, to) = (Pipe::ALL[pair / Pipe::COUNT], Pipe::ALL[pair % Pipe::COUNT]);
        let name = format!("{}, {}, {id}", from.name(), to.name());
        Err(Diagnostic::new(Code::FlagLeft, format!("{}: flag {name} is still set at the end", core_name(self.id)))
            .help("the next kernel would find it set: wait for it once more"))
    }
}
