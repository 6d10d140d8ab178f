//! Placing dequantization and matrix products: which operands are read where they lie, and which are
//! packed. Products of digits are `digits.rs`'s.

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dim::Dim;
use msd_ir::dtype::DType;
use msd_ir::graph::Value;
use msd_ir::ops::Op;
use msd_ir::types::{Part, Shape, Type};

use super::{
    GroupSum, Layout, MemoryKind, PartName, Region, Scheduler, Source, Step, View, Work, product, size, too_complex,
};
use crate::isa::internal;
use crate::tile::PANEL;

impl Scheduler<'_> {
    /// `dequant(w)` as a float tensor: an elementwise loop whose axes are split by group, so that a
    /// group's scale has stride 0 inside it.
    pub(super) fn place_dequant(&mut self, value: Value) -> Result<(), Diagnostic> {
        let operand = self.kernel.node(value).operands[0];
        let (Type::Quant(q), Op::Param { index }) = (self.kernel.ty(operand).clone(), &self.kernel.node(operand).op)
        else {
            return Err(internal("dequant of no parameter"));
        };
        let index = *index;
        let shape = self.shape(value);
        let parts: Vec<&Part> = std::iter::once(&q.scale).chain(&q.zero).collect();
        // Where groups overlap, those of the scale decide, and zero points are copied to each code.
        let common = block_sizes(shape.len(), &parts);
        let units = common.clone().or_else(|| block_sizes(shape.len(), &parts[..1])).ok_or_else(too_complex)?;
        let split = split_shape(&shape, &units)?;

        let mut leaves = Vec::new();
        let codes = self.memory(MemoryKind::Input { param: index, part: PartName::Codes });
        leaves.push(View::dense(codes, q.codes.dtype, split.clone()).ok_or_else(too_complex)?);
        for (part, name) in parts.iter().zip([PartName::Scale, PartName::Zero]) {
            let memory = self.memory(MemoryKind::Input { param: index, part: name });
            let own: Option<Shape> = part.ty.shape.iter().map(|d| d.with(self.fixed)).collect();
            let dense = View::dense(memory, part.ty.dtype, own.ok_or_else(too_complex)?).ok_or_else(too_complex)?;
            leaves.push(if common.is_some() || name == PartName::Scale {
                split_part(&dense, part, &split, &units)?
            } else {
                let own = block_sizes(shape.len(), &[*part]).ok_or_else(too_complex)?;
                let each = self.copy(&split_part(&dense, part, &split_shape(&shape, &own)?, &own)?, part.ty.dtype)?;
                View::dense(each.memory, each.dtype, split.clone()).ok_or_else(too_complex)?
            });
        }

        let wide_zero = q.zero.as_ref().is_some_and(|z| z.ty.dtype.is_float() || z.ty.dtype.bits() > 8);
        // Integers of 8 bits and small floats subtract exactly and multiply with one rounding in
        // F32; other zero points need F64, as the definition has it, before the one rounding.
        let dtype = if wide_zero { DType::F64 } else { DType::F32 };
        let mut steps = Vec::new();
        let mut centered = wide(&mut steps, 0, dtype);
        if q.zero.is_some() {
            let zero = wide(&mut steps, 2, dtype);
            steps.push(Step { op: Op::Sub, operands: vec![centered, zero], dtype });
            centered = Source::Step(steps.len() - 1);
        }
        let scale = wide(&mut steps, 1, dtype);
        steps.push(Step { op: Op::Mul, operands: vec![centered, scale], dtype });
        let product_step = Source::Step(steps.len() - 1);
        steps.push(Step { op: Op::Cast { dtype: DType::F32 }, operands: vec![product_step], dtype: DType::F32 });
        let root = Source::Step(steps.len() - 1);

        let out = self.buffer(DType::F32, shape)?;
        let window = View::dense(out.memory, DType::F32, split.clone()).ok_or_else(too_complex)?;
        self.push_map(Region { shape: split, leaves, steps, root }, window)?;
        self.set(value, out);
        Ok(())
    }

    /// The view with neighbouring elements along its last axis, copied if they are not.
    pub(super) fn rows_of(&mut self, view: View) -> Result<View, Diagnostic> {
        if view.stride_from_end(0).is_one() { Ok(view) } else { self.copy(&view, view.dtype) }
    }

    /// Whether the view lies in a parameter's own tensor, which is what packing reads; scales and
    /// zero points are not packed.
    pub(super) fn is_weight(&self, view: &View) -> bool {
        matches!(self.memories[view.memory].kind, MemoryKind::Input { part: PartName::Codes, .. })
    }

    /// The packed form of a parameter seen through `source`; shape and strides are the packed ones.
    pub(super) fn packed(&mut self, source: View, layout: Layout) -> Result<View, Diagnostic> {
        let MemoryKind::Input { param, .. } = self.memories[source.memory].kind else {
            return Err(internal("only parameters are packed"));
        };
        let shape = match layout {
            Layout::Rows { .. } => source.shape.clone(),
            Layout::Panels => panel_shape(&source)?,
        };
        let dtype = layout.stored(source.dtype);
        let memory = self.packed_memory(param, layout, source);
        View::dense(memory, dtype, shape).ok_or_else(too_complex)
    }

    pub(super) fn place_matmul(&mut self, value: Value) -> Result<(), Diagnostic> {
        if self.summing_user(value).is_some() {
            return Ok(());
        }
        let out = self.buffer(self.kernel.tensor_ty(value).dtype, self.shape(value))?;
        self.push_matmul(value, None, out.clone())?;
        self.set(value, out);
        Ok(())
    }

    /// The product `value`, or what `sum` makes of it, into `out`.
    pub(super) fn push_matmul(&mut self, value: Value, sum: Option<GroupSum>, out: View) -> Result<(), Diagnostic> {
        let (a, b) = (self.kernel.node(value).operands[0], self.kernel.node(value).operands[1]);
        let dtype = self.kernel.tensor_ty(value).dtype;
        let a = self.view_as(a, dtype)?;
        let a = self.rows_of(a)?;
        let b = self.view(b)?;
        let panels = if self.is_weight(&b) {
            self.packed(b, Layout::Panels)?
        } else {
            let out = self.buffer(b.dtype, panel_shape(&b)?)?;
            let batch = product(&b.shape[..b.shape.len() - 2])?;
            let cost = size(&b.shape);
            self.push(Work::Panels { b: b.clone(), out: out.clone() }, batch, b.size_from_end(0), PANEL as u64, cost)?;
            out
        };
        let batch = product(&out.shape[..out.shape.len() - 2])?;
        let cost = size(&self.shape(value)).and_then(|n| n.mul(&a.size_from_end(0)));
        let channels = out.size_from_end(0);
        self.push(Work::MatMul { a, panels, sum, out }, batch, channels, PANEL as u64, cost)
    }
}

/// A region operand of the loop's compute type.
fn wide(steps: &mut Vec<Step>, leaf: usize, dtype: DType) -> Source {
    steps.push(Step { op: Op::Cast { dtype }, operands: vec![Source::Leaf(leaf)], dtype });
    Source::Step(steps.len() - 1)
}

/// `[.., a, b]` seen as `[.., b, a]`.
pub(super) fn transposed(view: &View) -> View {
    let mut view = view.clone();
    let rank = view.shape.len();
    view.shape.swap(rank - 2, rank - 1);
    view.strides.swap(rank - 2, rank - 1);
    view
}

/// `[.., ceil(N/24), K, 24]`. A ceiling is no polynomial, so the number of channels must be known.
fn panel_shape(b: &View) -> Result<Shape, Diagnostic> {
    let mut shape = b.shape.clone();
    shape.truncate(b.shape.len() - 2);
    let channels = b.size_from_end(0).as_constant().ok_or_else(|| {
        let message = format!("the compiled kernel needs a size for `{}`", b.size_from_end(0));
        Diagnostic::new(Code::DimensionUnset, message).help("only token counts may stay open")
    })?;
    let panels = Dim::constant(channels.div_ceil(PANEL as u64));
    shape.extend([panels, b.size_from_end(1), Dim::constant(PANEL as u64)]);
    Ok(shape)
}

/// For each axis of the codes: block sizes, largest first and ending with 1, such that every
/// part's groups are whole blocks; nothing if groups overlap.
fn block_sizes(rank: usize, parts: &[&Part]) -> Option<Vec<Vec<u64>>> {
    let mut units = vec![vec![1]; rank];
    for part in parts {
        for (axis, along) in part.along.iter().enumerate() {
            if let Some(along) = along.as_ref().filter(|a| !units[axis].contains(&a.group)) {
                units[axis].push(along.group);
            }
        }
    }
    for sizes in &mut units {
        sizes.sort_unstable_by(|a, b| b.cmp(a));
    }
    units.iter().all(|sizes| sizes.windows(2).all(|pair| pair[0] % pair[1] == 0)).then_some(units)
}

/// Splits every axis into its blocks: `n/u0, u0/u1, ..., u_last` with `u_last` = 1.
fn split_shape(shape: &[Dim], units: &[Vec<u64>]) -> Result<Shape, Diagnostic> {
    let mut split = Vec::new();
    for (size, units) in shape.iter().zip(units) {
        split.push(size.div(&Dim::constant(units[0])).ok_or_else(too_complex)?);
        split.extend(units.windows(2).map(|pair| Dim::constant(pair[0] / pair[1])));
    }
    Ok(split)
}

/// A scale or zero point under the split axes of its codes: stride 0 inside a group.
fn split_part(dense: &View, part: &Part, split: &[Dim], units: &[Vec<u64>]) -> Result<View, Diagnostic> {
    let mut strides = Vec::new();
    for (along, units) in part.along.iter().zip(units) {
        for unit in units {
            strides.push(match along {
                Some(a) if *unit >= a.group => {
                    dense.strides[a.part_axis].mul(&Dim::constant(unit / a.group)).ok_or_else(too_complex)?
                }
                _ => Dim::constant(0),
            });
        }
    }
    Ok(View { shape: split.to_vec(), strides, ..dense.clone() })
}
