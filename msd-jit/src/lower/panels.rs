//! Operands that a kernel computes, or is given in parts, rearranged into panels, and rows into blocks of
//! tokens; see [`crate::schedule::Layout`] and [`crate::schedule::RowLayout`]. Parameters are packed by
//! [`crate::pack`] in the same way.

use cranelift_codegen::ir::{InstBuilder, Value, types};

use super::frame::{Emit, Frame};
use super::lanes::{Access, WIDTH};
use crate::schedule::{Layout, RowLayout, View};
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

    /// Units are blocks of tokens.
    pub(crate) fn emit_pack_rows(&mut self, source: &View, layout: &RowLayout, out: &View) -> Emit<()> {
        let batch_shape = &source.shape[..source.shape.len() - 2];
        let (tokens, depth) = (self.dim(&out.size_from_end(1))?, self.dim(&source.size_from_end(0))?);
        let blocks = self.token_blocks(&out.size_from_end(1), layout.tokens);
        let (row_step, k_step) = (self.step_bytes(source, 1)?, self.step_bytes(source, 0)?);
        let bytes = out.dtype.host_bytes() as i64;
        let (item, token_bytes) = (layout.depth as i64 * bytes, layout.digits as i64 * bytes);
        let most = self.int(layout.block as i64);
        let most = self.b.ins().udiv(most, blocks.k_parts);
        let more = self.b.ins().iadd(depth, most);
        let more = self.b.ins().iadd_imm_s(more, -1);
        let k_blocks = self.b.ins().udiv(more, most);
        let (begin, end) = (self.begin, self.end);
        self.for_range(begin, end, 1, |f, unit| {
            let (batch, index) = (f.b.ins().udiv(unit, blocks.count), f.b.ins().urem(unit, blocks.count));
            let indices = f.unflatten(batch, batch_shape)?;
            let block = f.block(blocks, index);
            let from = f.locate(source, &indices)?;
            let skip = f.b.ins().imul(block.token, row_step);
            let (from, to) = (f.b.ins().iadd(from, skip), f.locate(out, &indices)?);
            let (zero, digits) = (f.int(0), f.int(layout.digits as i64));
            let digit_step = f.b.ins().imul(tokens, row_step);
            let row_bytes = f.b.ins().imul_imm_s(block.count, item);
            let unit_step = f.b.ins().imul_imm_s(row_bytes, layout.digits as i64);
            // In each block of K the tokens before these have as much of it.
            f.for_carry(zero, k_blocks, 1, &[from, to], |f, index, at| {
                let first = f.b.ins().imul(index, most);
                let left = f.b.ins().isub(depth, first);
                let size = f.b.ins().smin(left, most);
                let padded = f.padded(layout, size);
                let token_bytes = f.b.ins().imul_imm_s(padded, token_bytes);
                let skip = f.b.ins().imul(block.token, token_bytes);
                let (from, to) = (at[0], f.b.ins().iadd(at[1], skip));
                f.for_range(zero, digits, 1, |f, digit| {
                    let (skip, ahead) = (f.b.ins().imul(digit, digit_step), f.b.ins().imul(digit, row_bytes));
                    let (from, to) = (f.b.ins().iadd(from, skip), f.b.ins().iadd(to, ahead));
                    f.for_range(zero, block.count, 1, |f, token| {
                        let skip = f.b.ins().imul(token, row_step);
                        let ahead = f.b.ins().imul_imm_s(token, item);
                        let (from, to) = (f.b.ins().iadd(from, skip), f.b.ins().iadd(to, ahead));
                        f.pack_row(&Row { source, out, from, k_step, to, unit_step }, layout, size)
                    })
                })?;
                let (skip, ahead) = (f.b.ins().imul(size, k_step), f.b.ins().imul(tokens, token_bytes));
                Ok(vec![f.b.ins().iadd(at[0], skip), f.b.ins().iadd(at[1], ahead)])
            })?;
            Ok(())
        })
    }

    /// So many elements of K, whole units of each of their groups.
    fn padded(&mut self, layout: &RowLayout, size: Value) -> Value {
        let depth = layout.depth as i64;
        match layout.group {
            Some(group) => {
                let count = self.b.ins().udiv_imm_u(size, group as i64);
                self.b.ins().imul_imm_s(count, group.next_multiple_of(layout.depth) as i64)
            }
            None => {
                let more = self.b.ins().iadd_imm_s(size, depth - 1);
                self.b.ins().band_imm_s(more, -depth)
            }
        }
    }

    /// A row, of one group if it has no more.
    fn pack_row(&mut self, row: &Row<'_>, layout: &RowLayout, depth: Value) -> Emit<()> {
        let Some(size) = layout.group else { return self.pack_units(row, layout.depth, depth) };
        let zero = self.int(0);
        let count = self.b.ins().udiv_imm_u(depth, size as i64);
        let group_step = self.b.ins().imul_imm_s(row.unit_step, size.div_ceil(layout.depth) as i64);
        let source_step = self.b.ins().imul_imm_s(row.k_step, size as i64);
        let size = self.int(size as i64);
        self.for_range(zero, count, 1, |f, group| {
            let (skip, ahead) = (f.b.ins().imul(group, source_step), f.b.ins().imul(group, group_step));
            let row = Row { from: f.b.ins().iadd(row.from, skip), to: f.b.ins().iadd(row.to, ahead), ..*row };
            f.pack_units(&row, layout.depth, size)
        })
    }

    /// The units of `size` neighbours along K. Past the end of the last four there are zeros.
    fn pack_units(&mut self, row: &Row<'_>, depth: u64, size: Value) -> Emit<()> {
        let zero = self.int(0);
        let is_row = row.source.stride_from_end(0).is_one();
        let is_bytes = row.source.dtype.host_bytes() == 1 && row.out.dtype.host_bytes() == 1;
        let has_quads = depth >= QUAD as u64;
        let is_copied = has_quads && is_row && is_bytes;
        // Four elements at a time.
        let main = self.round_down(size, WIDTH);
        let access = if is_row { Access::Vector } else { Access::Strided(row.k_step) };
        let stored = if has_quads { Access::Vector } else { Access::Strided(row.unit_step) };
        let step = self.b.ins().imul_imm_s(row.k_step, WIDTH);
        let rest = self.for_carry(zero, main, WIDTH, &[row.from], |f, k, from| {
            let (from, to) = (from[0], f.in_units(row, depth, k));
            if is_copied {
                let four = f.b.ins().load(types::I32, Frame::flags(), from, 0);
                f.b.ins().store(Frame::flags(), four, to, 0);
            } else {
                f.convert(row, [from, to], access, stored);
            }
            Ok(vec![f.b.ins().iadd(from, step)])
        })?;
        if main == size {
            return Ok(());
        }
        if has_quads {
            self.for_range(main, size, WIDTH, |f, k| {
                let (none, to) = (f.zero_lane(row.out.dtype), f.in_units(row, depth, k));
                f.store_lane(none, row.out.dtype, to, Access::Vector);
                Ok(())
            })?;
        }
        self.for_carry(main, size, 1, &rest, |f, k, from| {
            let to = f.in_units(row, depth, k);
            f.convert(row, [from[0], to], Access::One, Access::One);
            Ok(vec![f.b.ins().iadd(from[0], row.k_step)])
        })?;
        Ok(())
    }

    /// Where element `k` of a row goes, in units of `depth`.
    fn in_units(&mut self, row: &Row<'_>, depth: u64, k: Value) -> Value {
        let unit = self.b.ins().ushr_imm_s(k, depth.trailing_zeros() as i64);
        let skip = self.b.ins().imul(unit, row.unit_step);
        let at = self.b.ins().iadd(row.to, skip);
        let within = self.b.ins().band_imm_s(k, depth as i64 - 1);
        let skip = self.b.ins().imul_imm_s(within, row.out.dtype.host_bytes() as i64);
        self.b.ins().iadd(at, skip)
    }

    /// Copies elements of a row, as the type they are stored in.
    fn convert(&mut self, row: &Row<'_>, [from, to]: [Value; 2], access: Access, stored: Access) {
        let lane = self.load_lane(row.source.dtype, from, access);
        let lane = self.as_class(lane, row.out.dtype);
        self.store_lane(lane, row.out.dtype, to, stored);
    }
}

/// A row in the making.
#[derive(Clone, Copy)]
struct Row<'v> {
    source: &'v View,
    out: &'v View,
    from: Value,
    /// Bytes from element to element, and from unit to unit of the block.
    k_step: Value,
    to: Value,
    unit_step: Value,
}
