//! Integer products of rows: the loop nest around row tiles, along K in one go or group by group.
//! What becomes of the exact sums is the business of `merge.rs`.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{FuncRef, InstBuilder, StackSlotData, StackSlotKind, Value, types};
use msd_ir::dim::Dim;

use super::frame::{Emit, Frame};
use super::lanes::Lane;
use super::merge::Sites;
use super::row::rebuild;
use crate::schedule::Dot;
use crate::tile::CHANNELS;

/// Row tiles a product calls.
pub(crate) struct RowTiles {
    /// Rows a call takes.
    pub(crate) rows: usize,
    /// Calls that do the digits of a token.
    pub(crate) calls: usize,
    /// For all channels of a unit.
    pub(crate) full: ChannelTiles,
    /// For one channel, where units may lack some.
    pub(crate) one_channel: Option<ChannelTiles>,
}

/// Row tiles of so many channels.
#[derive(Clone, Copy)]
pub(crate) struct ChannelTiles {
    /// For a set of rows.
    pub(crate) set: FuncRef,
    /// For a single row, where sets may leave one over.
    pub(crate) single: Option<FuncRef>,
    pub(crate) channels: usize,
}

/// Outer axes of the operands: those of the result, and the groups.
fn outer_axes(dot: &Dot) -> Vec<Dim> {
    let batch = &dot.out.shape[..dot.out.shape.len() - 2];
    batch.iter().cloned().chain(dot.group_count()).collect()
}

fn product_bytes(dot: &Dot) -> usize {
    if dot.is_narrow() { 4 } else { 8 }
}

/// Where one unit of a product reads, and which channels it is about.
#[derive(Clone, Copy)]
pub(crate) struct Unit {
    pub(crate) x: Value,
    /// First weight row, and the distance in bytes to the next one of the unit.
    w: Value,
    w_stride: Value,
    /// First channel, and the distance to the next one of the unit.
    pub(crate) channel: Value,
    pub(crate) channel_stride: Value,
    pub(crate) tiles: ChannelTiles,
}

/// Rows of `x` that are multiplied together: the digits of a token, or one or two rows as they are.
#[derive(Clone, Copy)]
pub(crate) struct Set {
    tile: FuncRef,
    rows: usize,
    calls: usize,
    /// Tokens it makes.
    tokens: usize,
    /// Where its sums come to lie, `[rows * calls][channels]`.
    pub(crate) scratch: Value,
}

/// One set of rows against one unit's channels.
#[derive(Clone, Copy)]
pub(crate) struct Nest<'s> {
    pub(crate) dot: &'s Dot,
    pub(crate) sites: &'s Sites,
    pub(crate) at: Unit,
    pub(crate) set: Set,
    /// Bytes from one row of the set to the next.
    set_stride: Value,
}

/// What the loops are at.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) token: Value,
    pub(crate) group: Option<Value>,
}

impl Frame<'_> {
    /// A unit is a group of channels a quarter of the matrix apart, so that each of the four
    /// streams of weights runs on unbroken from unit to unit; within a group, the batches that
    /// share its weights.
    pub(crate) fn emit_dot(&mut self, dot: &Dot, tiles: &RowTiles) -> Emit<()> {
        let batch_shape = &dot.out.shape[..dot.out.shape.len() - 2];
        let channels = self.dim(&dot.w.size_from_end(1))?;
        let scratch = self.scratch(tiles.rows * tiles.calls * CHANNELS * product_bytes(dot));
        let outer = outer_axes(dot);
        let (x, w) = (dot.x.stretched_outer(&outer), dot.w.stretched_outer(&outer));
        let batches = batch_shape.iter().try_fold(Dim::constant(1), |n, d| n.mul(d));
        let batches = self.dim(&batches.unwrap_or(Dim::constant(1)))?;
        let row_stride = self.dim(&dot.w.stride_from_end(1))?;
        let rounded = self.b.ins().iadd_imm_s(channels, CHANNELS as i64 - 1);
        let channel_stride = self.b.ins().udiv_imm_u(rounded, CHANNELS as i64);
        let w_stride = self.b.ins().imul(channel_stride, row_stride);
        let (begin, end) = (self.begin, self.end);
        self.for_range(begin, end, 1, |f, unit| {
            let channel = f.b.ins().udiv(unit, batches);
            let batch = f.b.ins().urem(unit, batches);
            let indices = f.unflatten(batch, batch_shape)?;
            let skip = f.b.ins().imul(channel, row_stride);
            let w_start = f.locate(&w, &indices)?;
            let w_start = f.b.ins().iadd(w_start, skip);
            let x_start = f.locate(&x, &indices)?;
            let at = Unit { x: x_start, w: w_start, w_stride, channel, channel_stride, tiles: tiles.full };

            let Some(one_channel) = tiles.one_channel else {
                return f.dot_rows(dot, tiles, &at, &indices, scratch);
            };
            // Channels of this unit that exist: all four but in the last units.
            let left = f.b.ins().isub(channels, channel);
            let left = f.b.ins().iadd(left, channel_stride);
            let left = f.b.ins().iadd_imm_s(left, -1);
            let count = f.b.ins().udiv(left, channel_stride);
            let is_full = f.b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, count, CHANNELS as i64);
            let is_full = f.b.ins().uextend(types::I64, is_full);
            let (zero, one) = (f.int(0), f.int(1));
            f.for_range(zero, is_full, 1, |f, _| f.dot_rows(dot, tiles, &at, &indices, scratch))?;
            let partial = f.b.ins().isub(one, is_full);
            let partial = f.b.ins().imul(partial, count);
            f.for_range(zero, partial, 1, |f, v| {
                let skip = f.b.ins().imul(v, w_stride);
                let w = f.b.ins().iadd(at.w, skip);
                let skip = f.b.ins().imul(v, channel_stride);
                let channel = f.b.ins().iadd(at.channel, skip);
                f.dot_rows(dot, tiles, &Unit { w, channel, tiles: one_channel, ..at }, &indices, scratch)
            })
        })
    }

    /// All rows of `x` against one unit's channels.
    fn dot_rows(&mut self, dot: &Dot, tiles: &RowTiles, at: &Unit, batch: &[Value], scratch: Value) -> Emit<()> {
        let sites = self.merge_sites(dot, at, batch)?;
        let tokens = self.dim(&dot.out.size_from_end(1))?;
        let row_bytes = self.dim(&dot.x.stride_from_end(1))?;
        let row_bytes = self.b.ins().imul_imm_s(row_bytes, dot.form.x_bytes());
        // Digit rows of a token lie a whole stack apart; plain rows are neighbours.
        let set_stride = if dot.digits() > 1 { self.b.ins().imul(row_bytes, tokens) } else { row_bytes };
        let per_set = tiles.rows * tiles.calls / dot.digits();
        let main = self.round_down(tokens, per_set as i64);
        let full = Set { tile: at.tiles.set, rows: tiles.rows, calls: tiles.calls, tokens: per_set, scratch };
        let zero = self.int(0);
        let mut passes = vec![(zero, main, full)];
        if let Some(tile) = at.tiles.single {
            passes.push((main, tokens, Set { tile, rows: 1, calls: 1, tokens: 1, scratch }));
        }
        for (from, to, set) in passes {
            self.for_range(from, to, set.tokens as i64, |f, token| {
                let skip = f.b.ins().imul(token, row_bytes);
                let x = f.b.ins().iadd(at.x, skip);
                let nest = Nest { dot, sites: &sites, at: Unit { x, ..*at }, set, set_stride };
                let lanes = match dot.group_count() {
                    Some(groups) => f.over_groups(&nest, token, &groups)?,
                    None => {
                        let place = Place { token, group: None };
                        f.products(&nest, place)?;
                        (0..set.tokens).map(|i| f.merged(&nest, place, i)).collect::<Emit<_>>()?
                    }
                };
                for (i, lane) in lanes.into_iter().enumerate() {
                    let target = f.site_address(&sites.out, Place { token, group: None }, i, 0);
                    f.store_lane(lane, dot.out.dtype, target, sites.out.access);
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The sum over groups of merged products times scales, groups ascending, for each token of a set.
    fn over_groups(&mut self, nest: &Nest<'_>, token: Value, groups: &Dim) -> Emit<Vec<Lane>> {
        let dot = nest.dot;
        let x_step = self.dim(&dot.x.stretched_outer(&outer_axes(dot)).stride_from_end(2))?;
        let x_step = self.b.ins().imul_imm_s(x_step, dot.form.x_bytes());
        let w_step = self.dim(&dot.w.stretched_outer(&outer_axes(dot)).stride_from_end(2))?;
        let (zero, count) = (self.int(0), self.dim(groups)?);
        let start = self.zero_lane(dot.out.dtype);
        let parts = start.parts();
        let starts: Vec<Value> = (0..nest.set.tokens).flat_map(|_| parts.clone()).collect();
        let sums = self.for_carry(zero, count, 1, &starts, |f, group, sums| {
            let (x_skip, w_skip) = (f.b.ins().imul(group, x_step), f.b.ins().imul(group, w_step));
            let (x, w) = (f.b.ins().iadd(nest.at.x, x_skip), f.b.ins().iadd(nest.at.w, w_skip));
            let here = Nest { at: Unit { x, w, ..nest.at }, ..*nest };
            let place = Place { token, group: Some(group) };
            f.products(&here, place)?;
            let mut next = Vec::new();
            for (i, sum) in sums.chunks(parts.len()).enumerate() {
                next.extend(f.add_group(&here, place, i, rebuild(start, sum))?.parts());
            }
            Ok(next)
        })?;
        Ok(sums.chunks(parts.len()).map(|sum| rebuild(start, sum)).collect())
    }

    /// Products of a set of rows with the unit's channels, exact, into the set's scratch memory.
    fn products(&mut self, nest: &Nest<'_>, place: Place) -> Emit<()> {
        let Nest { dot, at, set, .. } = nest;
        if !dot.is_narrow() {
            self.start_sums(nest, place);
        }
        let call_rows = (set.rows * at.tiles.channels * product_bytes(dot)) as i64;
        let skip = self.b.ins().imul_imm_s(nest.set_stride, set.rows as i64);
        let (mut x, mut c) = (at.x, set.scratch);
        for call in 0..set.calls {
            if call > 0 {
                x = self.b.ins().iadd(x, skip);
                c = self.b.ins().iadd_imm_s(c, call_rows);
            }
            self.call_over_k(nest, x, c)?;
        }
        Ok(())
    }

    /// What wide sums start from: nothing, or what products with `w + 128` are too large by.
    fn start_sums(&mut self, nest: &Nest<'_>, place: Place) {
        let Nest { dot, sites, at, set, .. } = nest;
        let digits = dot.digits();
        for row in 0..set.rows * set.calls {
            let start = match &sites.sums {
                Some(site) => {
                    let address = self.site_address(site, place, row / digits, row % digits);
                    let sum = self.b.ins().load(types::I64, Frame::flags(), address, 0);
                    self.b.ins().imul_imm_s(sum, -128)
                }
                None => self.int(0),
            };
            for v in 0..at.tiles.channels {
                self.b.ins().store(Frame::flags(), start, set.scratch, ((row * at.tiles.channels + v) * 8) as i32);
            }
        }
    }

    /// Calls a row tile once per block of `k` that its I32 lanes hold.
    fn call_over_k(&mut self, nest: &Nest<'_>, x: Value, c: Value) -> Emit<()> {
        let (size, most) = (nest.dot.x.size_from_end(0), nest.dot.form.max_k());
        let (tile, Unit { w, w_stride, .. }) = (nest.set.tile, nest.at);
        let k = self.dim(&size)?;
        if size.as_constant().is_some_and(|k| k <= most) {
            self.b.ins().call(tile, &[w, w_stride, x, nest.set_stride, k, c]);
            return Ok(());
        }
        let zero = self.int(0);
        self.for_range(zero, k, most as i64, |f, from| {
            let left = f.b.ins().isub(k, from);
            let most = f.int(most as i64);
            let block = f.b.ins().smin(left, most);
            let skip = f.b.ins().imul_imm_s(from, nest.dot.form.x_bytes());
            let (w, x) = (f.b.ins().iadd(w, from), f.b.ins().iadd(x, skip));
            f.b.ins().call(tile, &[w, w_stride, x, nest.set_stride, block, c]);
            Ok(())
        })
    }

    /// Stack memory of this function.
    pub(crate) fn scratch(&mut self, bytes: usize) -> Value {
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes as u32, 4);
        let slot = self.b.create_sized_stack_slot(slot);
        self.b.ins().stack_addr(types::I64, slot, 0)
    }
}
