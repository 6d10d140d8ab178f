//! The text form of programs: [`parse`] assembles, [`print()`] disassembles, and what one writes the other reads. Owns
//! spelling and layout; instructions are spelled as their row of [`crate::isa`] says.
//!
//! ```text
//! program gemm
//! param K = 1536
//! tensor A: f16[128 * K] activation
//! blocks 24
//! cube {
//!     for k in 0..K step 256 {
//!         nd2nz.f16 L1[k / 256 % 2 * 65536], A[k], rows=128, cols=256, ld=K  // X
//!         set_flag MTE2, MTE1, 0
//!     }
//! }
//! ```
//! An operand in GM is a tensor with an offset in elements, one on chip a memory with an offset in bytes. `row N` and
//! `block N` behind an offset are the bytes from row to row and from 32 bytes of a row to the next.

mod lexer;
mod operands;
mod parser;
mod printer;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;

pub(crate) use operands::{form, unsaid};
pub use parser::parse;
pub(crate) use printer::instruction_text;
pub use printer::print;
