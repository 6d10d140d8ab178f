//! Groups along the contraction added up: `sum_g f32(S_g) * (s_g * u_g)`, group by group into a tile that is kept.

use msd_ir::diag::Diagnostic;
use msd_ir::dtype::DType;
use msd_ir::graph::{Kernel, Value};
use msd_ir::math::Lanes;
use msd_ir::ops::Op;
use msd_ir::quant::scheme::Scheme;

use super::code::{Code, Extent, What};
use super::numbers::Number;
use super::region::{Groups, Merging, Region, Term, internal};
use super::schedule::{Scheduler, Stage};
use super::tiles::Fold;
use super::vector::{Pass, VectorStage};
use super::view::View;
use crate::chip::Chip;

/// So few tokens that instructions on several groups of one are longer than those on all tokens of a group.
const FEW_TOKENS: i64 = 4;

impl Scheduler<'_> {
    /// A product of integers that the cube does not multiply: `k` after `k` on the vector cores, modulo 2^32.
    pub(crate) fn place_int_product(&mut self, value: Value) -> Result<(), Diagnostic> {
        let operands = self.kernel.node(value).operands.clone();
        let shape = self.shape(value).to_vec();
        let rank = shape.len();
        let k = self.shape(operands[0]).last().copied().unwrap_or(0);
        let mut grouped = shape.clone();
        grouped.insert(rank - 2, k);
        let out = self.home(value, crate::program::Purpose::Activation);
        // [.., K, M, 1] and [.., K, 1, N]
        let (a, b) = (self.view(operands[0])?, self.view(operands[1])?);
        let mut axes: Vec<usize> = (0..a.rank()).collect();
        axes.swap(a.rank() - 2, a.rank() - 1);
        let with_axis = |mut view: View, axis: usize| {
            view.shape.insert(axis, 1);
            view.strides.insert(axis, 0);
            view
        };
        let a = with_axis(a.transposed(&axes), a.rank()).stretched(&grouped);
        let b = with_axis(b.clone(), b.rank() - 1).stretched(&grouped);
        let mut region = Region::of_view(a);
        let root = region.root;
        region.leaves.push((root, b));
        self.settle(&mut region)?;
        let mut code = Code::default();
        let factors: Vec<Number> =
            region.leaves.iter().map(|(_, view)| code.loaded(view, view.dtype, self.chip)).collect();
        let (a, b) = (code.as_int(factors[0]), code.as_int(factors[1]));
        let product = code.binary(crate::isa::Op::Vmul, DType::I32, a, b);
        let product = code.whole(product);
        let first = Pass { code, kept: vec![(product, Fold::Add)], groups: Some(k), ..Pass::default() }.clean();
        let mut code = Code::default();
        let all = code.source(What::Kept(0), DType::I32, Extent::Tile);
        let result = code.output(Number::Int(all), out.dtype, self.chip);
        let last = Pass { code, outputs: vec![(result, out.clone())], ..Pass::default() }.clean();
        let (passes, note) = (vec![first, last], self.note(value));
        let stage = VectorStage { shape, passes, is_rowwise: false, is_conversion: false, note };
        self.schedule.stages.push(Stage::Vector(stage));
        self.set(value, out);
        Ok(())
    }

    /// `accumulate(p, s, u)`, or with a scheme that of the sums of its digits.
    pub(crate) fn place_accumulate(&mut self, value: Value, scheme: Option<Scheme>) -> Result<(), Diagnostic> {
        let operands = self.kernel.node(value).operands.clone();
        let note = self.note(value);
        let shape = self.shape(value).to_vec();
        let rank = shape.len();
        let products = self.shape(operands[0]).to_vec();
        let groups = products[products.len() - 3];
        let mut grouped = shape.clone();
        grouped.insert(rank - 2, groups);
        let out = self.home(value, crate::program::Purpose::Activation);
        let weights: Vec<i64> = scheme.map_or(vec![1], |scheme| scheme.weights().to_vec());
        let p = self.view(operands[0])?;
        let tokens = shape[rank - 2];
        let digit = |d: i64| p.sliced(p.rank() - 2, d * tokens, (d + 1) * tokens).stretched(&grouped);
        let parts: Vec<Vec<View>> = match scheme {
            Some(_) => (0..weights.len() as i64).map(|d| vec![digit(d)]).collect(),
            None => vec![vec![p.stretched(&grouped)]],
        };
        let merging = Merging { weights, parts: Some(parts), is_whole: false, ..Merging::alone(p.dtype) };
        let mut region = self.scaled(merging, &operands[1..], grouped)?;
        self.settle(&mut region)?;
        let times = self.numbers(&operands[1..]);
        let first = Pass { groups: Some(groups), ..region.scaled_sum(times, self.kernel, self.chip)? };
        let mut code = Code::default();
        let all = code.source(What::Kept(0), DType::F32, Extent::Tile);
        let result = code.output(Number::Float(all), out.dtype, self.chip);
        let last = Pass { code, outputs: vec![(result, out.clone())], ..Pass::default() };
        let stage = VectorStage { shape, passes: vec![first, last], is_rowwise: false, is_conversion: false, note };
        self.schedule.stages.push(Stage::Vector(stage));
        self.set(value, out);
        Ok(())
    }

    /// Sums of groups and their factors, over all groups.
    fn scaled(&mut self, merging: Merging, factors: &[Value], grouped: Vec<i64>) -> Result<Region, Diagnostic> {
        let root = Value { node: usize::MAX, result: 0 };
        let mut region = Region { merges: vec![(usize::MAX, merging)], ..Region::new(grouped.clone(), root) };
        let is_number = |v: &Value| matches!(self.kernel.node(*v).op, Op::Const { .. });
        for factor in factors.iter().filter(|v| !is_number(v)) {
            let view = self.view_or_number(*factor)?.stretched(&grouped);
            region.leaves.push((*factor, view));
        }
        Ok(region)
    }

    /// A product whose groups are added up as they leave the cube: what becomes of one, and its operands with all of
    /// the contraction in one axis.
    pub(crate) fn grouped(&mut self, value: Value) -> Result<(Groups, Term), Diagnostic> {
        let operands = self.kernel.node(value).operands.clone();
        let mut grouped = self.shape(value).to_vec();
        let product_rank = self.shape(operands[0]).len();
        let count = self.shape(operands[0])[product_rank - 3];
        grouped.insert(grouped.len() - 2, count);
        let (mut merging, term) = self.merging(operands[0], 0)?;
        let Some(mut term) = term.filter(|term| term.scales.is_none()) else {
            return Err(internal("groups that are not multiplied here"));
        };
        if let Op::AccumulateWide { scheme } = self.kernel.node(value).op {
            let digits = scheme.weights().len() as i64;
            let halves = merging.weights.clone();
            let all = halves.iter().flat_map(|half| scheme.weights().iter().map(move |w| half * w));
            merging.weights = all.collect();
            term.digits *= digits;
        }
        merging.is_whole = false;
        let mut region = self.scaled(merging, &operands[1..], grouped.clone())?;
        let rank = grouped.len();
        let are_rows = grouped[rank - 2] <= FEW_TOKENS;
        for view in region.views() {
            *view = view.stretched(&grouped);
            if are_rows {
                view.shape.swap(rank - 3, rank - 2);
                view.strides.swap(rank - 3, rank - 2);
            }
        }
        self.settle(&mut region)?;
        term.a = self.along_groups(&term.a)?;
        term.b = match term.b.reshaped(&without_groups(&term.b.shape)) {
            Some(by_rows) => by_rows,
            None => last_swapped(&self.along_groups(&last_swapped(&term.b))?),
        };
        let times = self.numbers(&operands[1..]);
        Ok((Groups { count, region, times, are_rows }, term))
    }

    /// The product of those that are numbers.
    fn numbers(&self, factors: &[Value]) -> f32 {
        let number = |v: &Value| match self.kernel.node(*v).op {
            Op::Const { bits } => f32::from_bits(bits),
            _ => 1.0,
        };
        factors.iter().map(number).product()
    }

    /// `[.., G, R, K]` as `[.., R, G*K]`.
    fn along_groups(&mut self, view: &View) -> Result<View, Diagnostic> {
        let rank = view.rank();
        let mut axes: Vec<usize> = (0..rank).collect();
        axes.swap(rank - 3, rank - 2);
        let turned = view.transposed(&axes);
        let mut shape = turned.shape.clone();
        shape[rank - 2] *= shape.remove(rank - 1);
        if let Some(whole) = turned.reshaped(&shape) {
            return Ok(whole);
        }
        let copy = self.whole_copy(&turned)?;
        copy.reshaped(&shape).ok_or_else(|| internal("groups that do not lie side by side"))
    }
}

impl Region {
    /// One group's sums times its factors and a number, kept to be added to those of the others.
    pub(crate) fn scaled_sum(&self, times: f32, kernel: &Kernel, chip: &Chip) -> Result<Pass, Diagnostic> {
        let mut code = Code::default();
        let Number::Float(sum) = self.compute(&mut code, kernel, chip)? else {
            return Err(internal("sums of groups that are no floats"));
        };
        let mut factor = (times != 1.0).then(|| code.number(times));
        for (of, view) in &self.leaves {
            let number = code.loaded(view, kernel.tensor_ty(*of).dtype, chip);
            let next = code.as_float(number);
            factor = Some(factor.map_or(next, |before| code.mul(before, next)));
        }
        let scaled = factor.map_or(sum, |factor| code.mul(sum, factor));
        let scaled = code.whole(scaled);
        let scaled = code.fresh(scaled);
        Ok(Pass { code, kept: vec![(scaled, Fold::Add)], ..Pass::default() }.clean())
    }
}

/// `[.., G, K, N]` with both parts of the contraction in one axis.
fn without_groups(shape: &[i64]) -> Vec<i64> {
    let mut shape = shape.to_vec();
    let length = shape.remove(shape.len() - 2);
    let groups = shape.len() - 2;
    shape[groups] *= length;
    shape
}

fn last_swapped(view: &View) -> View {
    let rank = view.rank();
    let mut axes: Vec<usize> = (0..rank).collect();
    axes.swap(rank - 2, rank - 1);
    view.transposed(&axes)
}
