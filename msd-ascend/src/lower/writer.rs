//! Stages as instructions: for each product how it is cut, what vector cores do beside it, and where its sums go. Owns
//! the order of these and how UB and flags are shared between what runs at the same time.

use msd_ir::diag::{Code as Fault, Diagnostic};
use msd_ir::dtype::DType;
use msd_ir::graph::Kernel;

use super::blocking::{Blocking, Right, Sizes, Work};
use super::builder::Builder;
use super::code::Code;
use super::cube::{self, Emission, Target, VectorWork};
use super::estimate::Estimate;
use super::model::{Ledger, Model};
use super::phases::Phases;
use super::product::ProductStage;
use super::region::Term;
use super::schedule::Stage;
use super::slots::TileSize;
use super::tiles::Body;
use super::vector::{Pass, VectorStage, fitting};
use super::view::View;
use super::{Options, loads};
use crate::chip::Chip;
use crate::isa::memory::Core;
use crate::isa::region::{FRACTAL, ceil, round_up};
use crate::program::{Program, Purpose};

/// Places of a right operand's tiles on their way through UB, as conversions are too short to hide one load or store.
const CONVERSION_DEPTH: i64 = 4;

/// Rows of sums that leave UB's room to conversions, where one instruction for more of them saves little.
const MERGED_ROWS: i64 = 8;

/// Sums of groups that are loaded ahead, where flags are left.
const GROUP_DEPTH: i64 = 4;

/// Writes stages one after the other.
pub(super) struct Writer<'c> {
    builder: Builder,
    phases: Phases,
    kernel: &'c Kernel,
    chip: &'c Chip,
    options: &'c Options,
    /// Cycles of vector cores that cube cores have not waited for.
    ahead: f64,
    ledger: Ledger,
}

impl<'c> Writer<'c> {
    pub(super) fn new(
        builder: Builder,
        kernel: &'c Kernel,
        chip: &'c Chip,
        options: &'c Options,
        given: Vec<u16>,
    ) -> Self {
        let ledger = Ledger::new(given, chip);
        Writer { builder, phases: Phases::default(), kernel, chip, options, ahead: 0.0, ledger }
    }

    /// The program, what has become of the numbers of its tensors, and what it would cost by formulas.
    pub(super) fn finish(mut self) -> (Program, Vec<u16>, Model) {
        self.ledger.takes(self.ahead);
        let (mut program, numbers) = self.builder.finish();
        if program.cube.is_empty() && program.vector.is_empty() {
            // Nothing to compute: one core does it.
            program.blocks = crate::expr::Expr::from(1);
        }
        (program, numbers, self.ledger.finish())
    }

    pub(super) fn stage(&mut self, stage: Stage) -> Result<(), Diagnostic> {
        match stage {
            Stage::Vector(stage) => self.vector(stage),
            Stage::Copy(copy) => {
                self.phases.before_vector(&mut self.builder, [&copy.from].into_iter());
                let written = copy.to.tensor;
                let moved = (std::slice::from_ref(&copy.from), std::slice::from_ref(&copy.to));
                self.ledger.moves((moved.0, 1), moved.1, self.builder.tensors());
                self.ahead += copy.cycles(self.chip);
                copy.emit(&mut self.builder, self.chip);
                self.phases.wrote(Core::Vector, [written]);
            }
            Stage::Product(product) => self.product(*product)?,
        }
        self.phases.next();
        Ok(())
    }

    fn vector(&mut self, stage: VectorStage) {
        let reads: Vec<View> = stage.passes.iter().flat_map(|pass| loads(&pass.code)).collect();
        let awaited = self.phases.awaited(&mut self.builder, reads.iter());
        let cycles = stage.cycles(self.chip) + 2.0 * *self.chip.latency.cross_core as f64;
        let outputs = stage.passes.iter().flat_map(|pass| &pass.outputs);
        let writes: Vec<View> = outputs.map(|(_, view)| view.clone()).collect();
        self.ledger.moves((&reads, 1), &writes, self.builder.tensors());
        let written: Vec<u16> = writes.iter().map(|view| view.tensor).collect();
        stage.emit(&mut self.builder, self.chip, &awaited);
        self.phases.wrote(Core::Vector, written);
        self.ahead += cycles;
    }

    fn product(&mut self, mut stage: ProductStage) -> Result<(), Diagnostic> {
        let chip = self.chip;
        let mut conversions = std::mem::take(&mut stage.conversions);
        let is_direct = stage.is_bare(self.kernel);
        if self.options.merges_in_fix {
            stage.merge_early();
        }
        let passes = Passes {
            merging: if is_direct { None } else { Some(stage.pass(self.kernel, chip)?) },
            groups: match &stage.groups {
                Some(groups) => Some(groups.region.scaled_sum(groups.times, self.kernel, chip)?),
                None => None,
            },
        };
        let is_near = !conversions.is_empty() || self.phases.has_written(stage.terms[0].b.tensor);
        let work = self.work(&stage, &conversions, &passes);
        let rights = self.rights(&stage, &conversions);
        let plans = rights.into_iter().filter_map(|right| {
            let sizes = Sizes::of(&stage, (right, is_near), work, chip)?;
            Plan::of(&stage, &conversions, (sizes, Blocking::choose(&sizes, chip)?), chip)
        });
        let Some(plan) = plans.min_by(|a, b| a.cycles().total_cmp(&b.cycles())) else {
            let message = format!("no tile of a product fits the memories of {}", chip.name);
            return Err(Diagnostic::new(Fault::NotOnChip, message).help("look at `memory` of the chip"));
        };
        let Plan { sizes, blocking, estimate, beforehand } = plan;
        if sizes.right == Right::MadeInL1 {
            // They come in the order of the terms.
            conversions.sort_by_key(|conversion| stage.term_of(conversion));
        }
        if let Some(cycles) = beforehand {
            for conversion in std::mem::take(&mut conversions) {
                self.vector(conversion);
                self.phases.next();
            }
            // Nothing of the product can be loaded before.
            self.ledger.takes(cycles);
        }
        let parts = (&sizes, &blocking, &estimate);
        self.ledger.product(&stage, parts, is_direct && blocking.splits == 1, (self.builder.tensors(), chip));
        match blocking.splits {
            1 => self.product_by_tiles(&stage, (sizes, blocking), conversions, passes),
            _ => self.product_in_parts(stage, sizes, blocking)?,
        }
        Ok(())
    }

    /// Where the right operand of a product may come from.
    fn rights(&self, stage: &ProductStage, conversions: &[VectorStage]) -> Vec<Right> {
        if conversions.is_empty() {
            return vec![Right::Given];
        }
        if self.options.reuses_workspace {
            return vec![Right::MadeAgain];
        }
        let mut made: Vec<Option<usize>> = conversions.iter().map(|conversion| stage.term_of(conversion)).collect();
        made.sort_unstable();
        let is_one_each = made.into_iter().eq((0..stage.terms.len()).map(Some));
        let rank = stage.shape.len();
        let fits = |conversion: &VectorStage| {
            // Whole fractals of whole columns of the product.
            let tile = TileSize { rows: FRACTAL, cols: 64 };
            let pass = &conversion.passes[0];
            conversion.shape == [stage.shape[rank - 1], stage.terms[0].k()]
                && pass.outputs.len() == 1
                && pass.slots(&[], tile, (0, CONVERSION_DEPTH)).end <= *self.chip.memory.ub as i64 / 4
        };
        let is_short = conversions.len() <= 2 && conversions.iter().all(fits);
        match *self.chip.abilities.ub_to_l1 && stage.groups.is_none() && is_one_each && is_short {
            true => vec![Right::MadeInL1, Right::Made],
            false => vec![Right::Made],
        }
    }

    /// What vector cores do beside a product.
    fn work(&self, stage: &ProductStage, conversions: &[VectorStage], passes: &Passes) -> Work {
        let chip = self.chip;
        let cycles = |pass: &Pass, shape: &[i64]| pass.code.cycles(1, shape.last().copied().unwrap_or(1), chip);
        let room = |pass: &Pass, depth: i64| {
            let tile = TileSize { rows: 8, cols: 256 };
            pass.slots(&[], tile, (0, depth)).end as f64 / (tile.rows * tile.cols) as f64
        };
        let made = || conversions.iter().map(|conversion| (&conversion.passes[0], &conversion.shape));
        // Of a term each.
        let of_term = |of: &dyn Fn(&Pass, &[i64]) -> f64| {
            made().map(|(pass, shape)| of(pass, shape)).sum::<f64>() / stage.terms.len() as f64
        };
        let mut work = Work {
            convert: of_term(&|pass, shape| cycles(pass, shape)),
            source: of_term(&|pass, _| pass.code.loaded_bytes()),
            made: conversions.len() as i64,
            loads: of_term(&|pass, _| loads(&pass.code).len() as f64),
            ahead: self.ahead,
            ..Work::default()
        };
        work.chains[2] = of_term(&|pass, _| pass.code.chain(chip));
        let rooms = made().map(|(pass, _)| room(pass, CONVERSION_DEPTH));
        work.rooms[1] = if take_turns(conversions) { rooms.fold(0.0, f64::max) } else { rooms.sum() };
        if let Some(pass) = &passes.merging {
            work.merge = cycles(pass, &stage.shape);
            work.chains[0] = pass.code.chain(chip);
        }
        if let (Some(pass), Some(groups)) = (&passes.groups, &stage.groups) {
            work.merge += groups.count as f64 * (cycles(pass, &stage.shape) + pass.code.added(chip));
            // Rows of groups are added up by halves.
            let halves = if groups.are_rows { 4 } else { 0 };
            let wait = *chip.latency.vector_start + *chip.latency.vector_tail;
            work.chains[1] = pass.code.chain(chip) + (halves * wait) as f64;
            work.rooms[0] = room(pass, GROUP_DEPTH);
        }
        work
    }

    /// A product whose tiles are each one core's, with what vector cores do beside.
    fn product_by_tiles(
        &mut self,
        stage: &ProductStage,
        (sizes, blocking): (Sizes, Blocking),
        conversions: Vec<VectorStage>,
        passes: Passes,
    ) {
        let chip = self.chip;
        let is_direct = passes.merging.is_none();
        let mut vector = VectorWork::default();
        let mut reads = Vec::new();
        let mut left = Left { base: 0, flags: 0 };
        let ub = *chip.memory.ub as i64;
        let rows = ceil(blocking.tokens.min(sizes.tokens), *chip.cores.vectors_per_cube as i64);
        // Of the rest of UB, sums become results in a few rows at a time.
        let all = match (&passes.groups, &passes.merging) {
            (Some(_), _) => ub / 3,
            (None, Some(pass)) => {
                let tile = TileSize { rows: rows.min(MERGED_ROWS), cols: blocking.cols };
                (ub - pass.slots(&[], tile, (0, 2)).end).max(ub * 3 / 4)
            }
            (None, None) => ub,
        };
        // The first of two or more has the most to do.
        let limits = if passes.groups.is_some() { [all; 2] } else { [all, all / 2] };
        let is_one = take_turns(&conversions);
        let depth = if is_one { CONVERSION_DEPTH } else { 2 };
        let start = left;
        for (index, conversion) in conversions.into_iter().enumerate() {
            if is_one {
                left = start;
            }
            let limit = limits[usize::from(!is_one && index == 0)];
            let made: Vec<View> = conversion.passes[0].outputs.iter().map(|(_, view)| view.clone()).collect();
            let read = loads(&conversion.passes[0].code);
            // Made once more for each tile of tokens.
            let (times, stored) = match sizes.right {
                Right::MadeInL1 => (blocking.tiles(&sizes).0, [].as_slice()),
                _ => (1, made.as_slice()),
            };
            self.ledger.moves((&read, times), stored, self.builder.tensors());
            reads.extend(read);
            match sizes.right {
                Right::MadeAgain => self.shrink(&made, 2 * blocking.cols),
                Right::MadeInL1 => made.iter().for_each(|view| self.builder.drop_tensor(view.tensor)),
                Right::Given | Right::Made => {}
            }
            vector.conversions.extend(self.conversion(conversion, (&sizes, &blocking), &mut left, (limit, depth)));
        }
        vector.shares_places = is_one;
        let target = match passes.merging {
            None => Target::Result(stage.out.clone()),
            Some(pass) => {
                let places = blocking.turns * blocking.batch;
                let terms = stage.terms.len() as i64;
                let shape = [*chip.cores.cube as i64, places, terms, blocking.rows(&sizes), blocking.cols];
                let tensor = self.builder.tensor("sums", stage.sums(), &shape, Purpose::Accumulator);
                if let (Some(pass), Some(groups)) = (passes.groups, &stage.groups) {
                    reads.extend(loads(&pass.code));
                    vector.groups = Some(self.groups(pass, groups.are_rows, (&blocking, rows), &mut left));
                }
                reads.extend(loads(&pass.code));
                let kept: Vec<i64> = vector.groups.iter().flat_map(|g| &g.folds).map(|(.., place)| *place).collect();
                let depth = (*chip.limits.flags as i64 - left.flags).clamp(1, 2);
                let bytes = |tile: TileSize| pass.slots(&kept, tile, (left.base, depth)).end;
                let tile = TileSize { cols: blocking.cols, ..fitting(bytes, ub, blocking.cols, rows) };
                vector.merge = Some(Body::new(pass, &kept, tile, left.base, (left.flags, depth)));
                Target::Tiles(tensor)
            }
        };
        let emission = Emission { stage, sizes, blocking, chip, target, ahead: self.ahead };
        let has_vector_work = !is_direct || sizes.is_made();
        if has_vector_work {
            // Before the cube cores start: they would wait for what vector cores that wait for them have to do.
            self.phases.before_vector(&mut self.builder, reads.iter());
        }
        emission.cube(&mut self.builder, &mut self.phases);
        self.ahead = 0.0;
        if has_vector_work {
            emission.vector(&mut self.builder, &vector);
        }
        self.phases.wrote(if is_direct { Core::Cube } else { Core::Vector }, [stage.out.tensor]);
    }

    /// Tensors become as long as `rows` for each core, which uses them again and again.
    fn shrink(&mut self, made: &[View], rows: i64) {
        let rows = *self.chip.cores.cube as i64 * rows;
        for view in made {
            let tensor = &mut self.builder.tensors()[usize::from(view.tensor)];
            if let Some(first) = tensor.shape.first_mut() {
                *first = crate::expr::Expr::from(rows);
            }
        }
    }

    /// What makes a right operand of the tiles, up to a limit in UB.
    fn conversion(
        &self,
        stage: VectorStage,
        (sizes, blocking): (&Sizes, &Blocking),
        left: &mut Left,
        (limit, depth): (i64, i64),
    ) -> Option<cube::Conversion> {
        let rank = stage.shape.len();
        let rows: i64 = stage.shape[..rank - 1].iter().product();
        let share = ceil(rows / sizes.cols * blocking.cols, *self.chip.cores.vectors_per_cube as i64);
        let pass = stage.passes.into_iter().next()?;
        let bytes = |tile: TileSize| pass.slots(&[], tile, (left.base, depth)).end;
        let tile = match sizes.right {
            Right::MadeInL1 => in_fractals(bytes, limit, blocking.k_l1.min(sizes.k), share),
            _ => fitting(bytes, limit, stage.shape[rank - 1], share),
        };
        let body = left.take(Body::new(pass, &[], tile, left.base, (left.flags, depth)), depth);
        Some(cube::Conversion { body, shape: stage.shape, note: stage.note })
    }

    /// What is added up of groups: the sums of all rows that a vector core has are kept.
    fn groups(&self, pass: Pass, are_rows: bool, (blocking, rows): (&Blocking, i64), left: &mut Left) -> Body {
        let kept = left.base;
        let all = TileSize { rows, cols: blocking.cols };
        left.base += pass.kept.iter().map(|(reg, _)| pass.code.value(*reg).bytes(all)).sum::<i64>();
        // What is behind it needs a flag as well, and room.
        let depth = (*self.chip.limits.flags as i64 - left.flags - 1).clamp(1, GROUP_DEPTH);
        let bytes = |tile: TileSize| pass.slots(&[], tile, (left.base, depth)).end;
        let most = if are_rows { blocking.batch } else { rows };
        let limit = left.base + (*self.chip.memory.ub as i64 - left.base) * 3 / 4;
        let mut tile = TileSize { cols: blocking.cols, ..fitting(bytes, limit, blocking.cols, most) };
        while are_rows && blocking.batch % tile.rows != 0 {
            tile.rows -= 1;
        }
        let folds = pass.kept.iter().map(|(reg, fold)| (*reg, *fold, kept)).collect();
        let mut body = Body::new(pass, &[], tile, left.base, (left.flags, depth));
        (body.folds, body.sums_rows) = (folds, are_rows);
        left.take(body, depth)
    }

    /// A product whose contraction cores share: sums go to GM, and are merged once all are there.
    fn product_in_parts(
        &mut self,
        mut stage: ProductStage,
        sizes: Sizes,
        blocking: Blocking,
    ) -> Result<(), Diagnostic> {
        let (chip, rank, sums) = (self.chip, stage.shape.len(), stage.terms[0].sums());
        // Integers add up to the same in any order, floats do not.
        let count = if sums == DType::I32 { 1 } else { blocking.splits };
        let mut shape = vec![count, stage.terms.len() as i64];
        shape.extend(&stage.shape);
        shape[rank] *= sizes.digits;
        let tensor = self.builder.tensor("parts", sums, &shape, Purpose::Accumulator);
        let parts = View::dense(tensor, sums, shape.clone());
        if count == 1 {
            let all = [1, parts.count()];
            let mut code = Code::default();
            let zero = code.int_number(0);
            let zero = code.whole(zero);
            let pass = Pass { code, outputs: vec![(zero, View::dense(tensor, sums, all.to_vec()))], ..Pass::default() };
            let note = format!("{}: sums begin at 0", stage.note);
            let (shape, passes) = (all.to_vec(), vec![pass]);
            self.vector(VectorStage { shape, passes, is_rowwise: false, is_conversion: false, note });
            self.phases.next();
        }
        stage.take_from(&parts, count);
        let target = Target::Parts(parts);
        let emission = Emission { stage: &stage, sizes, blocking, chip, target, ahead: self.ahead };
        emission.cube(&mut self.builder, &mut self.phases);
        self.ahead = 0.0;
        self.phases.wrote(Core::Cube, [tensor]);
        self.phases.next();
        let pass = stage.pass(self.kernel, chip)?;
        let note = format!("{}: what becomes of the sums", stage.note);
        let (shape, passes) = (stage.shape.clone(), vec![pass]);
        self.vector(VectorStage { shape, passes, is_rowwise: false, is_conversion: false, note });
        // The estimate has it.
        self.ahead = 0.0;
        Ok(())
    }
}

/// Whether conversions are alike but for what they read, and so take turns in the same places of UB.
fn take_turns(conversions: &[VectorStage]) -> bool {
    let alike = |pair: &[VectorStage]| pair[0].shape == pair[1].shape && pair[0].passes[0].is_like(&pair[1].passes[0]);
    conversions.windows(2).all(alike)
}

/// What becomes of the sums of a product on vector cores.
struct Passes {
    /// Of all of them; none if they are the result.
    merging: Option<Pass>,
    /// Of each group.
    groups: Option<Pass>,
}

/// What of UB and of the flags is not taken.
#[derive(Clone, Copy)]
struct Left {
    base: i64,
    flags: i64,
}

impl Left {
    /// What a body has is taken.
    fn take(&mut self, body: Body, flags: i64) -> Body {
        self.base = body.end();
        self.flags += flags;
        body
    }
}

/// A tile of at most `cols` columns and `rows` rows, filled up to whole fractals, that goes to L1.
fn in_fractals(bytes: impl Fn(TileSize) -> i64, limit: i64, cols: i64, rows: i64) -> TileSize {
    let mut cols = cols;
    loop {
        let tile = fitting(&bytes, limit, cols, round_up(rows, FRACTAL));
        if tile.rows >= FRACTAL || tile.cols <= 64 {
            // As many rows in each, as near as can be.
            let fractals = ceil(rows, FRACTAL);
            let most = (tile.rows / FRACTAL).max(1);
            return TileSize { rows: ceil(fractals, ceil(fractals, most)) * FRACTAL, ..tile };
        }
        cols = round_up(tile.cols / 2, 64);
    }
}

/// How a product is done, and what that would cost.
struct Plan {
    sizes: Sizes,
    blocking: Blocking,
    estimate: Estimate,
    /// Cycles in which vector cores make right operands before, if they do.
    beforehand: Option<f64>,
}

impl Plan {
    fn of(
        stage: &ProductStage,
        conversions: &[VectorStage],
        (mut sizes, mut blocking): (Sizes, Blocking),
        chip: &Chip,
    ) -> Option<Plan> {
        let mut beforehand = None;
        if sizes.is_made() && !is_joint(stage, conversions, &sizes, &blocking) {
            // No part of the estimate.
            sizes.right = Right::Given;
            blocking = Blocking::choose(&sizes, chip)?;
            beforehand = Some(conversions.iter().map(|conversion| conversion.cycles(chip)).sum());
        }
        Some(Plan { sizes, blocking, estimate: blocking.estimate(&sizes, chip), beforehand })
    }

    fn cycles(&self) -> f64 {
        self.estimate.cycles() + self.beforehand.unwrap_or(0.0)
    }
}

/// Whether right operands are made tile by tile while others are multiplied: what several tiles need is made before
/// all of them.
fn is_joint(stage: &ProductStage, conversions: &[VectorStage], sizes: &Sizes, blocking: &Blocking) -> bool {
    // Every column of the product is some rows of what is made, in the same order.
    let is_whole = |conversion: &VectorStage| {
        let made = &conversion.passes[0].outputs[0].1;
        let of = |term: &Term| term.b.tensor != made.tensor || term.b.count() == made.count();
        let are_rows = conversion.shape.len() == 2 && conversion.shape[0] % sizes.cols == 0;
        are_rows && stage.terms.iter().all(of)
    };
    // Flags are few.
    conversions.len() <= 3
        && conversions.iter().all(is_whole)
        && sizes.batch == 1
        && (sizes.right == Right::MadeInL1 || blocking.tiles(sizes).0 == 1)
        && blocking.splits == 1
        && stage.terms.iter().all(|term| term.b.is_by_columns())
}
