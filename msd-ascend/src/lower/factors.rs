//! Factors of the cube: operands in a type that it multiplies, lying as it reads them. Owns conversions, copies and
//! pieces; which type that is follows from what is multiplied.

use msd_ir::diag::{Code as Fault, Diagnostic};
use msd_ir::dtype::DType;
use msd_ir::graph::Value;
use msd_ir::math::Lanes;
use msd_ir::ops::Op;
use msd_ir::types::Type;

use super::code::{Code, Condition, Reg};
use super::numbers::{Number, computed};
use super::region::{Region, internal};
use super::schedule::{Scheduler, Stage, by_strides};
use super::vector::{Pass, VectorStage};
use super::view::View;
use crate::program::Purpose;

use DType::{BF16, F16, F32, I4, I8, I32, U4};

impl Scheduler<'_> {
    /// Both operands of a product without block scales; codes on the right are `less` less than stored.
    pub(super) fn factors(
        &mut self,
        product: Value,
        a: Value,
        b: Value,
        less: i64,
    ) -> Result<(View, View), Diagnostic> {
        let types = [a, b].map(|v| self.kernel.tensor_ty(v).dtype);
        if self.kernel.tensor_ty(product).dtype.is_int() {
            let both = |dtype: DType| types.iter().all(|t| *t == dtype) && self.chip.multiplies(dtype).is_some();
            if less != 0 {
                let dtype = if types == [I4, U4] && self.chip.multiplies(I4).is_some() { I4 } else { I8 };
                return Ok((self.left(a, dtype)?, self.right(b, dtype, less)?));
            }
            if both(I4) {
                return Ok((self.left(a, I4)?, self.right(b, I4, 0)?));
            }
            if types[0] == DType::I16 && types[1] != DType::U8 {
                return Ok((self.halves(a)?, self.right(b, I8, 0)?));
            }
            if let Some(wrong) = types.iter().find(|t| !(t.is_int() && t.bits() <= 8)) {
                return Err(self.not_multiplied(*wrong));
            }
            if types.contains(&DType::U8) {
                return self.pieces(a, b);
            }
            return Ok((self.left(a, I8)?, self.right(b, I8, 0)?));
        }
        let is_dequantized = [a, b].map(|v| self.dequant_behind(v).is_some());
        // Codes of a weight whose scale was brought out are dequantized as well.
        let is_codes = |v: Value| matches!(self.kernel.node(self.base(v)).op, Op::Codes);
        let is_half = |t: &DType| matches!(t, BF16 | F16);
        if is_dequantized != [false, false] || types.iter().any(is_half) && [a, b].into_iter().any(is_codes) {
            let dtype = self.dequantized;
            return Ok((self.left(a, dtype)?, self.right(b, dtype, 0)?));
        }
        let fits = |dtype: DType, to: DType| {
            dtype == to || (dtype.bits() <= 8 && dtype != DType::E5M2) && dtype != DType::E8M0
        };
        for dtype in [BF16, F16] {
            if types.iter().all(|t| fits(*t, dtype)) {
                return Ok((self.left(a, dtype)?, self.right(b, dtype, 0)?));
            }
        }
        self.pieces(a, b)
    }

    fn not_multiplied(&self, dtype: DType) -> Diagnostic {
        let message = format!("{} multiplies no {}", self.chip.name, dtype.name());
        Diagnostic::new(Fault::NotOnChip, message).help("choose a scheme whose digits the chip multiplies")
    }

    /// The left operand in a type of the cube, rows of it one element after the other.
    fn left(&mut self, value: Value, dtype: DType) -> Result<View, Diagnostic> {
        let view = self.factor(value, dtype, 0)?;
        let (rank, k) = (view.rank(), view.shape.last().copied().unwrap_or(0));
        let fits = (view.strides[rank - 1] == 1 || k <= 1) && rows_fit(&view, rank - 2);
        if fits { Ok(view) } else { self.whole_copy(&view) }
    }

    /// The right operand, rows or columns of it one element after the other.
    fn right(&mut self, value: Value, dtype: DType, less: i64) -> Result<View, Diagnostic> {
        let view = self.factor(value, dtype, less)?;
        let rank = view.rank();
        let by_rows = view.strides[rank - 1] == 1 && rows_fit(&view, rank - 2);
        let by_columns = view.strides[rank - 2] == 1 && rows_fit(&view, rank - 1);
        if by_rows || by_columns { Ok(view) } else { self.whole_copy(&view) }
    }

    /// Every element in a place of its own.
    pub(super) fn whole_copy(&mut self, view: &View) -> Result<View, Diagnostic> {
        let rank = view.rank();
        let mut once = view.clone();
        // Outer axes may stay as they are; a row that is read again and again may not.
        for axis in 0..rank - 2 {
            if once.strides[axis] == 0 {
                once.shape[axis] = once.shape[axis].min(1);
            }
        }
        let dtype = once.dtype;
        let to = self.tensor("factor", dtype, &once.shape, Purpose::Activation);
        let whole = to.stretched(&view.shape);
        let is_repeated = once.strides.iter().zip(&once.shape).any(|(stride, size)| *stride == 0 && *size > 1);
        if dtype.bits() > 4 && !is_repeated {
            let copy = super::copy::CopyStage { from: once, to, note: "a factor where the cube can read it".into() };
            self.schedule.stages.push(Stage::Copy(copy));
            return Ok(whole);
        }
        self.cast_map(&once, dtype, to, 0)?;
        Ok(whole)
    }

    /// A value in a type of the cube, less a number if it is one of codes.
    fn factor(&mut self, value: Value, dtype: DType, less: i64) -> Result<View, Diagnostic> {
        if let Some(base) = self.dequant_behind(value) {
            let known = self.converted.iter().find(|(of, to, _)| *of == base && *to == (dtype, 0));
            let whole = match known {
                Some((.., view)) => view.clone(),
                None => {
                    let view = self.place_dequant(base, dtype, true)?;
                    self.converted.push((base, (dtype, 0), view.clone()));
                    view
                }
            };
            return self.seen_from(value, base, whole);
        }
        let view = self.view(value)?;
        if view.dtype == dtype {
            return Ok(view);
        }
        if let Some((.., view)) = self.converted.iter().find(|(of, to, _)| *of == value && *to == (dtype, less)) {
            return Ok(view.clone());
        }
        // Converted as it lies, so that nothing has to be turned.
        let mut once = view.clone();
        for axis in 0..once.rank() {
            if once.strides[axis] == 0 {
                once.shape[axis] = once.shape[axis].min(1);
            }
        }
        let to = self.lying_as("factor", dtype, &once);
        self.cast_map(&once, self.kernel.tensor_ty(value).dtype, to.clone(), less)?;
        let out = to.stretched(&view.shape);
        self.converted.push((value, (dtype, less), out.clone()));
        Ok(out)
    }

    /// Codes of a weight as integers, which lie as those do: they are a factor of a product.
    pub(super) fn place_steps(&mut self, value: Value) -> Result<(), Diagnostic> {
        let codes = self.view(self.kernel.node(value).operands[0])?;
        let out = self.lying_as("steps", computed(self.dtype(value), self.chip), &codes);
        let region = self.region(value)?;
        self.push_map_as(region, self.dtype(value), out.clone(), true, self.note(value))?;
        self.set(value, out);
        Ok(())
    }

    /// A new tensor of another type whose axes lie in the same order.
    fn lying_as(&mut self, name: &str, dtype: DType, view: &View) -> View {
        let order = by_strides(view);
        let shape: Vec<i64> = order.iter().map(|axis| view.shape[*axis]).collect();
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(new, old)| back[*old] = new);
        self.tensor(name, dtype, &shape, Purpose::Workspace).transposed(&back)
    }

    /// Elements of a view, of that type in the graph, as those of another, less a number.
    fn cast_map(&mut self, from: &View, dtype: DType, to: View, less: i64) -> Result<(), Diagnostic> {
        let region = Region { less, ..Region::of_view(from.clone()) };
        self.push_map_as(region, dtype, to, true, "a factor in a type of the cube".to_string())
    }

    /// The dequantized parameter that a value shows through moves alone.
    fn dequant_behind(&self, value: Value) -> Option<Value> {
        Some(self.base(value)).filter(|base| self.kernel.node(*base).op == Op::Dequant)
    }

    /// What a value shows through moves alone.
    fn base(&self, mut value: Value) -> Value {
        loop {
            let node = self.kernel.node(value);
            value = match node.op {
                Op::Transpose { .. } | Op::Slice { .. } | Op::Reshape { .. } | Op::Broadcast { .. } => node.operands[0],
                _ => return value,
            };
        }
    }

    /// `value`, which shows `base` through moves alone, where `base` lies as `whole`.
    fn seen_from(&mut self, value: Value, base: Value, whole: View) -> Result<View, Diagnostic> {
        let mut chain = Vec::new();
        let mut at = value;
        while at != base {
            chain.push(at);
            at = self.kernel.node(at).operands[0];
        }
        let mut view = whole;
        for step in chain.into_iter().rev() {
            view = self.moved(step, view)?;
        }
        Ok(view)
    }

    /// Two operands with block scales that the cube multiplies as they are: both, and their scales.
    #[allow(clippy::type_complexity, reason = "two operands and their scales, used once")]
    pub(super) fn scaled_term(&mut self, a: Value, b: Value) -> Result<Option<(View, View, (View, View))>, Diagnostic> {
        let (Some(left), Some(right)) = (self.dequant_behind(a), self.dequant_behind(b)) else { return Ok(None) };
        let blocks = |v: Value| match self.kernel.ty(self.kernel.node(v).operands[0]) {
            Type::Quant(q) => {
                let last = q.codes.rank() - 1;
                let is_mx = q.scale.ty.dtype == DType::E8M0
                    && q.zero.is_none()
                    && q.scale.along.iter().enumerate().all(|(axis, along)| match along {
                        Some(a) if axis == last => a.group == 32 && a.part_axis == last,
                        Some(a) => a.group == 1 && a.part_axis == axis,
                        None => false,
                    });
                is_mx.then_some((q.codes.dtype, q.scale.ty.clone(), last))
            }
            Type::Tensor(_) => None,
        };
        let (Some((da, sa, rank_a)), Some((db, sb, rank_b))) = (blocks(left), blocks(right)) else { return Ok(None) };
        let chip = self.chip;
        let has = |d: DType| chip.multiplies(d).is_some();
        let is_native = has(da) && has(db) && da.bits() == db.bits() && *chip.memory.l0_scales > 0;
        // As stored on the left, turned on the right.
        let is_turned = |v: Value, base: Value| match &self.kernel.node(v).op {
            Op::Transpose { axes } => self.kernel.node(v).operands[0] == base && is_last_swap(axes),
            _ => false,
        };
        if !is_native || a != left || !is_turned(b, right) || rank_a == 0 || rank_b == 0 {
            return Ok(None);
        }
        let index = |v: Value| match self.kernel.node(self.kernel.node(v).operands[0]).op {
            Op::Param { index } => index,
            _ => usize::MAX,
        };
        let (ia, ib) = (index(left), index(right));
        let (shape_a, shape_b) = (self.shape(left).to_vec(), self.shape(right).to_vec());
        let a = self.part_view(ia, super::schedule::Part::Codes, da, &shape_a);
        let b = self.part_view(ib, super::schedule::Part::Codes, db, &shape_b);
        let scale_a = self.sizes_of(&sa.shape)?;
        let scale_b = self.sizes_of(&sb.shape)?;
        let sa = self.part_view(ia, super::schedule::Part::Scale, sa.dtype, &scale_a);
        let sb = self.part_view(ib, super::schedule::Part::Scale, sb.dtype, &scale_b);
        let mut axes: Vec<usize> = (0..b.rank()).collect();
        axes.swap(rank_b - 1, rank_b);
        Ok(Some((a, b.transposed(&axes), (sa, sb))))
    }

    /// Integers of 16 bits as bytes: `[.., M, K]` becomes the high ones of all rows, then the low ones, balanced.
    fn halves(&mut self, value: Value) -> Result<View, Diagnostic> {
        let view = self.view(value)?;
        let rank = view.rank();
        let mut shape = view.shape.clone();
        shape.insert(rank - 2, 2);
        let wide = self.tensor("halves", I8, &shape, Purpose::Activation);
        let mut outs: Vec<View> = (0..2).map(|half| wide.at(rank - 2, half)).collect();
        let mut region = Region::of_view(view);
        let mut shape = region.shape.clone();
        let count = outs.len();
        let mut views = region.views();
        views.extend(outs.iter_mut());
        super::view::merge_axes(&mut shape, &mut views, false, count);
        region.shape = shape;
        self.settle(&mut region)?;
        let mut code = Code::default();
        let number = code.loaded(&region.leaves[0].1, DType::I16, self.chip);
        let whole = code.as_int(number);
        let raised = code.with_number(crate::isa::Op::Vadds, I32, whole, 128.0);
        let high = code.sar(raised, 8);
        let taken = code.shl(high, 8);
        let low = code.isub(whole, taken);
        let mut outputs = Vec::new();
        for (half, out) in [high, low].into_iter().zip(outs) {
            outputs.push((code.output(Number::Int(half), I8, self.chip), out));
        }
        let pass = Pass { code, outputs, ..Pass::default() }.clean();
        let note = "integers of 16 bits as bytes".to_string();
        let (shape, passes) = (region.shape, vec![pass]);
        let stage = VectorStage { shape, passes, is_rowwise: false, is_conversion: false, note };
        self.schedule.stages.push(Stage::Vector(stage));
        let mut stacked = wide.shape.clone();
        stacked[rank - 2] *= stacked.remove(rank - 1);
        wide.reshaped(&stacked).ok_or_else(|| internal("halves that do not lie below each other"))
    }

    /// Operands in pieces that the cube multiplies, side by side along the contraction, so that one product adds up all
    /// products of pieces but the least: the first of each pair for the left, the second for the right. F32 in three of
    /// BF16; bytes without a sign in three with one.
    fn pieces(&mut self, a: Value, b: Value) -> Result<(View, View), Diagnostic> {
        let types = [a, b].map(|v| self.kernel.tensor_ty(v).dtype);
        let is_int = types.iter().all(|t| t.is_int() && t.bits() <= 8);
        let to = if is_int { I8 } else { BF16 };
        let count = |dtype: DType| match dtype {
            F32 | DType::F64 | I32 | DType::I64 => 3,
            F16 | DType::I16 => 2,
            DType::U8 if is_int => 3,
            _ => 1,
        };
        let (of_a, of_b) = (count(types[0]), count(types[1]));
        // The smallest first.
        let pairs: Vec<(i64, i64)> = (0..of_a + of_b - 1)
            .rev()
            .flat_map(|sum| (0..of_a).map(move |i| (i, sum - i)))
            .filter(|(i, j)| (0..of_b).contains(j) && (is_int || i + j < 4))
            .collect();
        let (left, right) = (self.view(a)?, self.view(b)?);
        let (ra, rb) = (left.rank(), right.rank());
        let k = left.shape[ra - 1];
        let mut shape_a = left.shape.clone();
        shape_a[ra - 1] = k * pairs.len() as i64;
        let wide_a = self.tensor("pieces", to, &shape_a, Purpose::Activation);
        // Columns of the right one after the other if they lie so.
        let by_columns = right.strides[rb - 2] == 1 && right.strides[rb - 1] != 1;
        let mut shape_b = right.shape.clone();
        shape_b[rb - 2] = k * pairs.len() as i64;
        let mut axes: Vec<usize> = (0..rb).collect();
        if by_columns {
            axes.swap(rb - 2, rb - 1);
        }
        let stored_b: Vec<i64> = axes.iter().map(|axis| shape_b[*axis]).collect();
        let wide_b = self.tensor("pieces", to, &stored_b, Purpose::Activation).transposed(&axes);
        let firsts: Vec<i64> = pairs.iter().map(|(i, _)| *i).collect();
        let seconds: Vec<i64> = pairs.iter().map(|(_, j)| *j).collect();
        self.push_pieces(left, types[0], &wide_a, ra - 1, &firsts)?;
        self.push_pieces(right, types[1], &wide_b, rb - 2, &seconds)?;
        Ok((wide_a, wide_b))
    }

    /// Pieces of a value into windows along an axis of a wide tensor.
    fn push_pieces(
        &mut self,
        from: View,
        dtype: DType,
        wide: &View,
        axis: usize,
        which: &[i64],
    ) -> Result<(), Diagnostic> {
        let k = from.shape[axis];
        let mut outs: Vec<View> = (0..which.len() as i64).map(|p| wide.sliced(axis, p * k, (p + 1) * k)).collect();
        let mut region = Region::of_view(from);
        // The order in which it lies in the end.
        let rank = region.shape.len();
        let mut order: Vec<usize> = (0..rank).collect();
        if wide.strides[rank - 1] != 1 {
            order.swap(rank - 2, rank - 1);
        }
        let mut views = region.views();
        views.extend(outs.iter_mut());
        for view in &mut views {
            **view = view.transposed(&order);
        }
        let mut shape: Vec<i64> = order.iter().map(|axis| region.shape[*axis]).collect();
        let count = outs.len();
        let mut views = region.views();
        views.extend(outs.iter_mut());
        super::view::merge_axes(&mut shape, &mut views, false, count);
        region.shape = shape;
        self.settle(&mut region)?;
        let mut code = Code::default();
        let number = code.loaded(&region.leaves[0].1, dtype, self.chip);
        let pieces = if wide.dtype == I8 { code.signed_pieces(number) } else { code.pieces(number).map(Number::Float) };
        let mut outputs = Vec::new();
        for (piece, out) in which.iter().zip(outs) {
            outputs.push((code.output(pieces[*piece as usize], wide.dtype, self.chip), out));
        }
        let pass = Pass { code, outputs, ..Pass::default() }.clean();
        let note = "a factor in pieces".to_string();
        self.schedule.stages.push(Stage::Vector(VectorStage {
            shape: region.shape,
            passes: vec![pass],
            is_rowwise: false,
            is_conversion: false,
            note,
        }));
        Ok(())
    }
}

impl Code {
    /// Integers from -128 to 255 as three of 8 bits with a sign that add up to them.
    fn signed_pieces(&mut self, number: Number) -> [Number; 3] {
        let x = self.as_int(number);
        let first = self.with_number(crate::isa::Op::Vmins, I32, x, 127.0);
        let rest = self.isub(x, first);
        let second = self.with_number(crate::isa::Op::Vmins, I32, rest, 127.0);
        let third = self.isub(rest, second);
        [first, second, third].map(Number::Int)
    }

    /// A number as three BF16 pieces that add up to it exactly; what is not finite is the first of them.
    fn pieces(&mut self, number: Number) -> [Reg; 3] {
        let x = self.as_float(number);
        let mask = self.int_number(0xFFFF_0000_u32 as i32);
        let (infinity, zero) = (self.number(f32::INFINITY), self.number(0.0));
        let magnitude = self.unary(crate::isa::Op::Vabs, F32, x);
        let is_finite = self.compare(Condition::Lt, F32, magnitude, infinity);
        let first = self.and(x, mask);
        let rest = self.sub(x, first);
        let rest = self.choose(is_finite, rest, zero);
        let second = self.and(rest, mask);
        let third = self.sub(rest, second);
        [first, second, third]
    }
}

fn is_last_swap(axes: &[usize]) -> bool {
    let rank = axes.len();
    rank >= 2 && axes[..rank - 2].iter().enumerate().all(|(i, a)| i == *a) && axes[rank - 2..] == [rank - 1, rank - 2]
}

/// Whether rows along `axis` can be read one after the other: they do not overlap, and start with a byte.
fn rows_fit(view: &View, axis: usize) -> bool {
    let other = if axis + 1 == view.rank() { view.rank() - 2 } else { view.rank() - 1 };
    let length = view.shape[other];
    let apart = view.shape[axis] == 1 || view.strides[axis] >= length;
    let starts = view.dtype.bits() > 4
        || view.offset % 2 == 0
            && (0..view.rank()).filter(|a| *a != other && view.shape[*a] > 1).all(|a| view.strides[a] % 2 == 0);
    apart && starts
}
