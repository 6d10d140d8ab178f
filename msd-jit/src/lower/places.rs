//! Where the digits of a row go: side by side, or packed for tiles in units, blocks of tokens and blocks of K
//! ([`crate::schedule::RowLayout`]). Owns addresses; what is stored there is `decompose.rs`'s.

use cranelift_codegen::ir::{InstBuilder, Value};
use msd_ir::dtype::DType;

use super::frame::Frame;
use crate::schedule::Decompose;

/// Where the digits of a token go: the first element of the first digit in the first block of K, and bytes from digit
/// to digit.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) first: Value,
    pub(crate) digit_step: Value,
    pub(crate) units: Units,
    pub(crate) blocks: Option<KBlocks>,
}

/// Blocks of K that packed rows are in.
#[derive(Clone, Copy)]
pub(crate) struct KBlocks {
    /// Elements of each.
    pub(crate) size: Value,
    /// Elements of a row, whole units.
    pub(crate) columns: Value,
    /// Bytes that all tokens take for an element of K, and those before the first of the token's block.
    pub(crate) all: Value,
    pub(crate) before: Value,
    /// Whether each is of whole chunks.
    pub(crate) has_chunks: bool,
}

/// How the digits of a row lie: so many side by side, and bytes from those to the next.
#[derive(Clone, Copy)]
pub(crate) struct Units {
    pub(crate) depth: i64,
    pub(crate) step: Value,
}

/// Where the digits of a part of a row go.
pub(crate) struct Target {
    /// Of its first element, each digit.
    pub(crate) digits: Vec<Value>,
    pub(crate) units: Units,
    /// Bits that are kept of each digit: none of a row that is not finite.
    pub(crate) keep: Value,
}

impl Frame<'_> {
    /// Where digits go from column `first` on, which begins a unit, of what begins at `start`.
    pub(crate) fn target(
        &mut self,
        d: &Decompose,
        keep: Value,
        (start, first): (Value, Value),
        place: Place,
    ) -> Target {
        let start = self.at_column(start, first, place.units, d.digits.dtype);
        let mut digits = vec![start];
        for _ in 1..d.scheme.weights().len() {
            digits.push(self.b.ins().iadd(digits[digits.len() - 1], place.digit_step));
        }
        Target { digits, units: place.units, keep }
    }

    /// Where a column lies.
    pub(crate) fn at_column(&mut self, start: Value, column: Value, units: Units, dtype: DType) -> Value {
        let unit = self.b.ins().ushr_imm_s(column, units.depth.trailing_zeros() as i64);
        let skip = self.b.ins().imul(unit, units.step);
        let at = self.b.ins().iadd(start, skip);
        let within = self.b.ins().band_imm_s(column, units.depth - 1);
        let skip = self.b.ins().imul_imm_s(within, dtype.host_bytes() as i64);
        self.b.ins().iadd(at, skip)
    }
}
