//! Placing digits: decompositions, their integer products, and what is done to a product on its way
//! out (digits merged, a zero point taken off, groups of K added up) because nothing else reads it.

use msd_ir::diag::Diagnostic;
use msd_ir::dim::Dim;
use msd_ir::dtype::DType;
use msd_ir::graph::Value;
use msd_ir::ops::Op;
use msd_ir::quant::scheme::Scheme;
use msd_ir::types::Shape;

use super::products::transposed;
use super::{
    Blocks, Dot, GroupSum, Groups, Layout, Merge, Region, RowOp, RowSums, Scheduler, Source, Step, View, Work,
    ZeroPoint, product, size, too_complex,
};
use crate::isa::internal;
use crate::tile::{CHANNELS, RowForm};

impl Scheduler<'_> {
    /// Digits of whole rows, or of their blocks of `size` columns.
    pub(super) fn place_decompose(
        &mut self,
        value: Value,
        scheme: Scheme,
        size: Option<&Dim>,
    ) -> Result<(), Diagnostic> {
        let mut x = self.view(self.kernel.node(value).operands[0])?;
        if !matches!(x.dtype, DType::F32 | DType::BF16 | DType::F16) {
            x = self.copy(&x, DType::F32)?;
        }
        let digits = self.buffer(scheme.digit_dtype(), self.shape(value))?;
        let blocks = match size {
            Some(size) => {
                let relative = self.buffer(DType::F32, self.shape(value.sibling(1)))?;
                self.set(value.sibling(1), relative.clone());
                Some(Blocks { size: size.with(self.fixed).ok_or_else(too_complex)?, relative })
            }
            None => None,
        };
        let row_unit = value.sibling(1 + usize::from(blocks.is_some()));
        let scale = self.buffer(DType::F64, self.shape(row_unit))?;
        self.set(row_unit, scale.clone());
        self.set(value, digits.clone());
        let tokens = product(&x.shape[..x.shape.len() - 1])?;
        let cost = super::size(&x.shape).and_then(|n| n.mul(&Dim::constant(4)));
        self.push(Work::Decompose { scheme, x, digits, scale, blocks }, tokens, Dim::constant(1), 1, cost)
    }

    pub(super) fn place_dot(&mut self, value: Value) -> Result<(), Diagnostic> {
        if self.merging_user(value).is_some() {
            return Ok(());
        }
        let out = self.buffer(DType::I64, self.shape(value))?;
        self.push_dot(value, None, out.clone())?;
        self.set(value, out);
        Ok(())
    }

    /// The only use of a value, if that is as the first operand of a node.
    fn first_user(&self, value: Value) -> Option<usize> {
        let nodes = || self.kernel.nodes.iter().enumerate().skip(value.node);
        let user = nodes().find(|(_, n)| n.operands.first() == Some(&value)).map(|(index, _)| index);
        user.filter(|_| self.uses[value.node] == 1)
    }

    /// The node that merges an integer product's digits, if the product is of no other use.
    fn merging_user(&self, value: Value) -> Option<usize> {
        let user = self.first_user(value).filter(|_| self.kernel.node(value).op == Op::Dot);
        let merges = |op: &Op| matches!(op, Op::Combine { .. } | Op::CombineZero { .. } | Op::AccumulateWide { .. });
        user.filter(|u| merges(&self.kernel.nodes[*u].op))
    }

    /// The node that adds up merged products over groups, if the whole chain is of no other use.
    fn accumulating_user(&self, merged: Value) -> Option<usize> {
        let product = self.kernel.node(merged).operands.first().copied();
        let is_product = |p: &Value| self.merging_user(*p).is_some() || self.is_float_product(*p);
        let is_chain = product.filter(is_product).and_then(|p| self.first_user(p)) == Some(merged.node);
        let user = self.first_user(merged).filter(|_| is_chain);
        user.filter(|u| self.kernel.nodes[*u].op == Op::Accumulate)
    }

    fn is_float_product(&self, value: Value) -> bool {
        self.kernel.node(value).op == Op::MatMul && self.kernel.tensor_ty(value).dtype == DType::F32
    }

    /// The node that adds up a float product over groups, its digits merged before if it has any: if
    /// the product and what is merged are of no other use.
    pub(super) fn summing_user(&self, product: Value) -> Option<usize> {
        let user = self.first_user(product).filter(|_| self.is_float_product(product))?;
        match self.kernel.nodes[user].op {
            Op::Accumulate => Some(user),
            Op::Combine { .. } => self.accumulating_user(Value { node: user, result: 0 }),
            _ => None,
        }
    }

    pub(super) fn place_combine(&mut self, value: Value, scheme: Scheme) -> Result<(), Diagnostic> {
        if self.accumulating_user(value).is_some() {
            return Ok(());
        }
        let products = self.kernel.node(value).operands[0];
        let out = self.buffer(DType::F32, self.shape(value))?;
        self.set(value, out.clone());
        if self.merging_user(products).is_some() {
            let merge = self.merge(value, scheme)?;
            return self.push_dot(products, Some(merge), out);
        }
        let mut region =
            Region { shape: out.shape.clone(), leaves: Vec::new(), steps: Vec::new(), root: Source::Const(0) };
        let products = self.view(products)?;
        let sum = merge_digits(&mut region, &products, scheme.weights())?;
        let (op, operands) = match self.kernel.node(value).operands.get(1..) {
            Some([rows, zero]) => {
                let (rows, zero) = (self.view(*rows)?, self.view(*zero)?);
                let rows = merge_digits(&mut region, &rows, scheme.weights())?;
                region.leaves.push(zero.stretched(&out.shape));
                (Op::CombineZero { scheme }, vec![sum, rows, Source::Leaf(region.leaves.len() - 1)])
            }
            _ => (Op::Cast { dtype: DType::F32 }, vec![sum]),
        };
        region.steps.push(Step { op, operands, dtype: DType::F32 });
        region.root = Source::Step(region.steps.len() - 1);
        self.push_map(region, out)
    }

    pub(super) fn place_accumulate(&mut self, value: Value) -> Result<(), Diagnostic> {
        let operands = self.kernel.node(value).operands.clone();
        let (p, shape) = (operands[0], self.shape(operands[0]));
        let out = self.buffer(DType::F32, self.shape(value))?;
        self.set(value, out.clone());
        let (scale, unit) = self.group_factors(&operands, &shape)?;
        let (product, weights) = match &self.kernel.node(p).op {
            Op::Combine { scheme } => (self.kernel.node(p).operands[0], scheme.weights()),
            _ => (p, [1].as_slice()),
        };
        if self.summing_user(product) == Some(value.node) {
            let groups = Groups { scale, unit };
            return self.push_matmul(product, Some(GroupSum { weights, groups }), out);
        }
        if let (true, Op::Combine { scheme } | Op::CombineZero { scheme }) =
            (self.accumulating_user(p).is_some(), &self.kernel.node(p).op)
        {
            let merge = Merge { groups: Some(Groups { scale, unit }), ..self.merge(p, *scheme)? };
            return self.push_dot(self.kernel.node(p).operands[0], Some(merge), out);
        }
        let p = self.view(p)?;
        self.push_accumulate(p, scale, unit, out)
    }

    fn push_accumulate(&mut self, p: View, s: View, u: Option<View>, out: View) -> Result<(), Diagnostic> {
        let (rows, cost) = (product(&out.shape[..out.shape.len() - 1])?, size(&p.shape));
        self.push(Work::Accumulate { p, s, u, out }, rows, Dim::constant(1), 1, cost)
    }

    pub(super) fn place_accumulate_wide(&mut self, value: Value, scheme: Scheme) -> Result<(), Diagnostic> {
        let operands = self.kernel.node(value).operands.clone();
        let shape = unstacked(self.shape(operands[0]), scheme.weights().len())?;
        let out = self.buffer(DType::F64, self.shape(value))?;
        self.set(value, out.clone());
        let (scale, unit) = self.group_factors(&operands, &shape)?;
        if self.merging_user(operands[0]).is_some() {
            let groups = Some(Groups { scale, unit });
            let merge = Merge { weights: scheme.weights(), zero: None, groups, is_narrow: false };
            return self.push_dot(operands[0], Some(merge), out);
        }
        let mut region = Region { shape: shape.clone(), leaves: Vec::new(), steps: Vec::new(), root: Source::Const(0) };
        let products = self.view(operands[0])?;
        region.root = merge_digits(&mut region, &products, scheme.weights())?;
        let sums = self.buffer(DType::I64, shape)?;
        self.push_map(region, sums.clone())?;
        self.push_accumulate(sums, scale, unit, out)
    }

    /// Scales and units of groups, stretched to their products; no units where they are all 1.
    fn group_factors(&mut self, operands: &[Value], shape: &Shape) -> Result<(View, Option<View>), Diagnostic> {
        let is_one = matches!(self.kernel.node(operands[2]).op, Op::Const { bits } if bits == 1f32.to_bits());
        let scale = self.view(operands[1])?.stretched(shape);
        let unit = if is_one { None } else { Some(self.view(operands[2])?.stretched(shape)) };
        Ok((scale, unit))
    }

    /// What the merging node `value` does to products.
    fn merge(&mut self, value: Value, scheme: Scheme) -> Result<Merge, Diagnostic> {
        let (weights, shape) = (scheme.weights(), self.shape(value));
        let zero = match self.kernel.node(value).operands.get(1..) {
            Some([rows, zero]) => {
                let (rows, zero) = (self.view(*rows)?, self.view(*zero)?);
                Some(ZeroPoint { sums: merged_rows(&rows, weights.len(), &shape)?, zero: zero.stretched(&shape) })
            }
            _ => None,
        };
        Ok(Merge { weights, zero, groups: None, is_narrow: false })
    }

    fn push_dot(&mut self, dot: Value, merge: Option<Merge>, out: View) -> Result<(), Diagnostic> {
        let (a, b) = (self.kernel.node(dot).operands[0], self.kernel.node(dot).operands[1]);
        let (a, shape) = (self.view(a)?, self.shape(dot));
        let x = self.rows_of(a)?;
        let stored = self.stored(b);
        let is_weight = stored.is_some();
        let dtype = self.kernel.tensor_ty(b).dtype;
        let b = stored.map_or_else(|| self.view(b), Ok)?;
        let form = RowForm::choose(self.dot, x.dtype, dtype, is_weight);
        let by_row = transposed(&b);
        let w = if is_weight {
            self.packed_rows(by_row, Layout::Rows { offset: form.stored_offset })?
        } else {
            self.rows_of(by_row)?
        };
        let merge = merge.map(|m| Merge { is_narrow: self.fits_i32(&m, &x, &w, form), ..m });
        let mut dot = Dot { x, w, sums: None, form, merge, out };
        if form.is_offset() {
            let rows = self.row_sums(&dot.x)?;
            dot.sums = Some(merged_rows(&rows, dot.digits(), &unstacked(shape, dot.digits())?)?);
        }
        let batch = product(&dot.out.shape[..dot.out.shape.len() - 2])?;
        let channels = dot.w.size_from_end(1);
        let groups = dot.group_count().unwrap_or(Dim::constant(1));
        let cost =
            size(&[&batch, &groups, &channels, &dot.x.size_from_end(1), &dot.x.size_from_end(0)].map(Dim::clone));
        self.push(Work::Dot(Box::new(dot)), batch, channels, CHANNELS as u64, cost)
    }

    /// The stored codes behind a right operand, if they can be packed for it: as they are, or as steps
    /// of a float of 4 bits, which packing counts.
    pub(super) fn stored(&self, b: Value) -> Option<View> {
        let node = self.kernel.node(b);
        let codes = if node.op == Op::Steps { node.operands[0] } else { b };
        // A product's operand that is nowhere yet is no weight.
        let view = self.views[codes.node][codes.result].clone();
        view.filter(|view| self.is_weight(view))
    }

    /// Whether an I32 holds the merged products of these rows, their sums, and the difference of the
    /// two that a zero point makes: intermediate results may wrap, the last one may not.
    fn fits_i32(&self, merge: &Merge, x: &View, w: &View, form: RowForm) -> bool {
        let Some(k) = x.size_from_end(0).as_constant().filter(|k| *k <= form.max_k()) else { return false };
        let weights: i128 = merge.weights.iter().map(|w| *w as i128).sum();
        let rows = weights * largest(x.dtype) * k as i128;
        let products = rows * largest(w.dtype);
        let most = match &merge.zero {
            None => products,
            Some(zero) => {
                let known = self.row_sums.iter().find(|(_, sums)| sums.memory == zero.sums.view.memory);
                let Some((of, k)) = known.and_then(|(of, _)| Some((of, of.size_from_end(0).as_constant()?))) else {
                    return false;
                };
                let rows = weights * largest(of.dtype) * k as i128;
                match zero.zero.dtype {
                    dtype if dtype.is_float() => products.max(rows),
                    dtype if dtype.bits() <= 8 => products + largest(dtype) * rows,
                    _ => return false,
                }
            }
        };
        most <= i32::MAX as i128
    }

    /// The packed form of a weight's rows. Groups of K that lie one after the other in a row stay
    /// there: then a weight has one packed form, whether K is split or not.
    fn packed_rows(&mut self, rows: View, layout: Layout) -> Result<View, Diagnostic> {
        let Some(joined) = join_groups(&rows) else { return self.packed(rows, layout) };
        let packed = self.packed(joined, layout)?;
        let (size, rank) = (rows.size_from_end(0), rows.shape.len());
        let mut strides = packed.strides.clone();
        strides.insert(rank - 3, size);
        Ok(View { shape: rows.shape, strides, ..packed })
    }

    /// `[.., R, 1]` sums of integer rows, in I64: 127 * K leaves I32 beyond 16 million.
    pub(super) fn row_sums(&mut self, x: &View) -> Result<View, Diagnostic> {
        if let Some((_, sums)) = self.row_sums.iter().find(|(of, _)| of == x) {
            return Ok(sums.clone());
        }
        let region =
            Region { shape: x.shape.clone(), leaves: vec![x.clone()], steps: Vec::new(), root: Source::Leaf(0) };
        let (outer, cost) = (product(&x.shape[..x.shape.len() - 1])?, size(&x.shape));
        let mut shape = x.shape.clone();
        if let Some(last) = shape.last_mut() {
            *last = Dim::constant(1);
        }
        let out = self.buffer(DType::I64, shape)?;
        self.push(Work::Row { op: RowOp::Sum, region, out: out.clone() }, outer, Dim::constant(1), 1, cost)?;
        self.row_sums.push((x.clone(), out.clone()));
        Ok(out)
    }
}

/// Largest magnitude of an integer type of at most 16 bits.
fn largest(dtype: DType) -> i128 {
    dtype.int_range().map_or(i128::MAX >> 64, |(low, high)| (-i128::from(low)).max(i128::from(high)))
}

/// `[.., G, N, size]` as `[.., N, G * size]`, where that is a view.
fn join_groups(rows: &View) -> Option<View> {
    let g = rows.shape.len().checked_sub(3)?;
    let (size, step) = (&rows.shape[g + 2], &rows.strides[g + 2]);
    if rows.strides[g] != size.mul(step)? {
        return None;
    }
    let mut joined = rows.clone();
    joined.shape[g + 2] = joined.shape[g].mul(size)?;
    joined.shape.remove(g);
    joined.strides.remove(g);
    Some(joined)
}

/// `[.., D * M, N]` as `[.., M, N]`.
fn unstacked(mut shape: Shape, digits: usize) -> Result<Shape, Diagnostic> {
    let rows = shape.len() - 2;
    shape[rows] = shape[rows].div(&Dim::constant(digits as u64)).ok_or_else(too_complex)?;
    Ok(shape)
}

/// Sums `[.., D * M, 1]` of stacked digit rows as products of this shape see them.
fn merged_rows(sums: &View, digits: usize, shape: &Shape) -> Result<RowSums, Diagnostic> {
    let view = View { shape: unstacked(sums.shape.clone(), digits)?, ..sums.clone() };
    let digit_stride = view.size_from_end(1).mul(&view.stride_from_end(1)).ok_or_else(too_complex)?;
    Ok(RowSums { view: view.stretched(shape), digit_stride })
}

/// Steps that merge stacked digits `[.., D * M, N]` in memory, over the region's shape: integers in
/// I64, floats in F64.
fn merge_digits(region: &mut Region, stacked: &View, weights: &[i64]) -> Result<Source, Diagnostic> {
    let RowSums { view, digit_stride } = merged_rows(stacked, weights.len(), &region.shape)?;
    let dtype = if stacked.dtype.is_float() { DType::F64 } else { DType::I64 };
    let step = |region: &mut Region, op, operands| {
        region.steps.push(Step { op, operands, dtype });
        Source::Step(region.steps.len() - 1)
    };
    let mut sum = None;
    for (digit, weight) in weights.iter().enumerate() {
        let skip = digit_stride.mul(&Dim::constant(digit as u64)).ok_or_else(too_complex)?;
        let offset = view.offset.add(&skip).ok_or_else(too_complex)?;
        region.leaves.push(View { offset, ..view.clone() });
        let leaf = Source::Leaf(region.leaves.len() - 1);
        let factor = Source::Const((*weight as f32).to_bits());
        let factor = step(region, Op::Cast { dtype }, vec![factor]);
        let term = step(region, Op::Mul, vec![leaf, factor]);
        sum = Some(match sum {
            Some(sum) => step(region, Op::Add, vec![sum, term]),
            None => term,
        });
    }
    sum.ok_or_else(|| internal("a scheme without digits"))
}
