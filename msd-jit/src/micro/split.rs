//! Splitting rows into digits by machine code: what such a function is given and gives back. What the
//! digits are, [`crate::lower::decompose`] says, which does the same four elements at a time, does what
//! is left over of a row, and what no function is written for.
//!
//! A function takes one argument, the address of a [`Slot`] table, and goes through `COUNT` elements from
//! `X` on, a multiple of [`CHUNK`]. The one for magnitudes leaves the largest bits of `|x|` in `LARGEST`; the
//! other stores digits and leaves the sum of each in `SUMS`.

use msd_ir::dtype::DType;
use msd_ir::quant::scheme::{Family, Scheme};

/// Elements split at once.
pub(crate) const CHUNK: i64 = 16;

/// Most digits of a row.
const MAX_DIGITS: usize = 4;

/// Places in the table, of 8 bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    X,
    Count,
    /// I32, written.
    Largest,
    /// I32: ones, or zeros where no digit is kept.
    Keep,
    /// F32 that an element is multiplied with, one after the other.
    Factor(usize),
    Reciprocal,
    /// I32, least and largest.
    Limit(usize),
    /// Where the digits go.
    Digit(usize),
    /// Bytes from unit to unit, where digits are packed.
    UnitStep,
    /// I32, written.
    Sum(usize),
    /// F64 that an element is multiplied with.
    Scale,
    /// F64, of each digit.
    Unit(usize),
    /// F64, near one over the unit.
    Inverse(usize),
}

impl Slot {
    /// Where it lies.
    pub(crate) fn offset(self) -> i32 {
        let place = match self {
            Slot::X => 0,
            Slot::Count => 1,
            Slot::Largest => 2,
            Slot::Keep => 3,
            Slot::Reciprocal => 4,
            Slot::Scale => 5,
            Slot::UnitStep => 6,
            Slot::Factor(i) => 7 + i,
            Slot::Limit(i) => 9 + i,
            Slot::Digit(i) => 11 + i,
            Slot::Sum(i) => 11 + MAX_DIGITS + i,
            Slot::Unit(i) => 11 + 2 * MAX_DIGITS + i,
            Slot::Inverse(i) => 11 + 3 * MAX_DIGITS + i,
        };
        place as i32 * 8
    }

    /// Bytes of the table.
    pub(crate) const BYTES: usize = (11 + 4 * MAX_DIGITS) * 8;
}

/// How an element becomes digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Method {
    /// `rne(x * f0 * f1)`, times a reciprocal and within limits if it is no power of two, split into digits
    /// of so many bits.
    Integer { bits: u32, is_power: bool, is_unsigned: bool },
    /// In F64, each unit rounding what is left.
    Greedy,
}

/// The two times that a row is gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Largest,
    Digits,
}

impl Pass {
    /// Both, in order.
    pub(crate) const ALL: [Pass; 2] = [Pass::Largest, Pass::Digits];

    /// Its name in listings.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Pass::Largest => "largest",
            Pass::Digits => "digits",
        }
    }
}

/// How rows are split by functions to be emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Split {
    /// Of the elements: F32, BF16 or F16.
    pub(crate) source: DType,
    /// Of the digits in memory: bytes or words.
    pub(crate) stored: DType,
    /// Digits of a unit, where units lie [`Slot::UnitStep`] apart: a part of a chunk, or several chunks. All digits lie
    /// side by side otherwise.
    pub(crate) unit: Option<u64>,
    pub(crate) digits: usize,
    pub(crate) method: Method,
}

impl Split {
    /// The function for rows of a type and digits stored as another, if one is written for the scheme.
    pub(crate) fn of(scheme: Scheme, source: DType, stored: DType, unit: Option<u64>) -> Option<Split> {
        let bits = scheme.digit_dtype().bits();
        let integer = |is_power| Method::Integer { bits, is_power, is_unsigned: scheme.is_unsigned() };
        let method = match scheme.family() {
            Family::Pow2 { .. } => integer(true),
            Family::Radix { .. } => integer(false),
            Family::Greedy { .. } => Method::Greedy,
            Family::Minifloat { .. } => return None,
        };
        Some(Split { source, stored, unit, digits: scheme.weights().len(), method })
    }
}
