//! What a row of the table says of an operand.

use super::memory::Space;

/// Highest flag or counter that an instruction can name; a chip may have fewer.
pub const MAX_ID: i64 = 63;

/// What an operand is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// In one of these memories.
    Place {
        /// The memories.
        spaces: &'static [Space],
        /// Whether it is read.
        reads: bool,
        /// Whether it is written.
        writes: bool,
    },
    /// An integer from the first to the second; the third if it is not said.
    Int(i64, i64, Option<i64>),
    /// A flag or a counter, told by its place: at most [`MAX_ID`].
    Id,
    /// A number, with its value if it is not said.
    Float(f32),
    /// A pipe.
    Pipe,
    /// One of these words, the first if it is not said.
    Word(&'static [&'static str]),
}

/// An operand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Operand {
    /// Its name; those not in memory are written `name=value`, pipes by name alone.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
}

impl Operand {
    /// Whether it lies in memory.
    pub fn is_place(&self) -> bool {
        matches!(self.kind, Kind::Place { .. })
    }
}

pub(super) const fn read(name: &'static str, spaces: &'static [Space]) -> Operand {
    Operand { name, kind: Kind::Place { spaces, reads: true, writes: false } }
}

pub(super) const fn write(name: &'static str, spaces: &'static [Space]) -> Operand {
    Operand { name, kind: Kind::Place { spaces, reads: false, writes: true } }
}

pub(super) const fn update(name: &'static str, spaces: &'static [Space]) -> Operand {
    Operand { name, kind: Kind::Place { spaces, reads: true, writes: true } }
}

pub(super) const fn int(name: &'static str, low: i64, high: i64) -> Operand {
    Operand { name, kind: Kind::Int(low, high, None) }
}

/// An integer that may stay unsaid.
pub(super) const fn default(name: &'static str, value: i64) -> Operand {
    Operand { name, kind: Kind::Int(0, i32::MAX as i64, Some(value)) }
}

/// 0 if it is not said, or 1.
pub(super) const fn flag(name: &'static str) -> Operand {
    Operand { name, kind: Kind::Int(0, 1, Some(0)) }
}

pub(super) const fn float(name: &'static str, value: f32) -> Operand {
    Operand { name, kind: Kind::Float(value) }
}

pub(super) const fn id(name: &'static str) -> Operand {
    Operand { name, kind: Kind::Id }
}

pub(super) const fn pipe(name: &'static str) -> Operand {
    Operand { name, kind: Kind::Pipe }
}

pub(super) const fn word(name: &'static str, words: &'static [&'static str]) -> Operand {
    Operand { name, kind: Kind::Word(words) }
}
