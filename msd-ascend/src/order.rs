//! What happens before what, whatever the durations: flags, counters, barriers and the order within a pipe, as
//! vector clocks. Owns the clocks; [`crate::race`] asks them about memory.
//!
//! Every pipe of every core has a clock, its own entry the number of its instructions so far. Setting a flag hands
//! the clock over, waiting takes it in. A pipe is in order: what it executes comes after all it executed before.
//! Only a pipelined vector unit starts an operation before the former one's result is there; `barriers` says up to
//! where its results are.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::span::Span;

use crate::chip::Chip;
use crate::engine::{Start, core_name};
use crate::isa::Op;
use crate::isa::memory::Pipe;
use crate::unroll::CoreId;
use crate::verify::MAX_FINDINGS;

/// A pipe of a core, as an index.
pub(crate) type Thread = usize;

/// The number of an instruction within its thread.
pub(crate) type Epoch = u32;

type Clock = Rc<[Epoch]>;

/// What cores have told each other through one counter: each setter's clocks, in order.
#[derive(Default)]
struct Told {
    clocks: VecDeque<Clock>,
    /// How many were there before the first kept one.
    before: usize,
}

/// Clocks of a run.
pub(crate) struct Clocks {
    cores: Vec<CoreId>,
    clocks: Vec<Vec<Epoch>>,
    /// Up to where results of each thread are there for itself.
    barriers: Vec<Epoch>,
    flags: HashMap<(usize, Pipe, Pipe, i64), Clock>,
    /// Who last waited for a flag, and when.
    taken: HashMap<(usize, Pipe, Pipe, i64), Epoch>,
    told: HashMap<(usize, i64, i64), Told>,
    /// How often each core has waited for each of its counters.
    waits: HashMap<(usize, i64), usize>,
    /// Clocks of scalar units when they handed over what now waits in a queue.
    handed: Vec<VecDeque<Option<Clock>>>,
    /// Clock of each scalar unit since it last waited, and whether it ever did.
    scalar: Vec<Option<Clock>>,
    pipelined: bool,
    findings: Vec<Diagnostic>,
    /// Where the instructions stand that were found at fault.
    found: HashSet<Option<Span>>,
}

impl Clocks {
    pub(crate) fn new(cores: &[CoreId], chip: &Chip) -> Clocks {
        let threads = cores.len() * Pipe::COUNT;
        Clocks {
            cores: cores.to_vec(),
            clocks: vec![vec![0; threads]; threads],
            barriers: vec![0; threads],
            flags: HashMap::new(),
            taken: HashMap::new(),
            told: HashMap::new(),
            waits: HashMap::new(),
            handed: vec![VecDeque::new(); threads],
            scalar: vec![None; cores.len()],
            pipelined: *chip.abilities.vector_is_pipelined,
            findings: Vec::new(),
            found: HashSet::new(),
        }
    }

    /// The thread of a pipe.
    pub(crate) fn thread(core: usize, pipe: Pipe) -> Thread {
        core * Pipe::COUNT + pipe.index()
    }

    /// Core and pipe of a thread.
    pub(crate) fn name(&self, thread: Thread) -> String {
        format!("{} of {}", Pipe::ALL[thread % Pipe::COUNT].name(), core_name(self.cores[thread / Pipe::COUNT]))
    }

    /// The scalar unit hands an instruction over.
    pub(crate) fn queued(&mut self, core: usize, pipe: Pipe) {
        let clock = self.scalar[core].clone();
        self.handed[Clocks::thread(core, pipe)].push_back(clock);
    }

    /// An instruction starts; its thread and its number there.
    pub(crate) fn start(&mut self, start: &Start<'_, '_>) -> (Thread, Epoch) {
        let thread = Clocks::thread(start.core, start.pipe);
        if let Some(Some(clock)) = self.handed[thread].pop_front() {
            self.join(thread, &clock);
        }
        self.clocks[thread][thread] += 1;
        let epoch = self.clocks[thread][thread];
        let ints = start.issue.ints;
        let pipe = |index: usize| Pipe::ALL[ints[index] as usize % Pipe::COUNT];
        match start.issue.op {
            Op::SetFlag => self.set_flag(start, thread, (start.core, pipe(0), pipe(1), ints[2])),
            Op::WaitFlag => {
                let flag = (start.core, pipe(0), pipe(1), ints[2]);
                if let Some(clock) = self.flags.remove(&flag) {
                    self.join(thread, &clock);
                }
                self.taken.insert(flag, epoch);
                self.scalar_waited(start, thread);
            }
            Op::Barrier => self.barriers[thread] = epoch,
            Op::BarrierAll => {
                for pipe in Pipe::ALL {
                    let other = Clocks::thread(start.core, pipe);
                    let clock: Clock = self.clocks[other].as_slice().into();
                    self.join(thread, &clock);
                    self.barriers[other] = self.clocks[other][other];
                }
                self.scalar_waited(start, thread);
            }
            Op::CrossSet if self.is_heard(start.core, ints[2]) => {
                let clock: Clock = self.clocks[thread].as_slice().into();
                self.told.entry((start.core, ints[1], ints[2])).or_default().clocks.push_back(clock);
            }
            Op::CrossWait => {
                self.cross_wait(start.core, thread, ints[1]);
                self.scalar_waited(start, thread);
            }
            _ => {}
        }
        (thread, epoch)
    }

    /// Flags that may be set while they are set, each `set_flag` once.
    pub(crate) fn findings(self) -> Vec<Diagnostic> {
        self.findings
    }

    /// Whether an instruction of `thread` was through before what `by` executes now.
    pub(crate) fn is_before(&self, thread: Thread, epoch: Epoch, by: Thread) -> bool {
        if thread == by {
            return !self.is_pipelined(thread) || epoch <= self.barriers[thread];
        }
        self.clocks[by][thread] >= epoch
    }

    /// Whether a thread starts operations before former results are there.
    fn is_pipelined(&self, thread: Thread) -> bool {
        self.pipelined && thread % Pipe::COUNT == Pipe::V.index()
    }

    fn set_flag(&mut self, start: &Start<'_, '_>, thread: Thread, flag: (usize, Pipe, Pipe, i64)) {
        let waiter = Clocks::thread(start.core, flag.2);
        let is_taken = !self.flags.contains_key(&flag)
            && self.taken.get(&flag).is_none_or(|epoch| self.clocks[thread][waiter] >= *epoch);
        let is_new = || self.findings.len() < MAX_FINDINGS && !self.found.contains(&start.instruction.span);
        if !is_taken && is_new() {
            let (core, name) = (core_name(self.cores[start.core]), flag.2.name());
            let message = format!("{core}: this flag may be set again before {name} has taken it");
            let diagnostic = Diagnostic::new(Code::FlagSetTwice, message)
                .help(format!("wait in {} for something that {name} does after it took the flag", flag.1.name()));
            let span = start.instruction.span;
            self.findings.push(diagnostic.at_known(span));
            self.found.insert(span);
        }
        let clock: Clock = self.clocks[thread].as_slice().into();
        self.flags.insert(flag, clock);
    }

    /// What the scalar unit waited for came before all that it hands over from now on.
    fn scalar_waited(&mut self, start: &Start<'_, '_>, thread: Thread) {
        if start.pipe == Pipe::S {
            self.scalar[start.core] = Some(self.clocks[thread].as_slice().into());
        }
    }

    fn cross_wait(&mut self, core: usize, thread: Thread, id: i64) {
        let waits = self.waits.entry((core, id)).or_default();
        let turn = *waits;
        *waits += 1;
        let me = self.cores[core];
        let setters: Vec<(usize, i64)> = (0..self.cores.len())
            .flat_map(|other| [(other, 0), (other, 1)])
            .filter(|(other, to_all)| {
                let it = self.cores[*other];
                if *to_all == 1 { it.kind == me.kind } else { it.kind != me.kind && it.group == me.group }
            })
            .collect();
        for (setter, to_all) in setters {
            let slowest = self.slowest(setter, id, to_all);
            let Some(told) = self.told.get_mut(&(setter, id, to_all)) else { continue };
            let clock = turn.checked_sub(told.before).and_then(|at| told.clocks.get(at)).cloned();
            // What every core that may wait has taken in is of no more use.
            while told.before < slowest && !told.clocks.is_empty() {
                told.clocks.pop_front();
                told.before += 1;
            }
            if let Some(clock) = clock {
                self.join(thread, &clock);
            }
        }
    }

    /// Whether there is a core to hear what `setter` sets.
    fn is_heard(&self, setter: usize, to_all: i64) -> bool {
        let it = self.cores[setter];
        to_all == 1 || self.cores.iter().any(|other| other.kind != it.kind && other.group == it.group)
    }

    /// Waits of whoever has waited least for a counter that `setter` sets.
    fn slowest(&self, setter: usize, id: i64, to_all: i64) -> usize {
        let it = self.cores[setter];
        let hears = |other: CoreId| {
            if to_all == 1 { other.kind == it.kind } else { other.kind != it.kind && other.group == it.group }
        };
        let waits = (0..self.cores.len()).filter(|c| hears(self.cores[*c]));
        waits.map(|c| self.waits.get(&(c, id)).copied().unwrap_or(0)).min().unwrap_or(0)
    }

    /// A thread comes after all that a clock has. What it hears of its own it has also finished: clocks are handed over
    /// when that is so.
    fn join(&mut self, thread: Thread, clock: &[Epoch]) {
        self.barriers[thread] = self.barriers[thread].max(clock[thread]);
        for (mine, other) in self.clocks[thread].iter_mut().zip(clock) {
            *mine = (*mine).max(*other);
        }
    }
}
