//! Why a pipe did nothing, in words. Owns the reasons and their sums.

use std::collections::BTreeMap;
use std::fmt;

use crate::isa::memory::Pipe;

/// Why a pipe did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The device was starting the kernel.
    Start,
    /// The scalar unit had not handed over an instruction.
    Dispatch,
    /// The scalar unit waited for a place in the queue of this pipe.
    Queue(Pipe),
    /// A flag from this pipe was not set.
    Flag(Pipe),
    /// Another core had not come so far.
    OtherCore,
    /// A barrier: results of the pipe itself were on their way.
    Barrier,
    /// A result of the pipe itself that the next instruction needs was on its way.
    Result,
    /// There was nothing left to do.
    End,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Start => f.write_str("start on the device"),
            Reason::Dispatch => f.write_str("instructions not handed over yet"),
            Reason::Queue(pipe) => write!(f, "scalar unit waits for room in {}", pipe.name()),
            Reason::Flag(pipe) => write!(f, "waits for {}", pipe.name()),
            Reason::OtherCore => f.write_str("waits for another core"),
            Reason::Barrier => f.write_str("barrier"),
            Reason::Result => f.write_str("waits for its own result"),
            Reason::End => f.write_str("nothing left to do"),
        }
    }
}

/// What a pipe did with its time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Cycles with an instruction.
    pub busy: u64,
    /// Cycles without, by reason.
    pub stalls: BTreeMap<Reason, u64>,
}

impl Usage {
    /// Counts cycles without an instruction.
    pub(super) fn stall(&mut self, reason: Reason, cycles: u64) {
        if cycles > 0 {
            *self.stalls.entry(reason).or_default() += cycles;
        }
    }

    /// Both together.
    pub fn add(&mut self, other: &Usage) {
        self.busy += other.busy;
        for (reason, cycles) in &other.stalls {
            *self.stalls.entry(*reason).or_default() += cycles;
        }
    }
}
