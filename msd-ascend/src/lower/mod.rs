//! From a graph to a stream: which core does what with which bytes. `schedule.rs` makes stages of the graph, each of
//! which is written as instructions by a file here. Chooses tiles by the chip's numbers, and no lowering of products
//! with weights: that is the graph's.

mod accumulate;
mod beside;
mod bind;
mod blocking;
mod builder;
mod code;
mod copy;
mod cube;
mod decompose;
mod dequant;
mod factors;
mod model;
mod multiply;
mod numbers;
mod phases;
mod product;
mod region;
mod rows;
mod schedule;
mod slots;
mod tiles;
mod vector;
mod view;

use msd_ir::diag::{Code as Fault, Diagnostic};
use msd_ir::dim::Sizes;
use msd_ir::dtype::DType;
use msd_ir::graph::Kernel;
use msd_ir::input::shape_under;

use crate::chip::Chip;
use crate::isa::memory::Core;
use crate::program::{Program, Purpose};
use builder::Builder;
use code::What;
use cube::{Emission, Target};
use model::Ledger;
pub use model::Model;
use phases::Phases;
use product::ProductStage;
pub use schedule::{Given, Part};
use schedule::{Schedule, Stage};
use slots::TileSize;
use tiles::Body;
use vector::{Pass, VectorStage, fitting};
use view::View;

/// A kernel as a stream.
#[derive(Clone, Debug)]
pub struct Lowered {
    /// The stream.
    pub program: Program,
    /// What tensors of it are given, by their index.
    pub given: Vec<(usize, Given)>,
    /// Tensors that hold the results, in order.
    pub outputs: Vec<usize>,
    /// Shapes of the results.
    pub shapes: Vec<Vec<usize>>,
    /// What it would cost by formulas.
    pub model: Model,
    /// Whether every weight is multiplied as stored, with its block scales, by the cube.
    pub is_native: bool,
}

/// What a caller may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Type of dequantized weights that the cube multiplies: BF16 or F16.
    pub dequantized: DType,
    /// Whether what is made for the cube lies in a few buffers that are used again.
    pub reuses_workspace: bool,
    /// Whether digits are merged in F32 on their way out of L0C, where they can be: their sums are rounded one by one
    /// and added in memory, not merged by one rounding.
    pub merges_in_fix: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { dequantized: DType::BF16, reuses_workspace: false, merges_in_fix: false }
    }
}

/// Lowers a kernel for a chip. All sizes are known.
///
/// # Errors
/// If a size is not known, or the chip cannot compute an op of the kernel.
pub fn lower(kernel: &Kernel, sizes: &Sizes, chip: &Chip, options: &Options) -> Result<Lowered, Diagnostic> {
    check(chip)?;
    let Schedule { builder, mut stages, given, outputs } =
        schedule::schedule(kernel, sizes, chip, options.dequantized)?;
    join_conversions(&mut stages);
    let scaled = |stage: &Stage| matches!(stage, Stage::Product(p) if p.terms.iter().all(|t| t.scales.is_some()));
    let made = |stage: &Stage| matches!(stage, Stage::Vector(v) if v.is_conversion);
    let converts = |stage: &Stage| matches!(stage, Stage::Product(p) if !p.conversions.is_empty());
    let is_native = stages.iter().any(scaled) && !stages.iter().any(|s| made(s) || converts(s));
    let ledger = Ledger::new(given.iter().map(|(tensor, _)| *tensor).collect(), chip);
    let mut writer = Writer { builder, phases: Phases::default(), kernel, chip, options, ahead: 0.0, ledger };
    for stage in stages {
        writer.stage(stage)?;
    }
    writer.ledger.takes(writer.ahead);
    let model = writer.ledger.finish();
    let mut program = writer.builder.finish();
    if program.cube.is_empty() && program.vector.is_empty() {
        // Nothing to compute: one core does it.
        program.blocks = crate::expr::Expr::from(1);
    }
    let given = given.into_iter().map(|(tensor, given)| (usize::from(tensor), given)).collect();
    let shapes = kernel.result_types().iter().map(|ty| shape_under(&ty.shape, sizes)).collect::<Result<_, _>>()?;
    Ok(Lowered { program, given, outputs: outputs.into_iter().map(usize::from).collect(), shapes, model, is_native })
}

/// Whether kernels can be lowered for a chip at all; streams by hand make do with less.
fn check(chip: &Chip) -> Result<(), Diagnostic> {
    let least = [
        ("cores.vectors_per_cube", *chip.cores.vectors_per_cube, 1),
        ("memory.ub", *chip.memory.ub, 64 << 10),
        ("limits.flags", *chip.limits.flags, 8),
        ("limits.counters", *chip.limits.counters, 10),
    ];
    match least.into_iter().find(|(_, is, least)| is < least) {
        Some((name, is, least)) => {
            let message = format!("kernels are not lowered for {}: {name} is {is}, less than {least}", chip.name);
            Err(Diagnostic::new(Fault::NotOnChip, message).help("write a stream by hand, or choose another chip"))
        }
        None => Ok(()),
    }
}

/// Moves what makes a right operand that nothing else reads to the product that does.
fn join_conversions(stages: &mut Vec<Stage>) {
    let mut at = 0;
    while at < stages.len() {
        let made = match &stages[at] {
            Stage::Vector(stage) if stage.is_conversion => stage.passes[0].outputs[0].1.tensor,
            _ => {
                at += 1;
                continue;
            }
        };
        let readers: Vec<usize> = (0..stages.len()).filter(|i| stages[*i].reads(made)).collect();
        let is_right = |product: &ProductStage| {
            let reads = |view: &View| view.tensor == made;
            product.terms.iter().any(|t| reads(&t.b)) && !product.terms.iter().any(|t| reads(&t.a))
        };
        match (readers.as_slice(), readers.first().map(|i| &stages[*i])) {
            ([reader], Some(Stage::Product(product))) if is_right(product) => {
                let reader = *reader - 1;
                let Stage::Vector(conversion) = stages.remove(at) else { return };
                if let Stage::Product(product) = &mut stages[reader] {
                    product.conversions.push(conversion);
                }
            }
            _ => at += 1,
        }
    }
}

/// Tiles of a right operand that are loaded ahead of their conversion, which is too short to hide one load.
/// Twice the places of what is stored, which take turns with them.
const CONVERSION_DEPTH: i64 = 4;

/// Sums of groups that are loaded ahead, where flags are left.
const GROUP_DEPTH: i64 = 4;

struct Writer<'c> {
    builder: Builder,
    phases: Phases,
    kernel: &'c Kernel,
    chip: &'c Chip,
    options: &'c Options,
    /// Cycles of vector cores that cube cores have not waited for.
    ahead: f64,
    ledger: Ledger,
}

impl Writer<'_> {
    fn stage(&mut self, stage: Stage) -> Result<(), Diagnostic> {
        match stage {
            Stage::Vector(stage) => self.vector(stage),
            Stage::Copy(copy) => {
                self.phases.before_vector(&mut self.builder, [&copy.from].into_iter());
                let written = copy.to.tensor;
                let moved = (std::slice::from_ref(&copy.from), std::slice::from_ref(&copy.to));
                self.ledger.moves(moved.0, moved.1, self.builder.tensors());
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
        self.ledger.moves(&reads, &writes, self.builder.tensors());
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
        let merging = if is_direct { None } else { Some(stage.pass(self.kernel, chip)?) };
        let groups = match &stage.groups {
            Some(groups) => Some(groups.region.scaled_sum(groups.times, self.kernel, chip)?),
            None => None,
        };
        let cycles = |pass: &Pass, shape: &[i64]| pass.code.cycles(1, shape.last().copied().unwrap_or(1), chip);
        let mut work = blocking::Work {
            convert: conversions.iter().map(|c| cycles(&c.passes[0], &c.shape)).sum(),
            source: conversions.iter().map(|c| c.passes[0].code.loaded_bytes()).sum::<f64>() / stage.terms.len() as f64,
            merge: merging.as_ref().map_or(0.0, |pass| cycles(pass, &stage.shape)),
            ahead: self.ahead,
            ..blocking::Work::default()
        };
        let room = |pass: &Pass, depth: i64| {
            let tile = TileSize { rows: 8, cols: 256 };
            pass.slots(&[], tile, (0, depth)).end as f64 / (tile.rows * tile.cols) as f64
        };
        work.chains[0] = merging.as_ref().map_or(0.0, |pass| pass.code.chain(chip));
        work.chains[2] = conversions.iter().map(|c| c.passes[0].code.chain(chip)).sum();
        work.rooms[1] = conversions.iter().map(|c| room(&c.passes[0], CONVERSION_DEPTH)).sum();
        if let (Some(pass), Some(groups)) = (&groups, &stage.groups) {
            work.merge += groups.count as f64 * (cycles(pass, &stage.shape) + pass.code.added(chip));
            // Rows of groups are added up by halves.
            let halves = if groups.are_rows { 4 } else { 0 };
            let wait = *chip.latency.vector_start + *chip.latency.vector_tail;
            work.chains[1] = pass.code.chain(chip) + (halves * wait) as f64;
            work.rooms[0] = room(pass, GROUP_DEPTH);
        }
        let right = stage.terms[0].b.tensor;
        let is_near = !conversions.is_empty() || self.phases.has_written(right);
        let sizes = blocking::Sizes::of(&stage, work, is_near, chip);
        let chosen = sizes.and_then(|sizes| Some((sizes, blocking::Blocking::choose(&sizes, chip)?)));
        let Some((sizes, blocking)) = chosen else {
            let message = format!("no tile of a product fits the memories of {}", chip.name);
            return Err(Diagnostic::new(Fault::NotOnChip, message).help("look at `memory` of the chip"));
        };
        // What several tiles need is made before all of them.
        let is_as_stored = |term: &product::Term| cube::is_by_columns(&term.b);
        // Every column of the product is some rows of what is made, in the same order.
        let is_whole = |conversion: &VectorStage| {
            let made = &conversion.passes[0].outputs[0].1;
            let of = |term: &product::Term| term.b.tensor != made.tensor || term.b.count() == made.count();
            conversion.shape.len() == 2 && stage.terms.iter().all(of)
        };
        // Flags are few.
        let fits = conversions.len() <= 3 && conversions.iter().all(is_whole);
        let is_joint = fits
            && sizes.batch == 1
            && blocking.tiles(&sizes).0 == 1
            && blocking.splits == 1
            && stage.terms.iter().all(is_as_stored);
        if !is_joint {
            for conversion in std::mem::take(&mut conversions) {
                // Nothing of the product can be loaded before.
                self.ledger.takes(conversion.cycles(chip));
                self.vector(conversion);
                self.phases.next();
            }
        }
        let out = stage.out.tensor;
        // Made beforehand, it is no part of the estimate.
        let work = if is_joint { sizes.work } else { blocking::Work { convert: 0.0, ..sizes.work } };
        let sizes = blocking::Sizes { work, ..sizes };
        let estimate = blocking.estimate(&sizes, chip);
        let parts = (&sizes, &blocking, &estimate);
        self.ledger.product(&stage, parts, is_direct && blocking.splits == 1, self.builder.tensors());
        if blocking.splits > 1 {
            return self.product_in_parts(stage, sizes, blocking);
        }
        let mut vector = cube::VectorWork::default();
        let mut base = 0;
        let ub = *chip.memory.ub as i64;
        let per_cube = *chip.cores.vectors_per_cube as i64;
        let mut reads = Vec::new();
        let reuses = self.options.reuses_workspace && !conversions.is_empty();
        let depth = if conversions.len() == 1 { CONVERSION_DEPTH } else { 2 };
        let (count, mut flags) = (conversions.len(), 0);
        for (index, conversion) in conversions.into_iter().enumerate() {
            let rank = conversion.shape.len();
            let rows: i64 = conversion.shape[..rank - 1].iter().product();
            let cols = conversion.shape[rank - 1];
            let Some(pass) = conversion.passes.into_iter().next() else { continue };
            let read = loads(&pass.code);
            let made: Vec<View> = pass.outputs.iter().map(|(_, view)| view.clone()).collect();
            self.ledger.moves(&read, &made, self.builder.tensors());
            reads.extend(read);
            if reuses {
                // Two places for each core.
                let places = *chip.cores.cube as i64 * 2 * blocking.cols;
                made.iter().for_each(|view| {
                    let tensor = &mut self.builder.tensors()[usize::from(view.tensor)];
                    if let Some(rows) = tensor.shape.first_mut() {
                        *rows = crate::expr::Expr::from(places);
                    }
                });
            }
            let bytes = |tile: TileSize| pass.slots(&[], tile, (base, depth)).end;
            let share = blocking::ceil(rows / sizes.cols * blocking.cols, per_cube);
            // The first of one or two has the most to do.
            let limit = if is_direct { ub } else { ub * 3 / 4 };
            let limit = if count == 1 || index > 0 { limit } else { limit / 2 };
            let limit = if groups.is_some() { ub / 3 } else { limit };
            let tile = fitting(bytes, limit, cols, share);
            let body = Body::new(pass, &[], tile, base, (flags, depth));
            flags += depth;
            base = body.end();
            vector.conversions.push(cube::Conversion { body, shape: conversion.shape, note: conversion.note });
        }
        let terms = stage.terms.len() as i64;
        let sums = stage.sums();
        let target = match merging {
            None => Target::Result(stage.out.clone()),
            Some(pass) => {
                let cores = *chip.cores.cube as i64;
                let shape = [cores, blocking.turns * blocking.batch, terms, blocking.rows(&sizes), blocking.cols];
                let tensor = self.builder.tensor("sums", sums, &shape, Purpose::Accumulator);
                if let Some(pass) = groups {
                    // Sums of all rows that a vector core has are kept.
                    let share = blocking::ceil(blocking.tokens.min(sizes.tokens), per_cube);
                    let are_rows = stage.groups.as_ref().is_some_and(|groups| groups.are_rows);
                    let all = TileSize { rows: share, cols: blocking.cols };
                    let kept = base;
                    base += pass.kept.iter().map(|(reg, _)| pass.code.value(*reg).bytes(all)).sum::<i64>();
                    // What is behind it needs a flag as well.
                    let depth = (*chip.limits.flags as i64 - flags - 1).clamp(1, GROUP_DEPTH);
                    let bytes = |tile: TileSize| pass.slots(&[], tile, (base, depth)).end;
                    // And room for what becomes of them.
                    let most = if are_rows { blocking.batch } else { share };
                    let mut tile = fitting(bytes, base + (ub - base) * 3 / 4, blocking.cols, most);
                    while are_rows && blocking.batch % tile.rows != 0 {
                        tile.rows -= 1;
                    }
                    reads.extend(loads(&pass.code));
                    let fold = (pass.kept[0].0, pass.kept[0].1, kept);
                    let mut body = Body::new(pass, &[], tile, base, (flags, depth));
                    body.folds = vec![fold];
                    body.sums_rows = are_rows;
                    flags += depth;
                    base = body.end();
                    vector.groups = Some(body);
                }
                // Rows of a tile are shared by the vector cores of a group.
                let kept: Vec<i64> = vector.groups.iter().flat_map(|g| &g.folds).map(|(.., place)| *place).collect();
                let depth = (*chip.limits.flags as i64 - flags).clamp(1, 2);
                let bytes = |tile: TileSize| pass.slots(&kept, tile, (base, depth)).end;
                let share = blocking::ceil(blocking.tokens.min(sizes.tokens), per_cube);
                let tile = TileSize { cols: blocking.cols, ..fitting(bytes, ub, blocking.cols, share) };
                reads.extend(loads(&pass.code));
                vector.merge = Some(Body::new(pass, &kept, tile, base, (flags, depth)));
                Target::Tiles(tensor)
            }
        };
        let writer = if is_direct { Core::Cube } else { Core::Vector };
        let has_vector_work = !is_direct || !vector.conversions.is_empty();
        let emission = Emission {
            stage: &stage,
            sizes,
            blocking,
            chip,
            target,
            makes: !vector.conversions.is_empty(),
            reuses,
            ahead: self.ahead,
        };
        if has_vector_work {
            // Before the cube cores start: they would wait for what vector cores that wait for them have to do.
            self.phases.before_vector(&mut self.builder, reads.iter());
        }
        emission.cube(&mut self.builder, &mut self.phases);
        self.ahead = 0.0;
        if has_vector_work {
            emission.vector(&mut self.builder, &vector);
        }
        self.phases.wrote(writer, [out]);
        Ok(())
    }

    /// A product whose contraction cores share: sums go to GM, and are merged once all are there.
    fn product_in_parts(
        &mut self,
        mut stage: ProductStage,
        sizes: blocking::Sizes,
        blocking: blocking::Blocking,
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
            let mut code = code::Code::default();
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
        let emission =
            Emission { stage: &stage, sizes, blocking, chip, target, makes: false, reuses: false, ahead: self.ahead };
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

/// Windows that a tile loads.
fn loads(code: &code::Code) -> Vec<View> {
    let load = |value: &code::Value| match &value.what {
        What::Load(view) => Some(view.clone()),
        _ => None,
    };
    code.values.iter().filter_map(load).collect()
}

impl Stage {
    /// Whether it reads the tensor.
    fn reads(&self, tensor: u16) -> bool {
        let of_pass = |pass: &Pass| loads(&pass.code).iter().any(|view| view.tensor == tensor);
        match self {
            Stage::Vector(stage) => stage.passes.iter().any(of_pass),
            Stage::Copy(copy) => copy.from.tensor == tensor,
            Stage::Product(product) => {
                let of_term = |term: &product::Term| {
                    let scales = term.scales.iter().flat_map(|(a, b)| [a, b]);
                    [&term.a, &term.b].into_iter().chain(scales).any(|view| view.tensor == tensor)
                };
                let groups = product.groups.iter().map(|groups| &groups.region);
                let mut regions = [&product.region].into_iter().chain(groups).cloned();
                let mut of_region = |mut region: region::Region| region.views().iter().any(|v| v.tensor == tensor);
                product.terms.iter().any(of_term) || regions.any(&mut of_region)
            }
        }
    }
}
