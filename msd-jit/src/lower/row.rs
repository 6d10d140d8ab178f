//! Sums, maxima and softmax over rows, in the fixed order of the exactness contract: 16
//! interleaved partials (index mod 16), then a binary tree.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, StackSlotData, StackSlotKind, Value, types};
use msd_ir::dtype::DType;
use msd_ir::math;

use super::frame::{Emit, Frame};
use super::lanes::{Access, Lane, WIDTH};
use super::region::{Row, split_last};
use crate::isa::internal;
use crate::schedule::{Region, RowOp, View};

/// Partial results of a row.
const PARTIALS: i64 = 16;

impl Frame<'_> {
    pub(crate) fn emit_row(&mut self, op: RowOp, region: &Region, out: &View) -> Emit<()> {
        let (outer, columns) = split_last(&region.shape);
        let columns = self.dim(&columns)?;
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, PARTIALS as u32 * 8, 4);
        let slot = self.b.create_sized_stack_slot(slot);
        let partials = self.b.ins().stack_addr(types::I64, slot, 0);
        let (begin, end) = (self.begin, self.end);
        self.for_range(begin, end, 1, |f, unit| {
            let indices = f.unflatten(unit, outer)?;
            let target = f.locate(out, &indices)?;
            let is_empty = f.b.ins().icmp_imm_s(IntCC::Equal, columns, 0);
            // Leaves that do not vary are loaded on entering the row: skip that for empty rows.
            let start = f.identity(op, out.dtype);
            if op != RowOp::Softmax {
                f.store_lane(start, out.dtype, target, Access::One);
            }
            let rounds = f.b.ins().uextend(types::I64, is_empty);
            let one = f.int(1);
            let rounds = f.b.ins().isub(one, rounds);
            let zero = f.int(0);
            f.for_range(zero, rounds, 1, |f, _| {
                let row = f.enter_row(region, &indices)?;
                match op {
                    RowOp::Sum | RowOp::Amax => {
                        let total = f.reduce(op, out.dtype, columns, partials, |f, column, vector| {
                            f.region_at(&row, column, vector, &[])
                        })?;
                        f.store_lane(total, out.dtype, target, Access::One);
                        Ok(())
                    }
                    RowOp::Softmax => f.softmax(&row, columns, partials, target),
                }
            })
        })
    }

    /// Neutral start of each partial.
    fn identity(&mut self, op: RowOp, dtype: DType) -> Lane {
        match (op, dtype) {
            (RowOp::Amax, DType::I32) => Lane::I32(self.splat_i32(i32::MIN)),
            (RowOp::Amax, DType::I64) => {
                let least = self.int(i64::MIN);
                Lane::I64([self.b.ins().splat(types::I64X2, least); 2])
            }
            (RowOp::Amax, DType::F64) => {
                let least = self.b.ins().f64const(f64::NEG_INFINITY);
                Lane::F64([self.b.ins().splat(types::F64X2, least); 2])
            }
            (RowOp::Amax, _) => Lane::F32(self.splat_f32(f32::NEG_INFINITY)),
            _ => self.zero_lane(dtype),
        }
    }

    /// `new` joined to a partial: `partial + new`, or `max(new, partial)`.
    fn join(&mut self, op: RowOp, new: Lane, partial: Lane, dtype: DType) -> Emit<Lane> {
        let op = if op == RowOp::Amax { msd_ir::ops::Op::Max } else { msd_ir::ops::Op::Add };
        let operands = match op {
            msd_ir::ops::Op::Max => [new, partial],
            _ => [partial, new],
        };
        self.elementwise(&op, &operands, dtype)
    }

    /// Reduces `value(column)` over a row; the total is in lane 0.
    fn reduce(
        &mut self,
        op: RowOp,
        dtype: DType,
        columns: Value,
        partials: Value,
        mut value: impl FnMut(&mut Self, Value, bool) -> Emit<Lane>,
    ) -> Emit<Lane> {
        let vectors = PARTIALS / WIDTH;
        let bytes = dtype.host_bytes() as i64;
        let start = self.identity(op, dtype);
        let init: Vec<Value> = (0..vectors).flat_map(|_| start.parts()).collect();
        let per_vector = start.parts().len();
        let zero = self.int(0);
        let main = self.round_down(columns, PARTIALS);
        let sums = self.for_carry(zero, main, PARTIALS, &init, |f, column, carried| {
            let mut next = Vec::new();
            for (i, old) in carried.chunks(per_vector).enumerate() {
                let at = f.b.ins().iadd_imm_s(column, i as i64 * WIDTH);
                let new = value(f, at, true)?;
                let new = f.as_class(new, dtype);
                let joined = f.join(op, new, rebuild(start, old), dtype)?;
                next.extend(joined.parts());
            }
            Ok(next)
        })?;
        for (i, sum) in sums.chunks(per_vector).enumerate() {
            let at = self.b.ins().iadd_imm_s(partials, i as i64 * WIDTH * bytes);
            self.store_lane(rebuild(start, sum), dtype, at, Access::Vector);
        }
        self.for_range(main, columns, 1, |f, column| {
            let index = f.b.ins().band_imm_s(column, PARTIALS - 1);
            let offset = f.b.ins().imul_imm_s(index, bytes);
            let at = f.b.ins().iadd(partials, offset);
            let old = f.load_lane(dtype, at, Access::One);
            let new = value(f, column, false)?;
            let new = f.as_class(new, dtype);
            let joined = f.join(op, new, old, dtype)?;
            f.store_lane(joined, dtype, at, Access::One);
            Ok(())
        })?;
        self.tree(op, dtype, partials)
    }

    /// `p[i] += p[i + 8]`, then 4, 2 and 1.
    fn tree(&mut self, op: RowOp, dtype: DType, partials: Value) -> Emit<Lane> {
        let bytes = dtype.host_bytes() as i64;
        for half in [8, 4, 2, 1] {
            let access = if half >= WIDTH { Access::Vector } else { Access::One };
            let width = if half >= WIDTH { WIDTH } else { 1 };
            for i in (0..half).step_by(width as usize) {
                let low = self.b.ins().iadd_imm_s(partials, i * bytes);
                let high = self.b.ins().iadd_imm_s(partials, (i + half) * bytes);
                let (a, b) = (self.load_lane(dtype, low, access), self.load_lane(dtype, high, access));
                let joined = self.join(op, b, a, dtype)?;
                self.store_lane(joined, dtype, low, access);
            }
        }
        Ok(self.load_lane(dtype, partials, Access::One))
    }

    /// Three passes over an F32 row: copy and maximum, exponentials and sum, division.
    fn softmax(&mut self, row: &Row<'_>, columns: Value, partials: Value, target: Value) -> Emit<()> {
        let place = |f: &mut Self, column: Value| {
            let offset = f.b.ins().imul_imm_s(column, 4);
            f.b.ins().iadd(target, offset)
        };
        let access = |vector: bool| if vector { Access::Vector } else { Access::One };
        let maximum = self.reduce(RowOp::Amax, DType::F32, columns, partials, |f, column, vector| {
            let lane = f.region_at(row, column, vector, &[])?;
            let x = Lane::F32(f.f32_of(lane));
            let at = place(f, column);
            f.store_lane(x, DType::F32, at, access(vector));
            Ok(x)
        })?;
        let maximum = self.f32_of(maximum);
        let lowest = self.splat_f32(f32::NEG_INFINITY);
        let masked = math::Lanes::eq(self, maximum, lowest);
        let total = self.reduce(RowOp::Sum, DType::F32, columns, partials, |f, column, vector| {
            let at = place(f, column);
            let Lane::F32(x) = f.load_lane(DType::F32, at, access(vector)) else {
                return Err(internal("an F32 load of another class"));
            };
            let shifted = f.b.ins().fsub(x, maximum);
            let e = Lane::F32(math::exp(f, shifted));
            f.store_lane(e, DType::F32, at, access(vector));
            Ok(e)
        })?;
        let total = self.f32_of(total);
        for (from, to, width) in self.in_lanes(columns) {
            self.for_range(from, to, width, |f, column| {
                let at = place(f, column);
                let Lane::F32(e) = f.load_lane(DType::F32, at, access(width == WIDTH)) else {
                    return Err(internal("an F32 load of another class"));
                };
                let share = f.b.ins().fdiv(e, total);
                let none = f.splat_f32(0.0);
                let share = f.choose(masked, none, share);
                f.store_lane(Lane::F32(share), DType::F32, at, access(width == WIDTH));
                Ok(())
            })?;
        }
        Ok(())
    }
}

/// Values in the class of `like`.
pub(crate) fn rebuild(like: Lane, values: &[Value]) -> Lane {
    let pair = [values[0], *values.last().unwrap_or(&values[0])];
    match like {
        Lane::F32(_) => Lane::F32(pair[0]),
        Lane::I32(_) => Lane::I32(pair[0]),
        Lane::Mask(_) => Lane::Mask(pair[0]),
        Lane::F64(_) => Lane::F64(pair),
        Lane::I64(_) => Lane::I64(pair),
    }
}
