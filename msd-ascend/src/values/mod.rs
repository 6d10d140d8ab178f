//! Values: what each instruction does to memory. Owns the bytes of GM and of each core, and the arithmetic
//! of instructions; the order in which they execute is [`crate::engine`]'s, and that they stay within
//! their memories is checked before ([`crate::check`]).
//!
//! `interpreter.rs` runs a whole program. A file per kind of instruction: `movement.rs` between memories,
//! `product.rs` the cube, `vector.rs` the vector unit, elements one by one, `rows.rs` what mixes or casts those of a
//! row. `element.rs`: bytes as numbers and back.

mod element;
mod interpreter;
pub(crate) mod movement;
pub(crate) mod product;
mod rows;
pub(crate) mod vector;

#[cfg(test)]
mod tests;

use crate::chip::Layout;
use crate::isa::Issue;
use crate::isa::memory::{Place, Space};
pub use interpreter::run;

/// Why an instruction has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A sum leaves its type, which no check of addresses can see.
    Range(String),
    /// The checks before let something through that they should not have.
    Unchecked(String),
}

impl From<String> for Fault {
    fn from(what: String) -> Fault {
        Fault::Unchecked(what)
    }
}

/// Executes an instruction: operands are within their memories, aligned, and of types that the chip has.
///
/// # Errors
/// See [`Fault`].
pub type Run = fn(&Issue, &mut View<'_>) -> Result<(), Fault>;

/// What orders pipes changes no value.
pub(crate) fn nothing(_: &Issue, _: &mut View<'_>) -> Result<(), Fault> {
    Ok(())
}

/// Memories of one core, by [`Space`]; GM's is empty.
#[derive(Clone, Debug, Default)]
pub struct Local {
    memories: [Vec<u8>; Space::ALL.len()],
}

impl Local {
    /// Memories of these sizes, zeroed.
    pub(crate) fn new(sizes: impl Fn(Space) -> usize) -> Local {
        Local { memories: Space::ALL.map(|space| vec![0; sizes(space)]) }
    }
}

/// What an instruction sees: memories of its core, and GM.
pub struct View<'a> {
    /// Memories of the core.
    pub local: &'a mut Local,
    /// Bytes of each tensor in GM; 4-bit elements two to a byte, low half first.
    pub gm: &'a mut [Vec<u8>],
    /// How L0A holds its operand.
    pub l0a: Layout,
}

impl View<'_> {
    /// All bytes of the memory that an operand lies in.
    pub(crate) fn bytes(&self, place: &Place) -> &[u8] {
        match place.space {
            Space::Gm => &self.gm[usize::from(place.tensor)],
            space => &self.local.memories[space as usize],
        }
    }

    /// The same, to be written.
    pub(crate) fn bytes_mut(&mut self, place: &Place) -> &mut [u8] {
        match place.space {
            Space::Gm => &mut self.gm[usize::from(place.tensor)],
            space => &mut self.local.memories[space as usize],
        }
    }
}
