//! Products of floats and wide integers: the loop nest around panel tiles, and the rearrangement into
//! panels of matrices that are computed. Groups that are added up are `groups.rs`'s.

use cranelift_codegen::ir::{FuncRef, InstBuilder, Value, types};
use msd_ir::dim::Dim;

use super::frame::{Emit, Frame};
use super::lanes::Access;
use crate::schedule::View;
use crate::tile::PANEL;

impl Frame<'_> {
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
    pub(crate) fn copy_words(&mut self, source: Value, target: Value, count: Value) -> Emit<()> {
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
