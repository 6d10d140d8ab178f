//! Placing dequantization and matrix products: which operands are read where they lie, and which are
//! packed. Products of digits are `digits.rs`'s.

use msd_ir::diag::Diagnostic;
use msd_ir::dim::Dim;
use msd_ir::dtype::DType;
use msd_ir::graph::Value;
use msd_ir::ops::Op;
use msd_ir::types::{Part, Shape, Type, block_sizes};

use super::{
    Layout, Memory, MemoryKind, Packing, PartName, Pending, Product, Region, RowLayout, Scheduler, Source, Step, Term,
    View, Work, finish, product, size, too_complex,
};
use crate::blocking::{Limits, area_bytes};
use crate::isa::internal;
use crate::tile::{Operands, PANEL, Sum};

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
        self.push_map(Region { leaves, steps, root, ..Region::new(split) }, window)?;
        self.set(value, out);
        Ok(())
    }

    /// `source [.., K, N]` in panels: of a parameter packed before the call, else by a stage of the kernel.
    pub(super) fn packed(&mut self, source: View, layout: Layout) -> Result<View, Diagnostic> {
        if let Some((param, part)) = self.parameter_of(&source) {
            let kind = MemoryKind::Packed { param, part, layout: layout.clone() };
            let is_same = |m: &&Memory| m.kind == kind && m.packing.as_ref().is_some_and(|p| p.source == source);
            if let Some(packing) = self.memories.iter().find(is_same).and_then(|m| m.packing.as_ref()) {
                return Ok(packing.packed.clone());
            }
            let (packed, elements) = layout.packed(&source, self.memories.len())?;
            let packing = Packing { source, packed: packed.clone(), elements };
            self.memories.push(Memory { kind, packing: Some(packing) });
            return Ok(packed);
        }
        let known = self.stages.iter().find_map(|s| match &s.work {
            Work::Pack { source: of, layout: by, out } if *of == source && *by == layout => Some(out.clone()),
            _ => None,
        });
        if let Some(out) = known {
            return Ok(out);
        }
        let (view, elements) = layout.packed(&source, 0)?;
        let bytes = elements.mul(&Dim::constant(view.dtype.host_bytes() as u64)).ok_or_else(too_complex)?;
        let out = View { memory: self.memory(MemoryKind::Buffer { bytes }), ..view };
        let batch = product(&source.shape[..source.shape.len() - 2])?;
        let (channels, cost) = (source.size_from_end(0), size(&source.shape));
        self.push(Work::Pack { source, layout, out: out.clone() }, batch, channels, PANEL as u64, cost)?;
        Ok(out)
    }

    pub(super) fn place_matmul(&mut self, value: Value) -> Result<(), Diagnostic> {
        if self.summing_user(value).is_some() {
            return Ok(());
        }
        let term = self.float_term(value)?;
        self.finish_term(value, term)
    }

    /// The product of two plain operands, floats or integers.
    pub(super) fn float_term(&mut self, value: Value) -> Result<Term, Diagnostic> {
        let (a, b) = (self.kernel.node(value).operands[0], self.kernel.node(value).operands[1]);
        let compute = self.kernel.tensor_ty(value).dtype;
        let (x, b) = (self.view(a)?, self.view(b)?);
        let layout = Layout::columns(b.dtype);
        let operands = Operands::Floats { panel: layout.stored(b.dtype), compute };
        let w = self.packed(b, layout)?;
        let sum = Sum::Whole { has_start: false, merge: None };
        Ok(Term { x, w, operands, sum, weights: &[1], start: None, excess: None, zero: None, groups: None })
    }

    /// Leaves a product to the loop it melts into, or computes it.
    pub(super) fn finish_term(&mut self, value: Value, term: Term) -> Result<(), Diagnostic> {
        if self.melts[value.node] {
            self.pending[value.node] = Some(Pending { term, place: None });
            return Ok(());
        }
        let view = self.materialize(value, term)?;
        self.set(value, view);
        Ok(())
    }

    /// A product in memory of its own.
    pub(super) fn materialize(&mut self, value: Value, term: Term) -> Result<View, Diagnostic> {
        let out = self.buffer(self.kernel.tensor_ty(value).dtype, self.shape(value))?;
        let mut region = Region::new(out.shape.clone());
        region.terms.push(term);
        region.root = Source::Term(0);
        self.push_product(region, out.clone())?;
        Ok(out)
    }

    /// The pending product `value` as a source of the region it melts into.
    pub(super) fn term_of(&mut self, region: &mut Region, value: Value) -> Option<Source> {
        let pending = self.pending[value.node].as_mut()?;
        let place = *pending.place.get_or_insert_with(|| {
            region.terms.push(pending.term.clone());
            region.terms.len() - 1
        });
        Some(Source::Term(place))
    }

    pub(super) fn push_product(&mut self, region: Region, out: View) -> Result<(), Diagnostic> {
        let batch = product(&out.shape[..out.shape.len() - 2])?;
        let channels = out.size_from_end(0);
        let mut cost = Some(Dim::constant(0));
        let limits = Limits::new(&region.terms, self.emitter);
        let (mut rows, mut scratch) = (Vec::new(), Vec::new());
        for (index, term) in region.terms.iter().enumerate() {
            let macs = size(&[&batch, &channels, &term.x.size_from_end(1), &term.x.size_from_end(0)].map(Dim::clone));
            cost = cost.zip(macs).and_then(|(a, b)| a.add(&b));
            let bytes = limits.areas(channels.as_constant()) * area_bytes(term, limits.emitter(index)) as u64;
            scratch.push(self.scratch(Some(Dim::constant(bytes)))?);
            rows.push(self.packed_rows(&term.x, RowLayout::of(term, &limits, index))?);
        }
        let is_result = matches!(self.memories[out.memory].kind, MemoryKind::Output { .. });
        let finish = if limits.are_machine() { finish::finish(&region, &out, is_result) } else { None };
        let product = Product { region, out, limits, finish, rows, scratch };
        self.push(Work::Product(Box::new(product)), batch, channels, PANEL as u64, cost)
    }

    /// Rows `[.., D*M, K]` in blocks of tokens, by a stage of the kernel.
    fn packed_rows(&mut self, source: &View, layout: RowLayout) -> Result<View, Diagnostic> {
        let known = self.stages.iter().find_map(|s| match &s.work {
            Work::PackRows { source: of, layout: by, out } if of == source && *by == layout => Some(out.clone()),
            _ => None,
        });
        if let Some(out) = known {
            return Ok(out);
        }
        let (view, elements) = layout.packed(source, 0)?;
        let bytes = elements.mul(&Dim::constant(view.dtype.host_bytes() as u64)).ok_or_else(too_complex)?;
        let out = View { memory: self.memory(MemoryKind::Buffer { bytes }), ..view };
        let batch = product(&source.shape[..source.shape.len() - 2])?;
        let (tokens, cost) = (out.size_from_end(1), size(&source.shape));
        let work = Work::PackRows { source: source.clone(), layout, out: out.clone() };
        self.push(work, batch, tokens, 1, cost)?;
        Ok(out)
    }

    /// Memory of each thread.
    pub(super) fn scratch(&mut self, bytes: Option<Dim>) -> Result<usize, Diagnostic> {
        let bytes = bytes.ok_or_else(too_complex)?;
        self.memories.push(Memory { kind: MemoryKind::Scratch { bytes }, packing: None });
        Ok(self.memories.len() - 1)
    }
}

/// A region operand of the loop's compute type.
fn wide(steps: &mut Vec<Step>, leaf: usize, dtype: DType) -> Source {
    steps.push(Step { op: Op::Cast { dtype }, operands: vec![Source::Leaf(leaf)], dtype });
    Source::Step(steps.len() - 1)
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
