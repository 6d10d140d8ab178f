//! The blocks that tokens are cut into, for stages that make rows, pack them or multiply them. How they are cut,
//! [`crate::blocking`] says at run time.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use msd_ir::dim::Dim;

use super::frame::{Frame, Known};
use crate::blocking::{TileTokens, TokenEntry};

/// Tokens in blocks: how many, of which the first `heads` hold one more than the others, which hold `tail`.
#[derive(Clone, Copy)]
pub(crate) struct Blocks {
    pub(crate) count: Value,
    heads: Value,
    tail: Value,
    /// Parts of each block of K.
    pub(crate) k_parts: Value,
}

/// A block of tokens.
pub(crate) struct Block {
    pub(crate) index: Value,
    /// First token, and how many.
    pub(crate) token: Value,
    pub(crate) count: Value,
    pub(crate) is_head: Value,
}

impl Frame<'_> {
    /// The blocks of so many tokens.
    pub(crate) fn token_blocks(&mut self, count: &Dim, most: TileTokens) -> Blocks {
        let [count, heads, tail, k_parts] =
            [TokenEntry::Blocks, TokenEntry::Heads, TokenEntry::Tail, TokenEntry::KParts]
                .map(|entry| self.known(Known::Tokens { count: count.clone(), most, entry }));
        Blocks { count, heads, tail, k_parts }
    }

    /// One of them.
    pub(crate) fn block(&mut self, Blocks { heads, tail, .. }: Blocks, index: Value) -> Block {
        let is_head = self.b.ins().icmp(IntCC::SignedLessThan, index, heads);
        let more = self.b.ins().uextend(types::I64, is_head);
        let count = self.b.ins().iadd(tail, more);
        let before = self.b.ins().smin(index, heads);
        let token = self.b.ins().imul(index, tail);
        let token = self.b.ins().iadd(token, before);
        Block { index, token, count, is_head }
    }
}
