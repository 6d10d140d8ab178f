//! `dequant(w)` as elements: codes, scale and zero point of a parameter, with their axes split by group.

use msd_ir::diag::Diagnostic;
use msd_ir::dtype::DType;
use msd_ir::graph::Value;
use msd_ir::input::shape_under;
use msd_ir::math::Lanes;
use msd_ir::ops::Op;
use msd_ir::types::{Part as Aligned, Type, block_sizes};

use super::code::{Code, Reg};
use super::numbers::Number;
use super::region::{Region, internal};
use super::schedule::{Part, Scheduler, Stage};
use super::vector::{Pass, VectorStage};
use super::view::{View, merge_axes};
use crate::chip::Chip;
use crate::program::Purpose;

impl Scheduler<'_> {
    /// `dequant(w)` in a tensor of `to`: an elementwise region whose axes are split by group, so that a group's
    /// scale is the same inside it.
    ///
    /// One that is to be a factor of the cube keeps its rows.
    pub(crate) fn place_dequant(&mut self, value: Value, to: DType, is_factor: bool) -> Result<View, Diagnostic> {
        let shape = self.shape(value).to_vec();
        let out = self.tensor("dequantized", to, &shape, Purpose::Workspace);
        let (region, outs) = self.dequantized(value, std::slice::from_ref(&out), is_factor)?;
        let mut code = Code::default();
        let number = dequantize(&mut code, &region, self.chip);
        let reg = code.output(number, to, self.chip);
        let outputs = outs.into_iter().map(|out| (reg, out)).collect();
        let pass = Pass { code, outputs, ..Pass::default() }.clean();
        let stage = VectorStage {
            shape: region.shape,
            passes: vec![pass],
            is_rowwise: false,
            is_conversion: is_factor,
            note: self.note(value),
        };
        self.schedule.stages.push(Stage::Vector(stage));
        Ok(out)
    }

    /// The codes, the scale and the zero point of a dequantized parameter, and windows of its shape, all with their
    /// axes split by group.
    fn dequantized(
        &mut self,
        value: Value,
        outs: &[View],
        keeps_rows: bool,
    ) -> Result<(Region, Vec<View>), Diagnostic> {
        let operand = self.kernel.node(value).operands[0];
        let (Type::Quant(q), Op::Param { index }) = (self.kernel.ty(operand).clone(), &self.kernel.node(operand).op)
        else {
            return Err(internal("dequant of no parameter"));
        };
        let (index, shape) = (*index, self.shape(value).to_vec());
        let parts: Vec<&Aligned> = std::iter::once(&q.scale).chain(&q.zero).collect();
        // Where groups overlap, those of the scale decide, and zero points are copied to each code.
        let common = block_sizes(shape.len(), &parts);
        let alone = |part: &Aligned| {
            block_sizes(shape.len(), &[part]).ok_or_else(|| internal("groups that overlap themselves"))
        };
        let units = match &common {
            Some(units) => units.clone(),
            None => alone(&q.scale)?,
        };
        let split = split_axes(&shape, &units);
        let root = Value { node: usize::MAX, result: 0 };
        let mut leaves = Vec::new();
        let codes = self.part_view(index, Part::Codes, q.codes.dtype, &shape);
        let codes = codes.reshaped(&split).ok_or_else(|| internal("codes that do not split into groups"))?;
        leaves.push((root, codes));
        for (part, which) in parts.iter().zip([Part::Scale, Part::Zero]) {
            let own: Vec<i64> = shape_under(&part.ty.shape, self.sizes)?.iter().map(|n| *n as i64).collect();
            let dense = self.part_view(index, which, part.ty.dtype, &own);
            if common.is_some() || which == Part::Scale {
                leaves.push((root, split_part(&dense, part, &split, &units)));
            } else {
                let own = alone(part)?;
                let grouped = split_part(&dense, part, &split_axes(&shape, &own), &own);
                let each = self.repeated(&grouped, "a zero point for each code".to_string())?;
                let each = View::dense(each.tensor, each.dtype, shape.clone());
                leaves.push((root, each.reshaped(&split).ok_or_else(|| internal("zero points of another shape"))?));
            }
        }
        let outs: Option<Vec<View>> = outs.iter().map(|out| out.reshaped(&split)).collect();
        let mut outs = outs.ok_or_else(|| internal("a place that does not split into groups"))?;
        let mut region = Region { leaves, ..Region::new(split, root) };
        let mut shape = region.shape.clone();
        let outs_count = outs.len();
        let mut views = region.views();
        views.extend(outs.iter_mut());
        merge_axes(&mut shape, &mut views, keeps_rows, outs_count);
        region.shape = shape;
        self.settle(&mut region)?;
        Ok((region, outs))
    }
}

/// `scale * (code - zero)` of a region of a parameter's parts.
fn dequantize(code: &mut Code, region: &Region, chip: &Chip) -> Number {
    let parts: Vec<Number> = region.leaves.iter().map(|(_, view)| code.loaded(view, view.dtype, chip)).collect();
    let mut value: Reg = code.as_float(parts[0]);
    if let Some(zero) = parts.get(2) {
        let zero = code.as_float(*zero);
        value = code.sub(value, zero);
    }
    let scale = code.as_float(parts[1]);
    Number::Float(code.mul(value, scale))
}

/// Splits every axis into its blocks: `n/u0, u0/u1, ..`, the last unit being 1.
fn split_axes(shape: &[i64], units: &[Vec<u64>]) -> Vec<i64> {
    let of_axis = |(size, units): (&i64, &Vec<u64>)| -> Vec<i64> {
        let inner = units.windows(2).map(|pair| (pair[0] / pair[1]) as i64);
        [size / units[0] as i64].into_iter().chain(inner).collect()
    };
    shape.iter().zip(units).flat_map(of_axis).collect()
}

/// A scale or a zero point under the split axes of its codes: the same inside a group.
fn split_part(dense: &View, part: &Aligned, split: &[i64], units: &[Vec<u64>]) -> View {
    let strides = part.along.iter().zip(units).flat_map(|(along, units)| {
        units.iter().map(move |unit| match along {
            Some(a) if *unit >= a.group => dense.strides[a.part_axis] * (*unit / a.group) as i64,
            _ => 0,
        })
    });
    View { strides: strides.collect(), shape: split.to_vec(), ..dense.clone() }
}
