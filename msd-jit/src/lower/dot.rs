//! The loop nests around tiles: integer products of rows with their digits merged, and float
//! products against panels.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{FuncRef, InstBuilder, StackSlotData, StackSlotKind, Value, types};
use msd_ir::dim::Dim;

use super::frame::{Emit, Frame};
use super::lanes::Access;
use crate::schedule::View;
use crate::tile::{CHANNELS, MAX_K, PANEL};

/// Row tiles a product calls: all channels or one, all rows of a set or one.
pub(crate) struct RowTiles {
    pub(crate) full: FuncRef,
    pub(crate) one_channel: FuncRef,
    /// Rows the tiles above take.
    pub(crate) rows: usize,
    /// Tiles of a single row, where sets of rows may leave one over.
    pub(crate) single: Option<[FuncRef; 2]>,
}

/// Where one unit of a product reads and writes.
#[derive(Clone, Copy)]
struct Unit {
    x: Value,
    /// First weight row, and the distance in bytes to the next one of the unit.
    w: Value,
    w_stride: Value,
    /// First channel of the output, and the distance in elements to the next one of the unit.
    out: Value,
    channel: Value,
    channel_stride: Value,
}

/// Operands of an integer product.
pub(crate) struct DotArgs<'s> {
    pub(crate) x: &'s View,
    pub(crate) w: &'s View,
    /// Sums of the rows of `x`, I64 `[.., R, 1]`, for offset weights.
    pub(crate) sums: Option<&'s View>,
    pub(crate) weights: Option<&'static [i64]>,
    pub(crate) out: &'s View,
}

impl Frame<'_> {
    /// A unit is a group of channels a quarter of the matrix apart, so that each of the four
    /// streams of weights runs on unbroken from unit to unit; within a group, the batches that
    /// share its weights.
    pub(crate) fn emit_dot(&mut self, args: &DotArgs<'_>, tiles: &RowTiles) -> Emit<()> {
        let batch_shape = &args.out.shape[..args.out.shape.len() - 2];
        let channels = self.dim(&args.w.size_from_end(1))?;
        let tokens = self.dim(&args.out.size_from_end(1))?;
        let scratch = self.scratch(tiles.rows * CHANNELS * 8);
        let (x, w) = (args.x.stretched_outer(batch_shape), args.w.stretched_outer(batch_shape));
        let sums = args.sums.map(|s| s.stretched_outer(batch_shape));
        let batches = batch_shape.iter().try_fold(Dim::constant(1), |n, d| n.mul(d));
        let batches = self.dim(&batches.unwrap_or(Dim::constant(1)))?;
        let row_stride = self.dim(&args.w.stride_from_end(1))?;
        let rounded = self.b.ins().iadd_imm_s(channels, CHANNELS as i64 - 1);
        let channel_stride = self.b.ins().udiv_imm_u(rounded, CHANNELS as i64);
        let w_stride = self.b.ins().imul(channel_stride, row_stride);
        let (begin, end) = (self.begin, self.end);
        self.for_range(begin, end, 1, |f, unit| {
            let channel = f.b.ins().udiv(unit, batches);
            let batch = f.b.ins().urem(unit, batches);
            let indices = f.unflatten(batch, batch_shape)?;
            let skip = f.b.ins().imul(channel, row_stride);
            let w = f.locate(&w, &indices)?;
            let w = f.b.ins().iadd(w, skip);
            let (x, out) = (f.locate(&x, &indices)?, f.locate(args.out, &indices)?);
            let at = Unit { x, w, w_stride, out, channel, channel_stride };
            let sums = sums.as_ref().map(|s| f.locate(s, &indices)).transpose()?;

            // Channels of this unit that exist: all four but in the last units.
            let left = f.b.ins().isub(channels, channel);
            let left = f.b.ins().iadd(left, channel_stride);
            let left = f.b.ins().iadd_imm_s(left, -1);
            let count = f.b.ins().udiv(left, channel_stride);
            let is_full = f.b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, count, CHANNELS as i64);
            let is_full = f.b.ins().uextend(types::I64, is_full);
            let (zero, one) = (f.int(0), f.int(1));
            f.for_range(zero, is_full, 1, |f, _| f.dot_rows(args, tiles, &at, sums, tokens, scratch, CHANNELS))?;
            let partial = f.b.ins().isub(one, is_full);
            let partial = f.b.ins().imul(partial, count);
            f.for_range(zero, partial, 1, |f, v| {
                let skip = f.b.ins().imul(v, w_stride);
                let w = f.b.ins().iadd(at.w, skip);
                let skip = f.b.ins().imul(v, channel_stride);
                let channel = f.b.ins().iadd(at.channel, skip);
                f.dot_rows(args, tiles, &Unit { w, channel, ..at }, sums, tokens, scratch, 1)
            })
        })
    }

    /// All rows of `x` against one group of channels.
    #[allow(clippy::too_many_arguments, reason = "the loop nest's state; a struct would only rename it")]
    fn dot_rows(
        &mut self,
        args: &DotArgs<'_>,
        tiles: &RowTiles,
        at: &Unit,
        sums: Option<Value>,
        tokens: Value,
        scratch: Value,
        channels: usize,
    ) -> Emit<()> {
        let digits = args.weights.map_or(1, <[i64]>::len) as i64;
        let row_stride = self.dim(&args.x.stride_from_end(1))?;
        // Digit rows of a token lie a whole stack apart; plain rows are neighbours.
        let set_stride = if digits > 1 { self.b.ins().imul(row_stride, tokens) } else { row_stride };
        let sum_stride = if digits > 1 { tokens } else { self.int(1) };
        let tokens_per_set = if digits > 1 { 1 } else { tiles.rows as i64 };
        let pick = |pair: [FuncRef; 2]| if channels == 1 { pair[1] } else { pair[0] };
        let main = self.round_down(tokens, tokens_per_set);
        let zero = self.int(0);
        let mut passes = vec![(zero, main, tokens_per_set, tiles.rows, pick([tiles.full, tiles.one_channel]))];
        if let Some(single) = tiles.single {
            passes.push((main, tokens, 1, 1, pick(single)));
        }
        for (from, to, step, rows, tile) in passes {
            self.for_range(from, to, step, |f, token| {
                for row in 0..rows {
                    let start = match sums {
                        Some(sums) => {
                            let index = f.b.ins().imul_imm_s(sum_stride, row as i64);
                            let index = f.b.ins().iadd(index, token);
                            let offset = f.b.ins().imul_imm_s(index, 8);
                            let address = f.b.ins().iadd(sums, offset);
                            let sum = f.b.ins().load(types::I64, Frame::flags(), address, 0);
                            f.b.ins().imul_imm_s(sum, -128)
                        }
                        None => f.int(0),
                    };
                    for v in 0..channels {
                        f.b.ins().store(Frame::flags(), start, scratch, ((row * channels + v) * 8) as i32);
                    }
                }
                let skip = f.b.ins().imul(token, row_stride);
                let x = f.b.ins().iadd(at.x, skip);
                f.call_over_k(args, tile, at, x, set_stride, scratch)?;
                f.store_products(args, at, token, rows, channels, scratch)
            })?;
        }
        Ok(())
    }

    /// Calls a row tile once per block of `k` that its I32 lanes hold.
    fn call_over_k(
        &mut self,
        args: &DotArgs<'_>,
        tile: FuncRef,
        at: &Unit,
        x: Value,
        x_stride: Value,
        c: Value,
    ) -> Emit<()> {
        let k = self.dim(&args.x.size_from_end(0))?;
        let (w, w_stride) = (at.w, at.w_stride);
        if args.x.size_from_end(0).as_constant().is_some_and(|k| k <= MAX_K) {
            self.b.ins().call(tile, &[w, w_stride, x, x_stride, k, c]);
            return Ok(());
        }
        let zero = self.int(0);
        self.for_range(zero, k, MAX_K as i64, |f, from| {
            let left = f.b.ins().isub(k, from);
            let most = f.int(MAX_K as i64);
            let block = f.b.ins().smin(left, most);
            let (w, x) = (f.b.ins().iadd(w, from), f.b.ins().iadd(x, from));
            f.b.ins().call(tile, &[w, w_stride, x, x_stride, block, c]);
            Ok(())
        })
    }

    /// Merges the digits of each token and rounds once, or stores exact products.
    fn store_products(
        &mut self,
        args: &DotArgs<'_>,
        at: &Unit,
        token: Value,
        rows: usize,
        channels: usize,
        c: Value,
    ) -> Emit<()> {
        let digits = args.weights.map_or(1, <[i64]>::len);
        let row_stride = self.dim(&args.out.stride_from_end(1))?;
        let bytes = args.out.dtype.host_bytes() as i64;
        for set in 0..rows / digits {
            let row = self.b.ins().iadd_imm_s(token, set as i64);
            let elements = self.b.ins().imul(row, row_stride);
            let elements = self.b.ins().iadd(elements, at.channel);
            let offset = self.b.ins().imul_imm_s(elements, bytes);
            let mut target = self.b.ins().iadd(at.out, offset);
            let step = self.b.ins().imul_imm_s(at.channel_stride, bytes);
            for v in 0..channels {
                if v > 0 {
                    target = self.b.ins().iadd(target, step);
                }
                let load = |f: &mut Self, digit: usize| {
                    let offset = ((set * digits + digit) * channels + v) * 8;
                    f.b.ins().load(types::I64, Frame::flags(), c, offset as i32)
                };
                match args.weights {
                    Some(weights) => {
                        let mut sum = self.int(0);
                        for (digit, weight) in weights.iter().enumerate() {
                            let product = load(self, digit);
                            let term = self.b.ins().imul_imm_s(product, *weight);
                            sum = self.b.ins().iadd(sum, term);
                        }
                        let rounded = self.b.ins().fcvt_from_sint(types::F32, sum);
                        self.b.ins().store(Frame::flags(), rounded, target, 0);
                    }
                    None => {
                        let product = load(self, 0);
                        self.b.ins().store(Frame::flags(), product, target, 0);
                    }
                }
            }
        }
        Ok(())
    }

    /// Stack memory of this function.
    fn scratch(&mut self, bytes: usize) -> Value {
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes as u32, 4);
        let slot = self.b.create_sized_stack_slot(slot);
        self.b.ins().stack_addr(types::I64, slot, 0)
    }

    /// Units are panels, and within a panel the batches that share it. `tiles` take two rows and one.
    pub(crate) fn emit_matmul(&mut self, a: &View, panels: &View, out: &View, tiles: [FuncRef; 2]) -> Emit<()> {
        let batch_shape = &out.shape[..out.shape.len() - 2];
        let (a_outer, panels_outer) = (a.stretched_outer(batch_shape), panels.stretched_panels(batch_shape));
        let batches = batch_shape.iter().try_fold(Dim::constant(1), |n, d| n.mul(d));
        let batches = self.dim(&batches.unwrap_or(Dim::constant(1)))?;
        let rows = self.dim(&out.size_from_end(1))?;
        let columns = self.dim(&out.size_from_end(0))?;
        let k = self.dim(&a.size_from_end(0))?;
        let a_stride = self.dim(&a.stride_from_end(1))?;
        let bytes = out.dtype.host_bytes() as i64;
        let a_stride = self.b.ins().imul_imm_s(a_stride, bytes);
        let panel_step = self.dim(&panels.stride_from_end(2))?;
        let panel_step = self.b.ins().imul_imm_s(panel_step, panels.dtype.host_bytes() as i64);
        let scratch = self.scratch(2 * PANEL * bytes as usize);
        let (begin, end) = (self.begin, self.end);
        self.for_range(begin, end, 1, |f, unit| {
            let panel = f.b.ins().udiv(unit, batches);
            let batch = f.b.ins().urem(unit, batches);
            let indices = f.unflatten(batch, batch_shape)?;
            let (a, out_base) = (f.locate(&a_outer, &indices)?, f.locate(out, &indices)?);
            let w = f.locate(&panels_outer, &indices)?;
            let skip = f.b.ins().imul(panel, panel_step);
            let w = f.b.ins().iadd(w, skip);
            let first = f.b.ins().imul_imm_s(panel, PANEL as i64);
            let left = f.b.ins().isub(columns, first);
            let full = f.int(PANEL as i64);
            let width = f.b.ins().smin(left, full);
            let main = f.round_down(rows, 2);
            let zero = f.int(0);
            for (from, to, step, tile) in [(zero, main, 2, tiles[0]), (main, rows, 1, tiles[1])] {
                f.for_range(from, to, step, |f, row| {
                    let skip = f.b.ins().imul(row, a_stride);
                    let a = f.b.ins().iadd(a, skip);
                    let c_stride = f.int(PANEL as i64 * bytes);
                    f.b.ins().call(tile, &[w, a, a_stride, k, scratch, c_stride]);
                    for r in 0..step {
                        let row = f.b.ins().iadd_imm_s(row, r);
                        let elements = f.b.ins().imul(row, columns);
                        let elements = f.b.ins().iadd(elements, first);
                        let offset = f.b.ins().imul_imm_s(elements, bytes);
                        let target = f.b.ins().iadd(out_base, offset);
                        let source = f.b.ins().iadd_imm_s(scratch, r * PANEL as i64 * bytes);
                        let words = f.b.ins().imul_imm_s(width, bytes / 4);
                        f.copy_words(source, target, words)?;
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })
    }

    /// Copies `count` 4-byte elements.
    fn copy_words(&mut self, source: Value, target: Value, count: Value) -> Emit<()> {
        let zero = self.int(0);
        let main = self.round_down(count, 4);
        for (from, to, step, kind) in [(zero, main, 4, types::I32X4), (main, count, 1, types::I32)] {
            self.for_range(from, to, step, |f, i| {
                let offset = f.b.ins().imul_imm_s(i, 4);
                let (from, to) = (f.b.ins().iadd(source, offset), f.b.ins().iadd(target, offset));
                let value = f.b.ins().load(kind, Frame::flags(), from, 0);
                f.b.ins().store(Frame::flags(), value, to, 0);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Rearranges `b [.., K, N]` into panels, zeros past the last column. Units are panels.
    pub(crate) fn emit_panels(&mut self, b: &View, out: &View) -> Emit<()> {
        let batch_shape = &b.shape[..b.shape.len() - 2];
        let panels = self.dim(&out.size_from_end(2))?;
        let columns = self.dim(&b.size_from_end(0))?;
        let depth = self.dim(&b.size_from_end(1))?;
        let bytes = b.dtype.host_bytes() as i64;
        let k_step = self.dim(&b.stride_from_end(1))?;
        let n_step = self.dim(&b.stride_from_end(0))?;
        let panel_step = self.dim(&out.stride_from_end(2))?;
        let (begin, end) = (self.begin, self.end);
        self.for_range(begin, end, 1, |f, unit| {
            let batch = f.b.ins().udiv(unit, panels);
            let panel = f.b.ins().urem(unit, panels);
            let indices = f.unflatten(batch, batch_shape)?;
            let source = f.locate(b, &indices)?;
            let target = f.locate(out, &indices)?;
            let skip = f.b.ins().imul(panel, panel_step);
            let skip = f.b.ins().imul_imm_s(skip, bytes);
            let target = f.b.ins().iadd(target, skip);
            let first = f.b.ins().imul_imm_s(panel, PANEL as i64);
            let left = f.b.ins().isub(columns, first);
            let zero = f.int(0);
            f.for_range(zero, depth, 1, |f, k| {
                let row = f.b.ins().imul(k, k_step);
                let out_row = f.b.ins().imul_imm_s(k, PANEL as i64);
                let full = f.int(PANEL as i64);
                let width = f.b.ins().smin(left, full);
                let place = |f: &mut Self, j: Value| {
                    let element = f.b.ins().iadd(out_row, j);
                    let offset = f.b.ins().imul_imm_s(element, bytes);
                    f.b.ins().iadd(target, offset)
                };
                f.for_range(zero, width, 1, |f, j| {
                    let column = f.b.ins().iadd(first, j);
                    let element = f.b.ins().imul(column, n_step);
                    let element = f.b.ins().iadd(element, row);
                    let offset = f.b.ins().imul_imm_s(element, bytes);
                    let at = f.b.ins().iadd(source, offset);
                    let lane = f.load_lane(b.dtype, at, Access::One);
                    let to = place(f, j);
                    f.store_lane(lane, b.dtype, to, Access::One);
                    Ok(())
                })?;
                f.for_range(width, full, 1, |f, j| {
                    let zero = f.zero_lane(b.dtype);
                    let to = place(f, j);
                    f.store_lane(zero, b.dtype, to, Access::One);
                    Ok(())
                })
            })
        })
    }
}
