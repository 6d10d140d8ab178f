//! Which elementwise work behind a product its tiles do themselves: a chain of steps from merged sums to
//! elements of the result, each with one more operand in memory, such as scales, a bias or a residual.

use msd_ir::dim::Dim;
use msd_ir::dtype::DType;
use msd_ir::ops::Op;

use super::{Region, Source, Step, Term, View};
use crate::tile::{Along, Call, Finish, FinishStep, Operands, PANEL, StepOp, Sum};

/// The steps of a region that is stored in `out`, and the leaves they take, if tiles of machine code can do them.
pub(super) fn finish(region: &Region, out: &View, is_canonical: bool) -> Option<(Finish, Vec<View>)> {
    let [term] = region.terms.as_slice() else { return None };
    // Tiles store whole panels.
    let is_whole = out.size_from_end(0).as_constant().is_some_and(|n| n > 0 && n % PANEL as u64 == 0);
    let is_plain = out.dtype == DType::F32 && out.stride_from_end(0).is_one();
    if !is_whole || !is_plain || !leaves_floats(term) {
        return None;
    }
    let mut chain = Chain { region, value: Source::Term(0), wide: None, leaves: Vec::new(), steps: Vec::new() };
    for (index, step) in region.steps.iter().enumerate() {
        chain.add(index, step)?;
    }
    if chain.wide.is_some() || !chain.is_value(&region.root) {
        return None;
    }
    let mut finish = Finish { is_canonical, ..Finish::default() };
    for (slot, step) in finish.steps.iter_mut().zip(chain.steps) {
        *slot = Some(step);
    }
    Some((finish, chain.leaves))
}

/// Whether what a term is merged to is an F32 for each token and channel.
fn leaves_floats(term: &Term) -> bool {
    let is_exact = term.excess.is_none() && term.zero.is_none();
    is_exact
        && match (term.sum, term.operands) {
            (Sum::Whole { merge, .. }, Operands::Quads(_)) => merge.is_some(),
            (Sum::Whole { .. }, Operands::Floats { compute, .. }) => compute == DType::F32 && term.weights == [1],
            (Sum::Groups(form), _) => form.total == DType::F32,
            (Sum::Wide, _) => false,
        }
}

/// Steps so far.
struct Chain<'r> {
    region: &'r Region,
    /// What the last one gave.
    value: Source,
    /// The F64 that this is the product with, in F64, before it is rounded.
    wide: Option<usize>,
    leaves: Vec<View>,
    steps: Vec<FinishStep>,
}

impl Chain<'_> {
    fn is_value(&self, source: &Source) -> bool {
        match (source, &self.value) {
            (Source::Term(a), Source::Term(b)) | (Source::Step(a), Source::Step(b)) => a == b,
            _ => false,
        }
    }

    /// The leaf that a source is, as the F32 it equals or as what it is.
    fn leaf(&self, source: &Source) -> Option<usize> {
        match source {
            Source::Leaf(leaf) => Some(*leaf),
            Source::Step(step) => match (&self.region.steps[*step].op, self.region.steps[*step].operands.as_slice()) {
                (Op::Cast { dtype: DType::F32 }, [Source::Leaf(leaf)]) => Some(*leaf),
                _ => None,
            },
            _ => None,
        }
    }

    fn add(&mut self, index: usize, step: &Step) -> Option<()> {
        let operands = step.operands.as_slice();
        let value = Source::Step(index);
        match (&step.op, step.dtype, operands) {
            (Op::Cast { dtype: DType::F32 }, _, [source]) if self.is_value(source) => {
                if let Some(leaf) = self.wide.take() {
                    self.push(StepOp::Scale, false, leaf)?;
                }
                self.value = value;
            }
            // Whoever takes it sees through it.
            (Op::Cast { dtype: DType::F32 }, _, [Source::Leaf(_)]) => {}
            (Op::Mul, DType::F64, [source, Source::Leaf(leaf)]) if self.is_value(source) && self.wide.is_none() => {
                (self.wide, self.value) = (Some(*leaf), value);
            }
            (Op::Add | Op::Sub | Op::Mul, DType::F32, [a, b]) if self.wide.is_none() => {
                let op = match step.op {
                    Op::Add => StepOp::Add,
                    Op::Sub => StepOp::Subtract,
                    _ => StepOp::Multiply,
                };
                let (is_leaf_first, leaf) = match (self.is_value(a), self.is_value(b)) {
                    (true, false) => (false, self.leaf(b)?),
                    (false, true) => (true, self.leaf(a)?),
                    _ => return None,
                };
                self.push(op, is_leaf_first, leaf)?;
                self.value = value;
            }
            _ => return None,
        }
        Some(())
    }

    fn push(&mut self, op: StepOp, is_leaf_first: bool, leaf: usize) -> Option<()> {
        let view = &self.region.leaves[leaf];
        let (per_token, per_channel) = (view.stride_from_end(1), view.stride_from_end(0));
        let along = match (per_channel.as_constant()?, per_token == Dim::constant(0)) {
            (0, _) => Along::Tokens,
            (1, true) => Along::Channels,
            (1, false) => Along::Both,
            _ => return None,
        };
        let is_known = match (op, along) {
            (StepOp::Scale, Along::Tokens) => view.dtype == DType::F64,
            (StepOp::Scale, _) => false,
            (_, Along::Tokens) => view.dtype == DType::F32,
            (_, Along::Channels | Along::Both) => matches!(view.dtype, DType::F32 | DType::BF16),
        };
        if !is_known || self.leaves.len() == Call::LEAVES.len() {
            return None;
        }
        self.steps.push(FinishStep { op, is_leaf_first, leaf: self.leaves.len(), dtype: view.dtype, along });
        self.leaves.push(view.clone());
        Some(())
    }
}
