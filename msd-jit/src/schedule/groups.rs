//! Placing sums over groups of K, each scaled on its own: with the product they are of, where nothing else
//! reads that and tiles can add them up as they are made.

use msd_ir::diag::Diagnostic;
use msd_ir::dim::Dim;
use msd_ir::dtype::DType;
use msd_ir::graph::Value;
use msd_ir::ops::{Class, Op};
use msd_ir::quant::scheme::Scheme;
use msd_ir::types::Shape;

use super::digits::{joined, largest, merge_digits, unstacked};
use super::{Groups, Layout, PartName, Region, Scheduler, Term, View, Work, product, size};
use crate::tile::{GroupForm, MergeForm, Operands, Sum};

/// What the node that adds up groups has to say of them.
struct Chain {
    /// The product behind it, of the shape `[.., G, D*M, N]`.
    product: Value,
    weights: &'static [i64],
    /// Row sums and zero points, where those are taken off.
    zero: Option<[Value; 2]>,
    scale: Value,
    /// None where all are 1.
    unit: Option<Value>,
    total: DType,
}

/// Whether packing turns elements of a type into F32.
fn is_convertible(dtype: DType) -> bool {
    dtype.host_bytes() == 1 || matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}

impl Scheduler<'_> {
    /// The node that adds up merged products over groups, if the whole chain is of no other use.
    pub(super) fn accumulating_user(&self, merged: Value) -> Option<usize> {
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

    pub(super) fn place_accumulate(&mut self, value: Value) -> Result<(), Diagnostic> {
        let [p, scale, unit] = [0, 1, 2].map(|i| self.kernel.node(value).operands[i]);
        let chain = |product, weights, zero| {
            let unit = (!self.is_one(unit)).then_some(unit);
            Chain { product, weights, zero, scale, unit, total: DType::F32 }
        };
        let node = self.kernel.node(p);
        let known = match &node.op {
            _ if self.summing_user(p) == Some(value.node) => Some(chain(p, &[1], None)),
            Op::Combine { scheme } | Op::CombineZero { scheme } if self.accumulating_user(p).is_some() => {
                let zero = node.operands.get(1..).and_then(|z| z.try_into().ok());
                Some(chain(node.operands[0], scheme.weights(), zero))
            }
            _ => None,
        };
        if let Some(chain) = known {
            if let Some(term) = self.group_term(&chain)? {
                return self.finish_term(value, term);
            }
            self.place_chain(&chain, p)?;
        }
        let out = self.buffer(DType::F32, self.shape(value))?;
        self.set(value, out.clone());
        let p = self.view(p)?;
        let (scale, unit) = self.group_factors(scale, unit, &p.shape)?;
        self.push_accumulate(p, scale, unit, out)
    }

    pub(super) fn place_accumulate_wide(&mut self, value: Value, scheme: Scheme) -> Result<(), Diagnostic> {
        let [p, scale, unit] = [0, 1, 2].map(|i| self.kernel.node(value).operands[i]);
        let weights = scheme.weights();
        if self.merging_user(p).is_some() {
            let unit = (!self.is_one(unit)).then_some(unit);
            let chain = Chain { product: p, weights, zero: None, scale, unit, total: DType::F64 };
            if let Some(term) = self.group_term(&chain)? {
                return self.finish_term(value, term);
            }
            self.place_products(p)?;
        }
        let out = self.buffer(DType::F64, self.shape(value))?;
        self.set(value, out.clone());
        let shape = unstacked(self.shape(p), weights.len())?;
        let (scale, unit) = self.group_factors(scale, unit, &shape)?;
        let mut region = Region::new(shape.clone());
        let products = self.view(p)?;
        region.root = merge_digits(&mut region, &products, weights)?;
        let sums = self.buffer(DType::I64, shape)?;
        self.push_map(region, sums.clone())?;
        self.push_accumulate(sums, scale, unit, out)
    }

    /// Places a product, and what merges it, that tiles cannot add up.
    fn place_chain(&mut self, chain: &Chain, merged: Value) -> Result<(), Diagnostic> {
        if self.kernel.node(chain.product).op == Op::MatMul {
            let term = self.float_term(chain.product)?;
            let view = self.materialize(chain.product, term)?;
            self.set(chain.product, view);
        }
        match self.kernel.node(merged).op {
            Op::Combine { scheme } | Op::CombineZero { scheme } => self.place_merged(merged, scheme),
            _ => Ok(()),
        }
    }

    fn is_one(&self, value: Value) -> bool {
        matches!(self.kernel.node(value).op, Op::Const { bits } if bits == 1f32.to_bits())
    }

    fn push_accumulate(&mut self, p: View, s: View, u: Option<View>, out: View) -> Result<(), Diagnostic> {
        let (rows, cost) = (product(&out.shape[..out.shape.len() - 1])?, size(&p.shape));
        self.push(Work::Accumulate { p, s, u, out }, rows, Dim::constant(1), 1, cost)
    }

    /// Scales and units of groups, stretched to their products; no units where they are all 1.
    fn group_factors(&mut self, scale: Value, unit: Value, shape: &Shape) -> Result<(View, Option<View>), Diagnostic> {
        let s = self.view(scale)?.stretched(shape);
        let u = if self.is_one(unit) { None } else { Some(self.view(unit)?.stretched(shape)) };
        Ok((s, u))
    }

    /// The product of a chain whose groups tiles add up, if they can: groups of a known size that follow
    /// one another in memory, with factors that are of channels or of tokens.
    fn group_term(&mut self, chain: &Chain) -> Result<Option<Term>, Diagnostic> {
        let shape = unstacked(self.shape(chain.product), chain.weights.len())?;
        let operands = self.kernel.node(chain.product).operands.clone();
        let Some(size) = self.shape(operands[0]).last().and_then(Dim::as_constant).filter(|n| *n > 0) else {
            return Ok(None);
        };
        let is_float = self.kernel.node(chain.product).op == Op::MatMul;
        let (a, b, form, bound) = if is_float {
            (self.view(operands[0])?, self.view(operands[1])?, None, 0)
        } else {
            let (a, b, form, bound) = self.quad_operands(chain.product)?;
            (a, b, Some(form), bound)
        };
        // Of a group, along with what it is merged to.
        let in_group = u128::from(bound) * u128::from(size);
        let weights: u128 = chain.weights.iter().map(|w| u128::from(w.unsigned_abs())).sum();
        if in_group > i32::MAX as u128 || size > 1 << 16 {
            return Ok(None);
        }
        let (Some(x), Some(w)) = (joined(&a, 2, 0), joined(&b, 2, 1)) else { return Ok(None) };
        let Some(scale) = self.columns_of(chain.scale, &shape, DType::F32)? else { return Ok(None) };
        let zero_dtype = chain.zero.map(|[_, zero]| self.kernel.tensor_ty(zero).dtype);
        let mut most = weights * in_group;
        if let (Some(dtype), Some([rows, _])) = (zero_dtype, chain.zero) {
            let rows_fit = self.shape(rows).last().is_some_and(Dim::is_one);
            let Some(bound) = self.bound_of_sums(rows) else { return Ok(None) };
            let sums = weights * bound;
            match dtype {
                _ if !rows_fit || sums > 1 << 52 => return Ok(None),
                // Columns are of F32, which does not hold every zero point of 32 bits.
                DType::F64 => return Ok(None),
                dtype if dtype.is_float() => most = most.max(sums),
                dtype if dtype.bits() <= 8 => most += u128::from(largest(dtype)) * sums,
                _ => return Ok(None),
            }
        }
        let is_narrow = !is_float
            && chain.total == DType::F32
            && most <= i32::MAX as u128
            && !zero_dtype.is_some_and(DType::is_float);
        let unit = match chain.unit {
            None => None,
            Some(unit) => match self.rows_of_groups(unit, &shape)? {
                Some(unit) => Some(unit),
                None => return Ok(None),
            },
        };
        let zero_stored = if is_narrow { DType::I32 } else { DType::F32 };
        let zero = match chain.zero {
            None => None,
            Some([rows, zero]) => {
                let Some(zero) = self.columns_of(zero, &shape, zero_stored)? else { return Ok(None) };
                let dtype = if is_narrow { DType::I32 } else { DType::F64 };
                Some((zero, self.merged_sums(rows, chain.weights, dtype)?))
            }
        };
        let group = Dim::constant(size);
        let (layout, operands, start) = match form {
            Some(form) => {
                let layout = Layout::quads(form.flip.is_some(), Some(size));
                let start = match form.flip {
                    Some(factor) => Some(self.digit_sums(&x, &group, factor, DType::I32)?),
                    None => None,
                };
                (layout, Operands::Quads(form), start)
            }
            None => {
                let panel = Layout::columns(w.dtype);
                let operands = Operands::Floats { panel: panel.stored(w.dtype), compute: DType::F32 };
                (panel, operands, None)
            }
        };
        let form = GroupForm {
            units: size.div_ceil(operands.unit_depth() as u64) as u32,
            merge: MergeForm { weights: chain.weights, is_narrow },
            has_start: start.is_some(),
            total: chain.total,
            has_unit: unit.is_some(),
            zero: zero.as_ref().map(|_| zero_stored),
        };
        let w = self.packed(w, layout)?;
        let groups = Some(Groups { size, scale, unit, zero });
        let (sum, weights) = (Sum::Groups(form), chain.weights);
        Ok(Some(Term { x, w, operands, sum, weights, start, excess: None, zero: None, groups }))
    }

    /// A factor of groups and channels, which broadcasts to `shape [.., G, M, N]`, as columns; nothing if
    /// tokens have factors of their own.
    fn columns_of(&mut self, factor: Value, shape: &Shape, stored: DType) -> Result<Option<View>, Diagnostic> {
        // What is stored can be packed once, whatever type it is converted to.
        let view = match self.unconverted(factor)? {
            Some(view) => view,
            None => self.view(factor)?,
        };
        let mut view = view.stretched(shape);
        if view.stride_from_end(1) != Dim::constant(0) && !view.size_from_end(1).is_one() {
            return Ok(None);
        }
        let tokens = view.shape.len() - 2;
        view.shape.remove(tokens);
        view.strides.remove(tokens);
        Ok(Some(self.packed(view, Layout::Columns { stored })?))
    }

    /// The part of a parameter that `value` moves and converts to F32, moved but as stored.
    fn unconverted(&mut self, value: Value) -> Result<Option<View>, Diagnostic> {
        let node = self.kernel.node(value);
        match &node.op {
            Op::Scale | Op::Zero if is_convertible(self.kernel.tensor_ty(value).dtype) => {
                Ok(self.views[value.node][value.result].clone())
            }
            Op::Cast { dtype: DType::F32 } => self.unconverted(node.operands[0]),
            Op::Transpose { .. } | Op::Reshape { .. } | Op::Slice { .. } | Op::Broadcast { .. } => {
                match self.unconverted(node.operands[0])? {
                    Some(view) => self.moved(view, value),
                    None => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    /// Whether `value` is a part of a parameter that is moved and converted to F32.
    pub(super) fn is_conversion(&self, value: Value) -> bool {
        let (mut at, mut is_converted) = (value, false);
        loop {
            let node = self.kernel.node(at);
            match &node.op {
                Op::Scale | Op::Zero => return is_converted && is_convertible(self.kernel.tensor_ty(at).dtype),
                Op::Cast { dtype: DType::F32 } => is_converted = true,
                // A concatenation is no movement of one part.
                op if op.class() == Class::Movement && node.operands.len() == 1 => {}
                _ => return false,
            }
            at = node.operands[0];
        }
    }

    /// A factor of groups and tokens as `[.., G, M]`; nothing if channels have factors of their own.
    fn rows_of_groups(&mut self, factor: Value, shape: &Shape) -> Result<Option<View>, Diagnostic> {
        let mut view = self.view(factor)?.stretched(shape);
        if view.stride_from_end(0) != Dim::constant(0) && !view.size_from_end(0).is_one() {
            return Ok(None);
        }
        view.shape.pop();
        view.strides.pop();
        let is_dense = view.dtype == DType::F32 && view.stride_from_end(0).is_one();
        Ok(Some(if is_dense { view } else { self.copy(&view, DType::F32)? }))
    }

    /// Sums `[.., G, D*M, 1]` of digit rows, merged: `[.., G, M]`.
    fn merged_sums(&mut self, rows: Value, weights: &'static [i64], dtype: DType) -> Result<View, Diagnostic> {
        let rows = self.view(rows)?;
        let shape = unstacked(rows.shape.clone(), weights.len())?;
        let mut region = Region::new(shape.clone());
        let sum = merge_digits(&mut region, &rows, weights)?;
        region.root = region.step(Op::Cast { dtype }, vec![sum], dtype);
        let mut out = self.buffer(dtype, shape)?;
        self.push_map(region, out.clone())?;
        out.shape.pop();
        out.strides.pop();
        Ok(out)
    }

    /// The parameter whose part a view lies in.
    pub(super) fn parameter_of(&self, view: &View) -> Option<(usize, PartName)> {
        match self.memories[view.memory].kind {
            super::MemoryKind::Input { param, part } => Some((param, part)),
            _ => None,
        }
    }
}
