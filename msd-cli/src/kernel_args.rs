//! The flags of the commands that take one kernel: opt, explain, run and bench. Owns their names,
//! choices and defaults; what `-i` and `-D` values mean is [`crate::inputs::syntax`].

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use msd::ascend::chip::Chip;
use msd::ir::graph::Lowering;
use msd::ir::quant::scheme::Scheme;
use msd::jit::isa::Level;

use crate::inputs::syntax::{DimFlag, InputFlag};
use crate::names;

/// The forms of `-i` for `--help`; [`crate::inputs::syntax`] parses them.
const INPUT_HELP: &str = "What feeds a parameter: NAME=@FILE.npy, NAME=@FILE.safetensors#TENSOR, \
    NAME=randn:SEED[:STD], NAME=uniform:SEED[:LO:HI] or NAME=const:V. NAME.scale and NAME.zero are the parts \
    of a quantized parameter; @FILE.safetensors alone feeds every parameter that has the name of a tensor.";

/// What all four share.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The file that holds the kernel
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The kernel, where the file holds several
    #[arg(long, value_name = "NAME")]
    pub(crate) kernel: Option<String>,
    /// Sizes of dimensions, such as N=4096,K=4096; a list such as M=1,16,64 in its own flag sweeps in bench
    #[arg(short = 'D', long = "dim", value_name = "NAME=SIZE")]
    pub(crate) dims: Vec<DimFlag>,
    /// How activations are split into digits [default: by their element type]
    #[arg(long, value_name = "SCHEME", value_parser = scheme_parser())]
    pub(crate) scheme: Option<Scheme>,
    /// Elements of the contraction that share a scale of the activations, where they fit [default: a whole row]
    #[arg(long, value_name = "SIZE", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) block: Option<u64>,
    /// How products with dequantized operands are computed [default: the kernel's attribute, else auto]
    #[arg(long, value_name = "LOWERING", value_parser = lowering_parser())]
    pub(crate) lowering: Option<Lowering>,
    /// What executes the plan
    #[arg(long, value_name = "cpu|reference|CHIP", default_value = "cpu", value_parser = Target::parse)]
    pub(crate) target: Target,
    /// The instruction set to compile for
    #[arg(long, value_enum, default_value_t = Isa::Native)]
    pub(crate) isa: Isa,
    /// The machine profile the cost model plans for
    #[arg(long, value_enum, default_value_t = Machine::Default)]
    pub(crate) machine: Machine,
}

/// `--threads` of the commands that execute or plan once.
#[derive(Debug, Args)]
pub(crate) struct ThreadArgs {
    /// Threads to compute with
    #[arg(long, value_name = "T", default_value_t = 1, value_parser = threads_parser())]
    pub(crate) threads: u16,
}

/// `msd opt`
#[derive(Debug, Args)]
pub(crate) struct OptArgs {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    /// The level to print
    #[arg(long, value_enum, value_name = "LEVEL", default_value_t = Emit::Ir)]
    pub(crate) emit: Emit,
    /// Print the IR after this pass, after all, or after each that changed it
    #[arg(long, value_name = "PASS|all|change")]
    pub(crate) print_after: Vec<String>,
}

/// `msd explain`
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
}

/// `msd run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    #[command(flatten)]
    pub(crate) threads: ThreadArgs,
    /// What feeds a parameter, such as X=@x.npy or W=@model.safetensors#w
    #[arg(short = 'i', long = "input", value_name = "NAME=SOURCE", long_help = INPUT_HELP)]
    pub(crate) inputs: Vec<InputFlag>,
    /// Where the results go, in their order
    #[arg(short = 'o', long = "output", value_name = "OUT.npy")]
    pub(crate) outputs: Vec<PathBuf>,
    /// The element type of BF16 and F16 results in the files
    #[arg(long, value_enum, default_value_t = OutputType::F32)]
    pub(crate) output_type: OutputType,
}

/// `msd bench`
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// Numbers of threads to measure with
    #[arg(long, value_name = "T,…", value_delimiter = ',', default_value = "1", value_parser = threads_parser())]
    pub(crate) threads: Vec<u16>,
    /// Inputs, as in run; what is not given is random
    #[arg(short = 'i', long = "input", value_name = "NAME=SOURCE")]
    pub(crate) inputs: Vec<InputFlag>,
    /// What to measure beside the plan [default: dequant,f32 where a parameter is quantized]
    #[arg(long, value_name = "CONTENDER,…", value_delimiter = ',', value_parser = contender_parser())]
    pub(crate) against: Option<Vec<Contender>>,
    /// How long to measure each combination of sizes and threads
    #[arg(long, value_name = "S", default_value_t = 2.0, value_parser = seconds_parser)]
    pub(crate) seconds: f64,
    /// How many rounds to measure instead
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = rounds_parser())]
    pub(crate) rounds: Option<u32>,
    /// Write the rows into this file as a Markdown table
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
}

/// `msd npu`
#[derive(Debug, Args)]
pub(crate) struct NpuArgs {
    /// The kernel, or a stream: a file that ends in `.npu`
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The kernel, where the file holds several
    #[arg(long, value_name = "NAME")]
    pub(crate) kernel: Option<String>,
    /// The chip: ascend-910b, ascend-950, or a file of your own that ends in `.toml`
    #[arg(long, value_name = "CHIP", default_value = "ascend-910b")]
    pub(crate) chip: String,
    /// Sizes of dimensions, or parameters of a stream, such as M=16,N=4096; a list such as M=1,16,64 in its own flag
    /// sweeps
    #[arg(short = 'D', long = "dim", value_name = "NAME=SIZE")]
    pub(crate) dims: Vec<DimFlag>,
    /// How a kernel is lowered [default: both, where something is quantized]
    #[arg(long, value_enum, value_name = "LOWERING")]
    pub(crate) lowering: Option<NpuLowering>,
    /// How weights are dequantized, where that is not the paper's way: BF16, scaled, all of it through memory
    #[arg(long, value_enum, value_name = "VARIANT,…", value_delimiter = ',')]
    pub(crate) dequant_variant: Vec<Variant>,
    /// Where digits' sums are merged [default: vector]
    #[arg(long, value_enum, value_name = "WHERE")]
    pub(crate) merge: Option<Merge>,
    /// How activations are split into digits [default: by their element type]
    #[arg(long, value_name = "SCHEME", value_parser = scheme_parser())]
    pub(crate) scheme: Option<Scheme>,
    /// Elements of the contraction that share a scale of the activations, where they fit [default: a whole row]
    #[arg(long, value_name = "SIZE", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) block: Option<u64>,
    /// Look for faults and races in a kernel's stream as well; in streams that are given they always are
    #[arg(long)]
    pub(crate) check: bool,
    /// Draw cycles over the size that varies
    #[arg(long, value_name = "OUT.svg")]
    pub(crate) sweep: Option<PathBuf>,
    /// Draw the bytes that move, by what they are for; of a sweep, those of its first size
    #[arg(long, value_name = "OUT.svg")]
    pub(crate) bars: Option<PathBuf>,
    /// Compute values as well
    #[arg(long)]
    pub(crate) functional: bool,
    /// With --functional: what feeds a parameter, or a tensor of a stream, as in run; what is not given is random
    #[arg(short = 'i', long = "input", value_name = "NAME=SOURCE", requires = "functional")]
    pub(crate) inputs: Vec<InputFlag>,
    /// With --functional, and no sweep: where the output tensors go, in their order; of two runs, those of the first
    #[arg(short = 'o', long = "output", value_name = "OUT.npy", requires = "functional")]
    pub(crate) outputs: Vec<PathBuf>,
    /// Write what each pipe did when (no sweep; of two runs, the first), for the viewers of Chrome and Perfetto
    #[arg(long, value_name = "T.json")]
    pub(crate) trace: Option<PathBuf>,
    /// Write times and utilization of the pipes (no sweep; of two runs, the first), in the columns of the profilers
    /// of such chips
    #[arg(long, value_name = "FILE.csv")]
    pub(crate) csv: Option<PathBuf>,
}

/// `--lowering` of `msd npu`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NpuLowering {
    /// Weights multiplied as stored
    Msd,
    /// Weights dequantized first
    Dequant,
    /// Both, and their ratio
    Both,
    /// Whatever the cost model finds cheaper
    Auto,
}

/// `--dequant-variant`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Variant {
    /// Scales applied behind the product
    Hoisted,
    /// F16 in place of BF16; what it does not reach becomes infinite
    F16,
    /// Through a few buffers that stay in L2
    L2,
}

/// `--merge`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Merge {
    /// On the vector cores, fused
    Vector,
    /// On the way out of the cube, where it can be: each digit's sum times its weight is rounded, then each addition
    Fix,
}

/// `--target`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Compiled code on this machine.
    Cpu,
    /// The reference evaluator on the rewritten graph of the same plan.
    Reference,
    /// The interpreter of a chip, by its name or its file.
    Chip(String),
}

impl Target {
    /// The name on the command line.
    pub(crate) fn name(&self) -> &str {
        match self {
            Target::Cpu => "cpu",
            Target::Reference => "reference",
            Target::Chip(name) => name,
        }
    }

    fn parse(name: &str) -> Result<Target, String> {
        match name {
            "cpu" => Ok(Target::Cpu),
            "reference" => Ok(Target::Reference),
            chip if chip.ends_with(".toml") || Chip::names().any(|known| known == chip) => {
                Ok(Target::Chip(chip.to_owned()))
            }
            _ => {
                let help = names::help(name, ["cpu", "reference"].into_iter().chain(Chip::names()));
                Err(format!("no such target: {help}, or a file of a chip that ends in `.toml`"))
            }
        }
    }
}

/// `--isa`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isa {
    /// What every machine of this architecture has
    Portable,
    /// AVX2 and FMA
    Avx2,
    /// AVX-512 with VNNI
    #[value(name = "avx512vnni")]
    Avx512Vnni,
    /// The same with matrix registers for bytes
    Amx,
    /// The best this machine has
    Native,
}

impl Isa {
    /// The level of the code generator.
    pub(crate) fn level(self) -> Level {
        match self {
            Isa::Portable => Level::Portable,
            Isa::Avx2 => Level::Avx2,
            Isa::Avx512Vnni => Level::Avx512Vnni,
            Isa::Amx => Level::Amx,
            Isa::Native => Level::Native,
        }
    }
}

/// `--machine`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Machine {
    /// A fixed profile: the same command gives the same bits everywhere
    Default,
    /// This machine, measured: another machine may choose another plan, and so return other bits
    Measured,
}

/// `--emit`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Emit {
    /// The rewritten graph as text
    Ir,
    /// The plan: lowering, scheme and tile of each site
    Plan,
    /// Cranelift IR
    Clif,
    /// Machine code
    Asm,
    /// Instructions of the NPU that `--target` names, ascend-910b unless it names one
    Npu,
}

impl Emit {
    /// The name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Emit::Ir => "ir",
            Emit::Plan => "plan",
            Emit::Clif => "clif",
            Emit::Asm => "asm",
            Emit::Npu => "npu",
        }
    }
}

/// `--output-type`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputType {
    /// Widened to F32, which every reader of `.npy` knows
    F32,
    /// As the kernel declares them
    Declared,
}

/// One entry of `--against`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    /// Dequantize the weight to F32, then multiply.
    Dequant,
    /// Multiply a weight that is stored as F32.
    F32,
    /// Multi-scale dequant with this scheme.
    Scheme(Scheme),
}

fn scheme_parser() -> impl TypedValueParser<Value = Scheme> {
    PossibleValuesParser::new(Scheme::ALL.iter().map(|s| s.name()))
        .try_map(|name| Scheme::from_name(&name).ok_or("no such scheme"))
}

fn lowering_parser() -> impl TypedValueParser<Value = Lowering> {
    PossibleValuesParser::new(Lowering::ALL.iter().map(|l| l.name()))
        .try_map(|name| Lowering::from_name(&name).ok_or("no such lowering"))
}

fn contender_parser() -> impl TypedValueParser<Value = Contender> {
    let names = ["dequant", "f32"].into_iter().chain(Scheme::ALL.iter().map(|s| s.name()));
    PossibleValuesParser::new(names).try_map(|name| match name.as_str() {
        "dequant" => Ok(Contender::Dequant),
        "f32" => Ok(Contender::F32),
        other => Scheme::from_name(other).map(Contender::Scheme).ok_or("no such contender"),
    })
}

fn seconds_parser(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().ok().filter(|s| *s > 0.0 && *s <= 3600.0);
    seconds.ok_or_else(|| "a number of seconds above 0 and up to 3600".to_owned())
}

fn rounds_parser() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=100_000)
}

/// The thread pool is fixed in size, so a number beyond any machine is a slip of the finger.
fn threads_parser() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(1..=msd::jit::pool::MAX_THREADS as i64)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    #[command(name = "msd")]
    enum Kernels {
        Opt(OptArgs),
        Explain(ExplainArgs),
        Run(RunArgs),
        Bench(BenchArgs),
    }

    fn parse(line: &str) -> Result<Kernels, String> {
        Kernels::try_parse_from(line.split_whitespace()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_declaration_is_sound() {
        Kernels::command().debug_assert();
        crate::args::Cli::command().debug_assert();
    }

    #[test]
    fn common_flags_of_all_four() {
        let common = "k.msd --kernel linear --scheme int8x3-pow2 --lowering msd --target reference \
                      --isa avx512vnni --machine measured --threads 2 -D N=8,K=4 -D M=1";
        for command in ["opt", "explain", "run", "bench"] {
            let (plan, threads) = match parse(&format!("msd {command} {common}")).unwrap() {
                Kernels::Opt(a) => (a.plan, vec![a.threads.threads]),
                Kernels::Explain(a) => (a.plan, vec![a.threads.threads]),
                Kernels::Run(a) => (a.plan, vec![a.threads.threads]),
                Kernels::Bench(a) => (a.plan, a.threads),
            };
            assert_eq!(plan.file, PathBuf::from("k.msd"));
            assert_eq!(plan.kernel.as_deref(), Some("linear"));
            assert_eq!((plan.scheme, plan.lowering), (Some(Scheme::Int8x3Pow2), Some(Lowering::Msd)));
            assert_eq!((plan.target, plan.isa, plan.machine), (Target::Reference, Isa::Avx512Vnni, Machine::Measured));
            assert_eq!((plan.dims.len(), threads), (2, vec![2]));
        }
    }

    #[test]
    fn own_flags() {
        let Kernels::Run(run) = parse("msd run k.msd -i X=randn:1 -i @w.safetensors -o a.npy -o b.npy").unwrap() else {
            unreachable!("run was asked for")
        };
        assert_eq!((run.inputs.len(), run.outputs.len(), run.output_type), (2, 2, OutputType::F32));
        let Kernels::Bench(bench) =
            parse("msd bench k.msd -D M=1,16 --threads 1,2 --against dequant,f32,int8x1").unwrap()
        else {
            unreachable!("bench was asked for")
        };
        assert_eq!(bench.threads, [1, 2]);
        let against = [Contender::Dequant, Contender::F32, Contender::Scheme(Scheme::Int8x1)];
        assert_eq!(bench.against.as_deref(), Some(&against[..]));
        let Kernels::Opt(opt) = parse("msd opt k.msd --emit plan --print-after all --print-after change").unwrap()
        else {
            unreachable!("opt was asked for")
        };
        assert_eq!((opt.emit, opt.print_after.len()), (Emit::Plan, 2));
    }

    #[test]
    fn unknown_names_have_a_nearest_one() {
        let near = |line: &str, name: &str| {
            let error = parse(line).unwrap_err();
            assert!(error.contains(&format!("'{name}'")) && error.contains("similar"), "{error}");
        };
        near("msd run k.msd --scheme int8x2-pow", "int8x2-pow2");
        near("msd run k.msd --lowering dequnt", "dequant");
        let target = parse("msd run k.msd --target referense").unwrap_err();
        assert!(target.contains("did you mean `reference`?"), "{target}");
        near("msd run k.msd --isa avx512vni", "avx512vnni");
        near("msd run k.msd --machine measure", "measured");
        near("msd opt k.msd --emit pln", "plan");
        near("msd bench k.msd --against deqant", "dequant");
        near("msd run k.msd --thread 1", "--threads");
    }

    #[test]
    fn values_out_of_range() {
        for line in [
            "run k.msd --threads 0",
            "bench k.msd --seconds nan",
            "bench k.msd --rounds 0",
            "bench k.msd --threads 1,0",
            "run k.msd -D N",
            "run k.msd -i X=rand:1",
        ] {
            assert!(parse(&format!("msd {line}")).is_err(), "{line}");
        }
    }
}
