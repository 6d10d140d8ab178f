//! Operands that a kernel computes, or is given in parts, rearranged into panels; see
//! [`crate::schedule::Layout`]. Parameters are packed by [`crate::pack`] in the same way.

use cranelift_codegen::ir::{InstBuilder, Value, types};

use super::frame::{Emit, Frame};
use super::lanes::Access;
use crate::schedule::{Layout, View};
use crate::tile::{PANEL, QUAD};

/// A panel in the making: its part of `source [.., K, N]`.
struct Panel<'v> {
    source: &'v View,
    out: &'v View,
    /// Of the first channel.
    from: Value,
    k_step: Value,
    n_step: Value,
    /// Channels it has.
    width: Value,
    depth: Value,
    to: Value,
}

impl Frame<'_> {
    /// Units are panels.
    pub(crate) fn emit_pack(&mut self, source: &View, layout: &Layout, out: &View) -> Emit<()> {
        let batch_shape = &source.shape[..source.shape.len() - 2];
        let (channels, depth) = (self.dim(&source.size_from_end(0))?, self.dim(&source.size_from_end(1))?);
        let bytes = source.dtype.host_bytes() as i64;
        let rounded = self.b.ins().iadd_imm_s(channels, PANEL as i64 - 1);
        let panels = self.b.ins().udiv_imm_u(rounded, PANEL as i64);
        let (begin, end) = (self.begin, self.end);
        self.for_range(begin, end, 1, |f, unit| {
            let batch = f.b.ins().udiv(unit, panels);
            let number = f.b.ins().urem(unit, panels);
            let indices = f.unflatten(batch, batch_shape)?;
            let first = f.b.ins().imul_imm_s(number, PANEL as i64);
            let steps = [1, 0].map(|axis| source.stride_from_end(axis));
            let [k_step, n_step] = [f.dim(&steps[0])?, f.dim(&steps[1])?].map(|s| f.b.ins().imul_imm_s(s, bytes));
            let skip = f.b.ins().imul(first, n_step);
            let from = f.locate(source, &indices)?;
            let from = f.b.ins().iadd(from, skip);
            let left = f.b.ins().isub(channels, first);
            let full = f.int(PANEL as i64);
            let width = f.b.ins().smin(left, full);
            let step = f.dim(&out.stride_from_end(1))?;
            let skip = f.b.ins().imul(number, step);
            let skip = f.b.ins().imul_imm_s(skip, out.dtype.host_bytes() as i64);
            let to = f.locate(out, &indices)?;
            let to = f.b.ins().iadd(to, skip);
            let panel = Panel { source, out, from, k_step, n_step, width, depth, to };
            match layout {
                Layout::Columns { .. } => f.pack_columns(&panel),
                Layout::Quads { flip, group, .. } => f.pack_quads(&panel, *flip, *group),
            }
        })
    }

    fn pack_columns(&mut self, panel: &Panel<'_>) -> Emit<()> {
        let dtype = panel.out.dtype;
        let (zero, full) = (self.int(0), self.int(PANEL as i64));
        self.for_range(zero, panel.depth, 1, |f, k| {
            let skip = f.b.ins().imul(k, panel.k_step);
            let row = f.b.ins().iadd(panel.from, skip);
            let skip = f.b.ins().imul_imm_s(k, (PANEL * dtype.host_bytes()) as i64);
            let to = f.b.ins().iadd(panel.to, skip);
            let place = |f: &mut Self, j: Value| {
                let offset = f.b.ins().imul_imm_s(j, dtype.host_bytes() as i64);
                f.b.ins().iadd(to, offset)
            };
            f.for_range(zero, panel.width, 1, |f, j| {
                let skip = f.b.ins().imul(j, panel.n_step);
                let at = f.b.ins().iadd(row, skip);
                let lane = f.load_lane(panel.source.dtype, at, Access::One);
                let lane = f.as_class(lane, dtype);
                let to = place(f, j);
                f.store_lane(lane, dtype, to, Access::One);
                Ok(())
            })?;
            f.for_range(panel.width, full, 1, |f, j| {
                let (none, to) = (f.zero_lane(dtype), place(f, j));
                f.store_lane(none, dtype, to, Access::One);
                Ok(())
            })
        })
    }

    /// Bytes, four neighbours along K at a time where they are neighbours in memory.
    fn pack_quads(&mut self, panel: &Panel<'_>, flip: bool, group: Option<u64>) -> Emit<()> {
        let (size, count) = match group {
            Some(size) => (self.int(size as i64), self.b.ins().udiv_imm_u(panel.depth, size as i64)),
            None => (panel.depth, self.int(1)),
        };
        let rounded = self.b.ins().iadd_imm_s(size, QUAD as i64 - 1);
        let units = self.b.ins().udiv_imm_u(rounded, QUAD as i64);
        let group_bytes = self.b.ins().imul_imm_s(units, (PANEL * QUAD) as i64);
        let bytes = self.b.ins().imul(group_bytes, count);
        let zero = self.int(0);
        let none = self.splat_i32(0);
        self.for_range(zero, bytes, 16, |f, offset| {
            let at = f.b.ins().iadd(panel.to, offset);
            f.b.ins().store(Frame::flags(), none, at, 0);
            Ok(())
        })?;
        let is_row = panel.source.stride_from_end(1).is_one();
        let sign = if flip { 0x80 } else { 0 };
        self.for_range(zero, count, 1, |f, index| {
            let skip = f.b.ins().imul(index, size);
            let skip = f.b.ins().imul(skip, panel.k_step);
            let from = f.b.ins().iadd(panel.from, skip);
            let skip = f.b.ins().imul(index, group_bytes);
            let to = f.b.ins().iadd(panel.to, skip);
            f.for_range(zero, panel.width, 1, |f, j| {
                let skip = f.b.ins().imul(j, panel.n_step);
                let from = f.b.ins().iadd(from, skip);
                let skip = f.b.ins().imul_imm_s(j, QUAD as i64);
                let to = f.b.ins().iadd(to, skip);
                let main = if is_row { f.round_down(size, QUAD as i64) } else { zero };
                f.for_range(zero, main, QUAD as i64, |f, k| {
                    let at = f.b.ins().iadd(from, k);
                    let four = f.b.ins().load(types::I32, Frame::flags(), at, 0);
                    let four = f.b.ins().bxor_imm_u(four, sign * 0x0101_0101);
                    let skip = f.b.ins().imul_imm_s(k, PANEL as i64);
                    let to = f.b.ins().iadd(to, skip);
                    f.b.ins().store(Frame::flags(), four, to, 0);
                    Ok(())
                })?;
                f.for_range(main, size, 1, |f, k| {
                    let skip = f.b.ins().imul(k, panel.k_step);
                    let at = f.b.ins().iadd(from, skip);
                    let code = f.b.ins().uload8(types::I32, Frame::flags(), at, 0);
                    let code = f.b.ins().bxor_imm_u(code, sign);
                    let unit = f.b.ins().band_imm_s(k, -(QUAD as i64));
                    let skip = f.b.ins().imul_imm_s(unit, PANEL as i64);
                    let within = f.b.ins().isub(k, unit);
                    let skip = f.b.ins().iadd(skip, within);
                    let to = f.b.ins().iadd(to, skip);
                    f.b.ins().istore8(Frame::flags(), code, to, 0);
                    Ok(())
                })
            })
        })
    }
}
