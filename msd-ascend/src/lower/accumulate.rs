//! Groups along the contraction added up: `sum_g f32(S_g) * (s_g * u_g)`, group by group into a tile that is kept.

use msd_ir::diag::Diagnostic;
use msd_ir::dtype::DType;
use msd_ir::graph::Value;
use msd_ir::math::Lanes;
use msd_ir::quant::scheme::Scheme;

use super::code::{Code, Extent, What};
use super::numbers::Number;
use super::region::{Merging, Region};
use super::schedule::{Scheduler, Stage};
use super::tiles::Fold;
use super::vector::{Pass, VectorStage};
use super::view::View;

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
        let merging = Merging {
            term: 0,
            weights,
            sums: p.dtype,
            parts: Some(parts),
            zero: None,
            is_whole: false,
            is_empty: false,
        };
        let root = Value { node: usize::MAX, result: 0 };
        let mut region = Region { merges: vec![(usize::MAX, merging)], ..Region::new(grouped.clone(), root) };
        for factor in &operands[1..] {
            let view = self.view_or_number(*factor)?.stretched(&grouped);
            region.leaves.push((*factor, view));
        }
        self.settle(&mut region)?;
        let mut code = Code::default();
        let Number::Float(sum) = region.compute(&mut code, self.kernel, self.chip)? else {
            return Err(super::region::internal("sums of groups that are no floats"));
        };
        let factors: Vec<Number> = region
            .leaves
            .iter()
            .map(|(of, view)| code.loaded(view, self.kernel.tensor_ty(*of).dtype, self.chip))
            .collect();
        let factors: Vec<_> = factors.into_iter().map(|factor| code.as_float(factor)).collect();
        let factor = code.mul(factors[0], factors[1]);
        let scaled = code.mul(sum, factor);
        let scaled = code.whole(scaled);
        let first = Pass { code, kept: vec![(scaled, Fold::Add)], groups: Some(groups), ..Pass::default() };
        let mut code = Code::default();
        let all = code.source(What::Kept(0), DType::F32, Extent::Tile);
        let result = code.output(Number::Float(all), out.dtype, self.chip);
        let last = Pass { code, outputs: vec![(result, out.clone())], ..Pass::default() };
        let stage = VectorStage { shape, passes: vec![first, last], is_rowwise: false, is_conversion: false, note };
        self.schedule.stages.push(Stage::Vector(stage));
        self.set(value, out);
        Ok(())
    }
}
