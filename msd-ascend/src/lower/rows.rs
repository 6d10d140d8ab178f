//! Work on whole rows: what it needs to know of a row, and what it makes of each element then. A row that fits UB is
//! loaded once; a longer one in chunks, once for each thing to know and once more.

use msd_ir::diag::Diagnostic;
use msd_ir::dtype::DType;
use msd_ir::graph::{Kernel, Value};
use msd_ir::math::Lanes;
use msd_ir::ops::Op as Node;

use super::code::{Code, Condition, Extent, Reg, What};
use super::numbers::Number;
use super::region::Region;
use super::schedule::{Scheduler, Stage};
use super::slots::TileSize;
use super::tiles::Fold;
use super::vector::{Pass, VectorStage};
use super::view::{View, merge_axes};
use crate::chip::Chip;
use crate::isa::Op;

/// What is done with rows.
pub(crate) trait RowWork {
    /// How many numbers of a row it needs.
    fn stats(&self) -> usize;
    /// What the next of them sums up, from those before.
    fn stat(&self, code: &mut Code, x: Number, before: &[Reg]) -> (Reg, Fold);
    /// What is stored, `x` and what else was loaded for each element.
    fn finish(&self, code: &mut Code, x: &[Number], stats: &[Reg], outs: &[View], chip: &Chip) -> Vec<(Reg, View)>;
    /// The numbers of a row without elements.
    fn of_nothing(&self) -> Vec<f32>;
}

impl Scheduler<'_> {
    /// Row by row: `work` on the rows of `value`.
    pub(crate) fn push_rows(
        &mut self,
        value: Value,
        work: &dyn RowWork,
        outs: &[View],
        note: String,
    ) -> Result<(), Diagnostic> {
        let region = self.region(value)?;
        self.push_rows_of(region, work, outs, note)
    }

    /// The same on the rows of a region.
    pub(crate) fn push_rows_of(
        &mut self,
        mut region: Region,
        work: &dyn RowWork,
        outs: &[View],
        note: String,
    ) -> Result<(), Diagnostic> {
        let mut shape = region.shape.clone();
        let mut outs = outs.to_vec();
        let mut views = region.views();
        views.extend(outs.iter_mut());
        // Outputs have rows of their own lengths; what is outside of rows is the same.
        let saved: Vec<(i64, i64)> = views
            .iter()
            .map(|v| (v.shape.last().copied().unwrap_or(1), v.strides.last().copied().unwrap_or(0)))
            .collect();
        for view in &mut views {
            if let Some(last) = view.shape.last_mut() {
                *last = shape.last().copied().unwrap_or(1);
            }
        }
        merge_axes(&mut shape, &mut views, true, 0);
        for (view, (size, _)) in views.into_iter().zip(saved) {
            if let Some(last) = view.shape.last_mut() {
                *last = size;
            }
        }
        region.shape = shape;
        self.settle(&mut region)?;
        let stage = stage(work, &region, &outs, self.kernel, self.chip)?;
        self.schedule.stages.push(Stage::Vector(VectorStage { note, ..stage }));
        Ok(())
    }
}

/// The stage that does `work` on the rows of a region.
///
/// # Errors
/// If the region is none that vector cores compute.
pub(crate) fn stage(
    work: &dyn RowWork,
    region: &Region,
    outs: &[View],
    kernel: &Kernel,
    chip: &Chip,
) -> Result<VectorStage, Diagnostic> {
    let (shape, cols) = (region.shape.clone(), region.shape.last().copied().unwrap_or(0));
    // A number for each row lies in the same place whatever the column.
    let mut outs = outs.to_vec();
    for out in outs.iter_mut().filter(|out| out.shape.last() == Some(&1)) {
        if let Some(last) = out.strides.last_mut() {
            *last = 0;
        }
    }
    let outs = &outs;
    let stage =
        |shape, passes| VectorStage { shape, passes, is_rowwise: true, is_conversion: false, note: String::new() };
    if cols == 0 {
        let mut code = Code::default();
        let numbers: Vec<Reg> = work.of_nothing().into_iter().map(|n| code.number(n)).collect();
        let stats: Vec<Reg> = numbers.into_iter().map(|n| code.column(n)).collect();
        let nothing = Number::Float(code.number(0.0));
        let mut outputs = work.finish(&mut code, &[nothing; 2], &stats, outs, chip);
        outputs.retain(|(_, view)| view.count() > 0);
        let mut shape = shape;
        if let Some(last) = shape.last_mut() {
            *last = 1;
        }
        return Ok(stage(shape, vec![Pass { code, outputs, ..Pass::default() }]));
    }
    let mut code = Code::default();
    let x = region.compute(&mut code, kernel, chip)?;
    let mut stats = Vec::new();
    for _ in 0..work.stats() {
        let (of, fold) = work.stat(&mut code, x, &stats);
        stats.push(code.reduce(reduction_op(fold), of));
    }
    let with_others = |code: &mut Code, x: Number| -> Vec<Number> {
        // A region of windows alone has the elements first, and others behind them.
        let others = if region.nodes.is_empty() { region.leaves.get(1..).unwrap_or_default() } else { &[] };
        let others = others.iter().map(|(_, view)| code.loaded(view, view.dtype, chip));
        [x].into_iter().chain(others).collect()
    };
    let all = with_others(&mut code, x);
    let outputs = work.finish(&mut code, &all, &stats, outs, chip);
    let whole = Pass { code, outputs, ..Pass::default() }.clean();
    let rows: i64 = shape[..shape.len() - 1].iter().product();
    let cores = (*chip.cores.cube * *chip.cores.vectors_per_cube) as i64;
    let depth = if rows <= cores { 1 } else { 2 };
    let row = whole.slots(&[], TileSize { rows: 1, cols }, (0, depth)).end;
    if row <= *chip.memory.ub as i64 && cols <= super::vector::MAX_COLS {
        return Ok(stage(shape, vec![whole]));
    }
    let mut passes = Vec::new();
    for which in 0..=work.stats() {
        let mut code = Code::default();
        let x = region.compute(&mut code, kernel, chip)?;
        let stats: Vec<Reg> = (0..which).map(|i| code.source(What::Kept(i), DType::F32, Extent::Column)).collect();
        passes.push(if which == work.stats() {
            let all = with_others(&mut code, x);
            let outputs = work.finish(&mut code, &all, &stats, outs, chip);
            Pass { code, outputs, ..Pass::default() }.clean()
        } else {
            let (of, fold) = work.stat(&mut code, x, &stats);
            let kept = vec![(code.reduce(reduction_op(fold), of), fold)];
            Pass { code, kept, ..Pass::default() }.clean()
        });
    }
    Ok(stage(shape, passes))
}

fn reduction_op(fold: Fold) -> Op {
    match fold {
        Fold::Max => Op::Vrmax,
        Fold::Add => Op::Vrsum,
    }
}

/// A reduction, or a softmax.
pub(crate) fn reduction(op: &Node, dtype: DType) -> Box<dyn RowWork> {
    match op {
        Node::Sum => Box::new(Reduction { fold: Fold::Add, dtype }),
        Node::Amax => Box::new(Reduction { fold: Fold::Max, dtype }),
        _ => Box::new(Softmax),
    }
}

struct Reduction {
    fold: Fold,
    dtype: DType,
}

impl RowWork for Reduction {
    fn stats(&self) -> usize {
        1
    }

    fn stat(&self, code: &mut Code, x: Number, _: &[Reg]) -> (Reg, Fold) {
        (code.as_float(x), self.fold)
    }

    fn finish(&self, code: &mut Code, _: &[Number], stats: &[Reg], outs: &[View], chip: &Chip) -> Vec<(Reg, View)> {
        let number = code.converted(Number::Float(stats[0]), self.dtype, chip);
        let stored = code.narrowed(number, outs[0].dtype, chip);
        vec![(code.fresh(stored), outs[0].clone())]
    }

    fn of_nothing(&self) -> Vec<f32> {
        vec![self.fold.start()]
    }
}

struct Softmax;

impl Softmax {
    /// `exp(x - max)`, and 0 in a row of minus infinities.
    fn exponential(code: &mut Code, x: Number, max: Reg) -> Reg {
        let x = code.as_float(x);
        let lowest = code.number(f32::NEG_INFINITY);
        let zero = code.number(0.0);
        let is_empty = code.compare(Condition::Eq, DType::F32, max, lowest);
        let max = code.choose(is_empty, zero, max);
        let shifted = code.sub(x, max);
        code.unary(Op::Vexp, DType::F32, shifted)
    }
}

impl RowWork for Softmax {
    fn stats(&self) -> usize {
        2
    }

    fn stat(&self, code: &mut Code, x: Number, before: &[Reg]) -> (Reg, Fold) {
        match before {
            [] => (code.as_float(x), Fold::Max),
            [max, ..] => (Softmax::exponential(code, x, *max), Fold::Add),
        }
    }

    fn finish(&self, code: &mut Code, x: &[Number], stats: &[Reg], outs: &[View], chip: &Chip) -> Vec<(Reg, View)> {
        let part = Softmax::exponential(code, x[0], stats[0]);
        // A row of zeros is divided by something.
        let (zero, one) = (code.number(0.0), code.number(1.0));
        let is_zero = code.compare(Condition::Eq, DType::F32, stats[1], zero);
        let sum = code.choose(is_zero, one, stats[1]);
        let result = code.div(part, sum);
        vec![(code.output(Number::Float(result), outs[0].dtype, chip), outs[0].clone())]
    }

    fn of_nothing(&self) -> Vec<f32> {
        vec![f32::NEG_INFINITY, 0.0]
    }
}
