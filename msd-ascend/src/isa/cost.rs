//! What each instruction costs on a chip: how long it keeps its pipe, and how its bytes go through
//! GM. Owns the formulas; the numbers are the chip's, and sharing of bandwidth is [`crate::engine`]'s.

use super::memory::Space;
use super::region::{bytes, factor_bytes};
use super::{Issue, Op};
use crate::chip::Chip;

/// What an instruction costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cost {
    /// Keeps its pipe so many cycles; the result is there `tail` cycles later.
    Busy {
        /// Cycles of the pipe.
        cycles: u64,
        /// Cycles after them.
        tail: u64,
    },
    /// Moves its bytes from or to GM, at most `port` bytes per cycle, after `start` cycles of its pipe; the
    /// last byte is there `tail` cycles after it went through.
    Transfer {
        /// Bytes per cycle.
        port: u64,
        /// Cycles of the pipe before the first byte.
        start: u64,
        /// Cycles after the last.
        tail: u64,
    },
    /// Orders pipes, and takes no time of its own.
    Sync,
}

/// How an instruction's cost comes about.
#[derive(Clone, Copy)]
pub struct Rule {
    /// In words, by the names of the chip's numbers.
    pub words: &'static str,
    /// On a chip.
    pub of: fn(&Issue, &Chip) -> Cost,
}

pub(super) const READ: Rule =
    Rule { words: "its bytes at the rate GM gives, behind `dma_issue`; there `gm` later", of: read };
pub(super) const WRITE: Rule =
    Rule { words: "its bytes at the rate GM gives, behind `dma_issue`; there `gm` later", of: write };
pub(super) const STORE_NZ: Rule = Rule { words: "`mte1` + bytes / `ub_to_gm`", of: store_nz };
pub(super) const LOAD_A: Rule = Rule { words: "`mte1` + bytes / `l1_to_l0a`", of: load_a };
pub(super) const LOAD_B: Rule = Rule { words: "`mte1` + bytes / `l1_to_l0b`", of: load_b };
pub(super) const LOAD_SCALES: Rule = Rule { words: "`mte1` + bytes / `l1_to_l0b`", of: load_scales };
pub(super) const MMAD: Rule = Rule { words: "`mmad` + steps of the cube", of: mmad };
pub(super) const FIX: Rule =
    Rule { words: "`latency.l0c_out` + accumulators / `l0c_out`; to GM no faster than that, and than GM", of: fix };
pub(super) const ONE_SOURCE: Rule = Rule {
    words: "`one_source` for each `bytes` of the widest operand",
    of: |issue, chip| vector(issue, chip, *chip.vector.one_source),
};
pub(super) const TWO_SOURCES: Rule =
    Rule { words: "`two_sources` for each `bytes`", of: |issue, chip| vector(issue, chip, *chip.vector.two_sources) };
pub(super) const DIVIDE: Rule =
    Rule { words: "`divide` for each `bytes`", of: |issue, chip| vector(issue, chip, *chip.vector.divide) };
pub(super) const EXP: Rule =
    Rule { words: "`exp` for each `bytes`", of: |issue, chip| vector(issue, chip, *chip.vector.exp) };
pub(super) const CAST: Rule = Rule {
    words: "`cast` for each `bytes` of the wider type",
    of: |issue, chip| vector(issue, chip, *chip.vector.cast),
};
pub(super) const REDUCE: Rule =
    Rule { words: "`reduce` for each `bytes`", of: |issue, chip| vector(issue, chip, *chip.vector.reduce) };
pub(super) const BROADCAST: Rule = Rule { words: "`one_source` for each `bytes` written", of: broadcast };
pub(super) const SYNC: Rule = Rule { words: "none of its own", of: sync };

fn over(amount: i64, rate: u64) -> u64 {
    (amount.max(0) as u64).div_ceil(rate)
}

/// GM to the core: a cube core alone may take all that L2 gives to it and its vector cores.
fn read(issue: &Issue, chip: &Chip) -> Cost {
    let port = match issue.places[0].space {
        Space::Ub => *chip.rates.gm_to_ub,
        _ => *chip.rates.l2_read_per_core,
    };
    Cost::Transfer { port, start: *chip.latency.dma_issue, tail: *chip.latency.gm }
}

/// UB to GM. A write is through when GM has taken it.
fn write(_: &Issue, chip: &Chip) -> Cost {
    Cost::Transfer { port: *chip.rates.ub_to_gm, start: *chip.latency.dma_issue, tail: *chip.latency.gm }
}

fn store_nz(issue: &Issue, chip: &Chip) -> Cost {
    let [rows, cols, ..] = issue.ints;
    let moved = rows * bytes(cols, issue.dtype());
    Cost::Busy { cycles: *chip.latency.mte1 + over(moved, *chip.rates.ub_to_gm), tail: 0 }
}

fn load_a(issue: &Issue, chip: &Chip) -> Cost {
    let [m, k, ..] = issue.ints;
    let moved = factor_bytes(m, k, issue.dtype());
    Cost::Busy { cycles: *chip.latency.mte1 + over(moved, *chip.rates.l1_to_l0a), tail: 0 }
}

fn load_b(issue: &Issue, chip: &Chip) -> Cost {
    let [k, n, ..] = issue.ints;
    let moved = factor_bytes(n, k, issue.dtype());
    Cost::Busy { cycles: *chip.latency.mte1 + over(moved, *chip.rates.l1_to_l0b), tail: 0 }
}

fn load_scales(issue: &Issue, chip: &Chip) -> Cost {
    let [rows, blocks, ..] = issue.ints;
    Cost::Busy { cycles: *chip.latency.mte1 + over(rows * blocks, *chip.rates.l1_to_l0b), tail: 0 }
}

/// `ceil(m / m0) * ceil(k / k0) * ceil(n / n0)` steps of the cube's own shape.
fn mmad(issue: &Issue, chip: &Chip) -> Cost {
    let [m, k, n, ..] = issue.ints;
    // A product of types that the chip lacks is a finding of the verifier; here it costs the most.
    let [m0, k0, n0] = chip.multiplies(issue.dtype()).unwrap_or([1, 1, 1]);
    Cost::Busy { cycles: *chip.latency.mmad + over(m, m0) * over(k, k0) * over(n, n0), tail: 0 }
}

/// The unit that empties L0C reads so many bytes of accumulators per cycle, whatever it writes.
fn fix(issue: &Issue, chip: &Chip) -> Cost {
    let [m, n, ..] = issue.ints;
    let rate = *chip.rates.l0c_out;
    let start = *chip.latency.l0c_out;
    match issue.places[0].space {
        Space::Gm => {
            let port = (rate * u64::from(issue.to().bits()) / 32).max(1);
            Cost::Transfer { port: port.min(*chip.rates.l2_write_per_core), start, tail: *chip.latency.gm }
        }
        _ => Cost::Busy { cycles: start + over(m * n * 4, rate), tail: 0 },
    }
}

/// Cycles of a vector operation that takes `factor` cycles for each of the unit's widths. Rows are worked on
/// one after the other, unless they follow each other without a gap.
fn vector(issue: &Issue, chip: &Chip, factor: u64) -> Cost {
    let [rows, cols, ..] = issue.ints;
    let widest = issue.dtype().bits().max(issue.to().bits());
    let row = bytes(cols, if widest == issue.dtype().bits() { issue.dtype() } else { issue.to() });
    let width = *chip.vector.bytes;
    let operands = issue.op.spec().operands.iter().filter(|o| o.is_place()).count();
    let is_dense = issue.places[..operands].iter().all(|p| p.row.is_none() && p.block == 32);
    let steps = if is_dense { over(rows.saturating_mul(row), width) } else { (rows.max(0) as u64) * over(row, width) };
    // The next operation starts while this one's result is on its way.
    Cost::Busy { cycles: steps * factor, tail: *chip.latency.vector_start + *chip.latency.vector_tail }
}

/// Writes 32 bytes for each element.
fn broadcast(issue: &Issue, chip: &Chip) -> Cost {
    let [rows, ..] = issue.ints;
    let steps = over(rows * 32, *chip.vector.bytes);
    Cost::Busy { cycles: steps * *chip.vector.one_source, tail: *chip.latency.vector_start + *chip.latency.vector_tail }
}

fn sync(issue: &Issue, _: &Chip) -> Cost {
    debug_assert!(matches!(
        issue.op,
        Op::SetFlag | Op::WaitFlag | Op::Barrier | Op::BarrierAll | Op::CrossSet | Op::CrossWait
    ));
    Cost::Sync
}
