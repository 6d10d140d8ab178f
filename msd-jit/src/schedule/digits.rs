//! Placing digits: decompositions, their integer products, and what is done to a product on its way
//! out (digits merged, a zero point taken off) because nothing else reads it. Groups of K are
//! `groups.rs`'s.

use msd_ir::diag::Diagnostic;
use msd_ir::dim::Dim;
use msd_ir::dtype::DType;
use msd_ir::graph::Value;
use msd_ir::ops::Op;
use msd_ir::quant::scheme::Scheme;
use msd_ir::types::Shape;

use super::{
    Blocks, Decompose, DigitSums, Layout, Region, RowOp, RowSums, Scheduler, Source, Term, View, Work, ZeroPoint,
    product, too_complex,
};
use crate::isa::internal;
use crate::tile::{MergeForm, Operands, QUAD, QuadForm, Sum};

/// Most channels of a product whose K is multiplied in parts: more can be shared out among threads.
const MAX_SPLIT_CHANNELS: u64 = 32;

/// Most digits, of 16 bits, whose sum an I32 is sure to hold.
const MAX_SUMMED: u64 = 1 << 16;

/// Least length of a part of K.
const LEAST_PART: u64 = 1024;

impl Scheduler<'_> {
    /// Digits of whole rows, or of their blocks of `size` columns.
    pub(super) fn place_decompose(
        &mut self,
        value: Value,
        scheme: Scheme,
        size: Option<&Dim>,
    ) -> Result<(), Diagnostic> {
        let x = self.region(self.kernel.node(value).operands[0])?;
        let (tokens, columns) = x.shape.split_at(x.shape.len() - 1);
        let (tokens, columns) = (product(tokens)?, columns[0].clone());
        let is_in_memory = |v: &View| matches!(v.dtype, DType::F32 | DType::BF16 | DType::F16);
        let row = match x.as_view().filter(|v| is_in_memory(v)) {
            Some(_) => None,
            None => Some(self.scratch(columns.mul(&Dim::constant(4)))?),
        };
        let shape = self.shape(value);
        let rows = shape[shape.len() - 2].clone();
        let batch = &x.shape[..x.shape.len() - 2];
        let stacked: Shape = batch.iter().chain([&rows, &columns]).cloned().collect();
        let digits = self.buffer(scheme.digit_dtype(), stacked)?;
        let blocks = match size {
            Some(size) => {
                let relative = self.buffer(DType::F32, self.shape(value.sibling(1)))?;
                self.set(value.sibling(1), relative.clone());
                let size = size.with(self.fixed).ok_or_else(too_complex)?;
                let mut strides = digits.strides.clone();
                strides.insert(shape.len() - 3, size.clone());
                self.set(value, View { shape, strides, ..digits.clone() });
                Some(Blocks { size, relative })
            }
            None => {
                self.set(value, digits.clone());
                None
            }
        };
        let row_unit = value.sibling(1 + usize::from(blocks.is_some()));
        let scale = self.buffer(DType::F64, self.shape(row_unit))?;
        self.set(row_unit, scale.clone());
        let cost = super::size(&x.shape).and_then(|n| n.mul(&Dim::constant(4)));
        let work = Decompose { scheme, x, row, digits, packing: None, scale, blocks, sums: Vec::new() };
        self.push(Work::Decompose(Box::new(work)), tokens, Dim::constant(1), 1, cost)
    }

    pub(super) fn place_dot(&mut self, value: Value) -> Result<(), Diagnostic> {
        if self.merging_user(value).is_some() {
            return Ok(());
        }
        let term = self.quad_term(value, &[], None)?;
        self.finish_term(value, term)
    }

    /// The only use of a value, if that is as the first operand of a node.
    pub(super) fn first_user(&self, value: Value) -> Option<usize> {
        let nodes = || self.kernel.nodes.iter().enumerate().skip(value.node);
        let user = nodes().find(|(_, n)| n.operands.first() == Some(&value)).map(|(index, _)| index);
        user.filter(|_| self.uses[value.node] == 1)
    }

    /// The node that merges an integer product's digits, if the product is of no other use.
    pub(super) fn merging_user(&self, value: Value) -> Option<usize> {
        let user = self.first_user(value).filter(|_| self.kernel.node(value).op == Op::Dot);
        let merges = |op: &Op| matches!(op, Op::Combine { .. } | Op::CombineZero { .. } | Op::AccumulateWide { .. });
        user.filter(|u| merges(&self.kernel.nodes[*u].op))
    }

    pub(super) fn place_combine(&mut self, value: Value, scheme: Scheme) -> Result<(), Diagnostic> {
        if self.accumulating_user(value).is_some() {
            return Ok(());
        }
        self.place_merged(value, scheme)
    }

    /// Merged digits: with their product, where nothing else reads that and the zero point allows it.
    pub(super) fn place_merged(&mut self, value: Value, scheme: Scheme) -> Result<(), Diagnostic> {
        let products = self.kernel.node(value).operands[0];
        if self.merging_user(products).is_some() {
            if self.is_mergeable(value) {
                return self.place_with_product(value, products, scheme);
            }
            self.place_products(products)?;
        }
        let zero = self.zero_point(value, scheme)?;
        let out = self.buffer(DType::F32, self.shape(value))?;
        self.set(value, out.clone());
        let mut region = Region::new(out.shape.clone());
        let products = self.view(products)?;
        let sum = merge_digits(&mut region, &products, scheme.weights())?;
        finish_sum(&mut region, sum, zero, scheme)?;
        self.push_map(region, out)
    }

    /// An integer product in memory, its digits not merged.
    pub(super) fn place_products(&mut self, products: Value) -> Result<(), Diagnostic> {
        let term = self.quad_term(products, &[], None)?;
        let view = self.materialize(products, term)?;
        self.set(products, view);
        Ok(())
    }

    /// Digits merged in the tiles of their product.
    fn place_with_product(&mut self, value: Value, products: Value, scheme: Scheme) -> Result<(), Diagnostic> {
        if let Some(parts) = self.parts_of(products) {
            let out = self.place_parts(value, products, scheme, parts)?;
            self.set(value, out);
            return Ok(());
        }
        let zero = self.zero_point(value, scheme)?;
        let term = self.quad_term(products, scheme.weights(), zero)?;
        self.finish_term(value, term)
    }

    /// Whether what a merging node takes off products can be taken off on their way out: one number for each
    /// token and channel that F64 holds, or that is a float and rounded there anyway.
    fn is_mergeable(&self, value: Value) -> bool {
        let Some([rows, zero]) = self.kernel.node(value).operands.get(1..) else { return true };
        let dtype = self.kernel.tensor_ty(*zero).dtype;
        let is_of_rows = self.shape(*rows).last().is_some_and(Dim::is_one);
        let is_exact = dtype.is_float() || (dtype.bits() <= 16 && self.bound_of_sums(*rows).is_some());
        is_of_rows && is_exact
    }

    /// The largest magnitude of sums of integers that are computed as such; nothing for what is something else.
    pub(super) fn bound_of_sums(&self, rows: Value) -> Option<u128> {
        let memory = self.views[rows.node][rows.result].as_ref()?.memory;
        let bound = |dtype: DType, size: &Dim, factor: i32| {
            Some(u128::from(largest(dtype)) * u128::from(size.as_constant()?) * u128::from(factor.unsigned_abs()))
        };
        let of_digits = self.stages.iter().find_map(|stage| match &stage.work {
            Work::Decompose(d) => {
                let sums = d.sums.iter().find(|s| s.out.memory == memory)?;
                bound(d.scheme.digit_dtype(), &sums.size, sums.factor)
            }
            _ => None,
        });
        let (x, size, factor, _) = match of_digits {
            Some(_) => return of_digits,
            None => self.sums.iter().find(|(.., out)| out.memory == memory)?,
        };
        bound(x.dtype, size, *factor)
    }

    /// What the merging node `value` takes off products.
    fn zero_point(&mut self, value: Value, scheme: Scheme) -> Result<Option<ZeroPoint>, Diagnostic> {
        let shape = self.shape(value);
        let Some([rows, zero]) = self.kernel.node(value).operands.get(1..) else { return Ok(None) };
        let (rows, zero) = (self.view(*rows)?, self.view(*zero)?);
        let sums = merged_rows(&rows, scheme.weights().len(), &shape)?;
        Ok(Some(ZeroPoint { sums, zero: zero.stretched(&shape) }))
    }

    /// The product of digit rows and codes `dot`, summed over all of K, and what is taken off it.
    pub(super) fn quad_term(
        &mut self,
        dot: Value,
        weights: &'static [i64],
        zero: Option<ZeroPoint>,
    ) -> Result<Term, Diagnostic> {
        let (x, b, form, largest) = self.quad_operands(dot)?;
        let k = x.size_from_end(0);
        let w = self.packed(b, Layout::quads(form.flip.is_some(), None))?;
        let is_whole = k.as_constant().is_some_and(|k| fits_i32(largest, k));
        let (mut start, mut excess) = (None, None);
        match form.flip {
            Some(factor) if is_whole => start = Some(self.digit_sums(&x, &k, factor, DType::I32)?),
            Some(factor) => {
                let rows = self.row_sums(&x)?;
                let digits = weights.len().max(1);
                excess = Some((merged_rows(&rows, digits, &unstacked(self.shape(dot), digits)?)?, factor));
            }
            None => {}
        }
        let all: u64 = weights.iter().map(|w| w.unsigned_abs()).sum();
        let is_narrow = k.as_constant().zip(all.checked_mul(largest)).is_some_and(|(k, most)| fits_i32(most, k));
        let merge = (!weights.is_empty() && zero.is_none()).then_some(MergeForm { weights, is_narrow });
        let sum = if is_whole { Sum::Whole { has_start: start.is_some(), merge } } else { Sum::Wide };
        let operands = Operands::Quads(form);
        Ok(Term { x, w, operands, sum, weights, start, excess, zero, groups: None })
    }

    /// In how many parts K is multiplied because there are too few channels to share out: threads may split
    /// exact sums.
    fn parts_of(&self, dot: Value) -> Option<u64> {
        let (a, b) = (self.kernel.node(dot).operands[0], self.kernel.node(dot).operands[1]);
        let shape = self.shape(b);
        let channels = shape[shape.len() - 1].as_constant().filter(|n| *n <= MAX_SPLIT_CHANNELS)?;
        let k = shape[shape.len() - 2].as_constant()?;
        let [x, w] = [a, b].map(|v| largest(self.kernel.tensor_ty(v).dtype));
        let is_whole = fits_i32(x * w, k) && channels > 0;
        // Views of one batch keep their packed form, whether K is split or not.
        let is_plain = shape.len() == 2 && self.shape(a).len() == 2;
        let fits = |parts: &u64| k.is_multiple_of(parts * QUAD as u64) && k / parts >= LEAST_PART;
        [8, 4, 2].into_iter().find(fits).filter(|_| is_whole && is_plain)
    }

    /// Products of each part of K, and then their sum, merged: F32 in memory.
    fn place_parts(&mut self, value: Value, dot: Value, scheme: Scheme, parts: u64) -> Result<View, Diagnostic> {
        let zero = self.zero_point(value, scheme)?;
        let (x, b, form, _) = self.quad_operands(dot)?;
        let w = self.packed(b, Layout::quads(form.flip.is_some(), None))?;
        let size = x.size_from_end(0).div(&Dim::constant(parts)).ok_or_else(too_complex)?;
        let start = match form.flip {
            Some(factor) => Some(self.digit_sums(&x, &size, factor, DType::I32)?),
            None => None,
        };
        let part_of = |view: &View, step: Option<Dim>| {
            let mut view = view.clone();
            let last = view.shape.len() - 1;
            view.shape[last] = size.clone();
            view.shape.insert(0, Dim::constant(parts));
            view.strides.insert(0, step?);
            Some(view)
        };
        let units = size.div(&Dim::constant(QUAD as u64)).and_then(|units| units.mul(&w.stride_from_end(0)));
        let (x, w) = (part_of(&x, Some(size.clone())), part_of(&w, units));
        let (x, w) = (x.ok_or_else(too_complex)?, w.ok_or_else(too_complex)?);
        // Each part begins at its own sums: those of one group, in as many batches.
        let start = start.map(|mut view| {
            view.shape.insert(1, Dim::constant(1));
            view.strides.insert(1, Dim::constant(0));
            view
        });
        let sum = Sum::Whole { has_start: start.is_some(), merge: None };
        let operands = Operands::Quads(form);
        let term = Term { x, w, operands, sum, weights: &[], start, excess: None, zero: None, groups: None };
        let rows = self.shape(dot);
        let products = self.buffer(DType::I64, [&[Dim::constant(parts)], &rows[..]].concat())?;
        let mut region = Region::new(products.shape.clone());
        region.terms.push(term);
        region.root = Source::Term(0);
        self.push_product(region, products.clone())?;

        let out = self.buffer(DType::F32, self.shape(value))?;
        let mut region = Region::new(out.shape.clone());
        let mut sum = None;
        for part in 0..parts {
            let offset = products.strides[0].mul(&Dim::constant(part)).ok_or_else(too_complex)?;
            let (shape, strides) = (products.shape[1..].to_vec(), products.strides[1..].to_vec());
            let part = View { shape, strides, offset, ..products.clone() };
            let merged = merge_digits(&mut region, &part, scheme.weights())?;
            sum = Some(match sum {
                Some(sum) => region.step(Op::Add, vec![sum, merged], DType::I64),
                None => merged,
            });
        }
        let sum = sum.ok_or_else(|| internal("a product of no parts"))?;
        finish_sum(&mut region, sum, zero, scheme)?;
        self.push_map(region, out.clone())?;
        Ok(out)
    }

    /// Rows and codes `[.., K, N]` of an integer product, how they are multiplied, and the largest
    /// magnitude of a product of two elements.
    pub(super) fn quad_operands(&mut self, dot: Value) -> Result<(View, View, QuadForm, u64), Diagnostic> {
        let (a, b) = (self.kernel.node(dot).operands[0], self.kernel.node(dot).operands[1]);
        let [x_dtype, w_dtype] = [a, b].map(|v| self.kernel.tensor_ty(v).dtype);
        let a = self.view(a)?;
        let b = self.stored(b).map_or_else(|| self.view(b), Ok)?;
        let form = QuadForm::choose(self.dot, x_dtype, w_dtype);
        Ok((a, b, form, largest(x_dtype) * largest(w_dtype)))
    }

    /// The stored codes behind a right operand, if they can be packed for it: as they are, or as steps
    /// of a float of 4 bits, which packing counts.
    pub(super) fn stored(&self, b: Value) -> Option<View> {
        let node = self.kernel.node(b);
        let codes = if node.op == Op::Steps { node.operands[0] } else { b };
        // A product's operand that is nowhere yet is no weight.
        let view = self.views[codes.node][codes.result].clone();
        view.filter(|view| self.parameter_of(view).is_some())
    }

    /// `[.., G, R]`: sums of each group of `size` elements of integer rows `[.., R, K]`, times `factor`. Rows
    /// that a decomposition makes are summed on the way.
    pub(super) fn digit_sums(&mut self, x: &View, size: &Dim, factor: i32, dtype: DType) -> Result<View, Diagnostic> {
        let k = x.size_from_end(0);
        let groups = if k == *size { Some(Dim::constant(1)) } else { k.div(size) };
        let groups = groups.ok_or_else(too_complex)?;
        let rank = x.shape.len();
        let batch = &x.shape[..rank - 2];
        let shape: Shape = batch.iter().chain([&groups, &x.shape[rank - 2]]).cloned().collect();
        // Rows are gone through in parts of one size, whose sums an I32 holds.
        let fits = |d: &Decompose| {
            let by_block = d.blocks.as_ref().is_none_or(|b| b.size == *size);
            let is_small = size.as_constant().is_some_and(|n| n <= MAX_SUMMED);
            d.digits == *x && by_block && is_small && d.sums.first().is_none_or(|s| s.size == *size)
        };
        let maker = self.stages.iter().position(|s| matches!(&s.work, Work::Decompose(d) if fits(d)));
        if let Some(maker) = maker {
            let out = self.buffer(dtype, shape)?;
            let Work::Decompose(decompose) = &mut self.stages[maker].work else {
                return Err(internal("digits that no decomposition makes"));
            };
            let known = |s: &&DigitSums| s.factor == factor && s.out.dtype == dtype;
            if let Some(known) = decompose.sums.iter().find(known) {
                return Ok(known.out.clone());
            }
            decompose.sums.push(DigitSums { out: out.clone(), size: size.clone(), factor });
            return Ok(out);
        }
        let known =
            |(of, by, f, out): &&(View, Dim, i32, View)| of == x && by == size && *f == factor && out.dtype == dtype;
        if let Some((.., out)) = self.sums.iter().find(known) {
            return Ok(out.clone());
        }
        let mut grouped = x.clone();
        grouped.shape.splice(rank - 2.., [groups, x.shape[rank - 2].clone(), size.clone()]);
        let step = size.mul(&x.strides[rank - 1]).ok_or_else(too_complex)?;
        grouped.strides.insert(rank - 2, step);
        let mut region = Region::of_view(grouped);
        if factor != 1 {
            let factor = region.step(Op::Cast { dtype }, vec![Source::Const((factor as f32).to_bits())], dtype);
            region.root = region.step(Op::Mul, vec![Source::Leaf(0), factor], dtype);
        }
        let out = self.buffer(dtype, shape.clone())?;
        let sums = View { shape: [&shape[..], &[Dim::constant(1)]].concat(), ..out.clone() };
        let sums = View { strides: [&out.strides[..], &[Dim::constant(1)]].concat(), ..sums };
        let (outer, cost) = (product(&shape)?, super::size(&x.shape));
        self.push(Work::Row { op: RowOp::Sum, region, out: sums }, outer, Dim::constant(1), 1, cost)?;
        self.sums.push((x.clone(), size.clone(), factor, out.clone()));
        Ok(out)
    }

    /// `[.., 1]` sums of the last axis of integers, in I64: 127 * K leaves I32 beyond 16 million.
    pub(super) fn row_sums(&mut self, x: &View) -> Result<View, Diagnostic> {
        // Of groups, the rows they are parts of.
        let joined = joined(x, 2, 0).filter(|_| x.shape.len() > 2);
        let (rows, size) = (joined.as_ref().unwrap_or(x), x.size_from_end(0));
        if joined.is_none() && x.shape.len() < 2 {
            let row = View { shape: [&[Dim::constant(1)], &x.shape[..]].concat(), ..x.clone() };
            let row = View { strides: [&[Dim::constant(0)], &x.strides[..]].concat(), ..row };
            let sums = self.digit_sums(&row, &size, 1, DType::I64)?;
            return View::dense(sums.memory, sums.dtype, vec![Dim::constant(1)]).ok_or_else(too_complex);
        }
        let sums = self.digit_sums(rows, &size, 1, DType::I64)?;
        let shape: Shape = x.shape[..x.shape.len() - 1].iter().cloned().chain([Dim::constant(1)]).collect();
        View::dense(sums.memory, sums.dtype, shape).ok_or_else(too_complex)
    }
}

/// Whether an I32 holds sums of `k` products of at most that magnitude.
fn fits_i32(largest: u64, k: u64) -> bool {
    largest.checked_mul(k).is_some_and(|n| n <= i32::MAX as u64)
}

/// Largest magnitude of an integer type of at most 16 bits.
pub(super) fn largest(dtype: DType) -> u64 {
    let range = dtype.int_range().map_or(1 << 20, |(low, high)| low.unsigned_abs().max(high.unsigned_abs()));
    range.min(1 << 20)
}

/// Two axes, counted from the last, as one at the place of the second, where that is a view.
pub(super) fn joined(view: &View, outer: usize, inner: usize) -> Option<View> {
    let rank = view.shape.len();
    let (outer, inner) = (rank.checked_sub(outer + 1)?, rank.checked_sub(inner + 1)?);
    // Axes of nothing lie anywhere, and their product does not say how many there are.
    let is_empty = view.shape[inner] == Dim::constant(0);
    if is_empty || view.strides[outer] != view.shape[inner].mul(&view.strides[inner])? {
        return None;
    }
    let mut joined = view.clone();
    joined.shape[inner] = view.shape[outer].mul(&view.shape[inner])?;
    joined.shape.remove(outer);
    joined.strides.remove(outer);
    Some(joined)
}

/// `[.., D * M, N]` as `[.., M, N]`.
pub(super) fn unstacked(mut shape: Shape, digits: usize) -> Result<Shape, Diagnostic> {
    let rows = shape.len() - 2;
    shape[rows] = shape[rows].div(&Dim::constant(digits as u64)).ok_or_else(too_complex)?;
    Ok(shape)
}

/// Sums `[.., D * M, 1]` of stacked digit rows as products of this shape see them.
pub(super) fn merged_rows(sums: &View, digits: usize, shape: &Shape) -> Result<RowSums, Diagnostic> {
    let view = View { shape: unstacked(sums.shape.clone(), digits)?, ..sums.clone() };
    let digit_stride = view.size_from_end(1).mul(&view.stride_from_end(1)).ok_or_else(too_complex)?;
    Ok(RowSums { view: view.stretched(shape), digit_stride })
}

/// Steps that merge stacked digits `[.., D * M, N]` in memory, over the region's shape: integers in
/// I64, floats in F64.
pub(super) fn merge_digits(region: &mut Region, stacked: &View, weights: &[i64]) -> Result<Source, Diagnostic> {
    let RowSums { view, digit_stride } = merged_rows(stacked, weights.len(), &region.shape)?;
    merge_rows(region, view, &digit_stride, weights)
}

/// The same, of digits that lie `digit_stride` apart.
fn merge_rows(region: &mut Region, view: View, digit_stride: &Dim, weights: &[i64]) -> Result<Source, Diagnostic> {
    let dtype = if view.dtype.is_float() { DType::F64 } else { DType::I64 };
    let mut sum = None;
    for (digit, weight) in weights.iter().enumerate() {
        let skip = digit_stride.mul(&Dim::constant(digit as u64)).ok_or_else(too_complex)?;
        let offset = view.offset.add(&skip).ok_or_else(too_complex)?;
        region.leaves.push(View { offset, ..view.clone() });
        let leaf = Source::Leaf(region.leaves.len() - 1);
        let factor = Source::Const((*weight as f32).to_bits());
        let factor = region.step(Op::Cast { dtype }, vec![factor], dtype);
        let term = region.step(Op::Mul, vec![leaf, factor], dtype);
        sum = Some(match sum {
            Some(sum) => region.step(Op::Add, vec![sum, term], dtype),
            None => term,
        });
    }
    sum.ok_or_else(|| internal("a scheme without digits"))
}

/// What a merged sum becomes: less its zero point, rounded.
fn finish_sum(region: &mut Region, sum: Source, zero: Option<ZeroPoint>, scheme: Scheme) -> Result<(), Diagnostic> {
    let (op, operands) = match zero {
        Some(ZeroPoint { sums, zero }) => {
            let rows = merge_rows(region, sums.view, &sums.digit_stride, scheme.weights())?;
            region.leaves.push(zero);
            (Op::CombineZero { scheme }, vec![sum, rows, Source::Leaf(region.leaves.len() - 1)])
        }
        None => (Op::Cast { dtype: DType::F32 }, vec![sum]),
    };
    region.root = region.step(op, operands, DType::F32);
    Ok(())
}
