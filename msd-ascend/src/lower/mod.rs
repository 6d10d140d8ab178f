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
mod estimate;
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
mod writer;

use msd_ir::diag::{Code as Fault, Diagnostic};
use msd_ir::dim::Sizes;
use msd_ir::dtype::DType;
use msd_ir::graph::Kernel;
use msd_ir::input::shape_under;

use crate::chip::Chip;
use crate::program::Program;
use code::What;
pub use model::Model;
use product::ProductStage;
use region::Term;
pub use schedule::{Given, Part};
use schedule::{Schedule, Stage};
use vector::Pass;
use view::View;
use writer::Writer;

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
    /// and added in memory, each addition rounded as well.
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
    let mut writer = Writer::new(builder, kernel, chip, options, given.iter().map(|(tensor, _)| *tensor).collect());
    for stage in stages {
        writer.stage(stage)?;
    }
    let (program, numbers, model) = writer.finish();
    let number = |tensor: u16| usize::from(numbers[usize::from(tensor)]);
    let given = given.into_iter().map(|(tensor, given)| (number(tensor), given)).collect();
    let shapes = kernel.result_types().iter().map(|ty| shape_under(&ty.shape, sizes)).collect::<Result<_, _>>()?;
    Ok(Lowered { program, given, outputs: outputs.into_iter().map(number).collect(), shapes, model, is_native })
}

/// Whether kernels can be lowered for a chip at all; streams by hand make do with less.
fn check(chip: &Chip) -> Result<(), Diagnostic> {
    let least = [
        ("cores.vectors_per_cube", *chip.cores.vectors_per_cube, 1),
        ("memory.ub", *chip.memory.ub, 128 << 10),
        ("limits.flags", *chip.limits.flags, 8),
        ("limits.queue", *chip.limits.queue, 4),
        ("limits.counters", *chip.limits.counters, phases::Counter::needed(*chip.abilities.ub_to_l1)),
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
                let of_term = |term: &Term| {
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
