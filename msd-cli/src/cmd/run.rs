//! `msd run`: one execution of a kernel, compiled or in the reference evaluator. Outputs appear
//! all together, and only if everything went well.

use std::time::Instant;

use msd::ascend::chip::Chip;
use msd::io::npy::Halves;
use msd::io::{self, npy};
use msd::ir::diag::{Code, Diagnostic};
use msd::ir::dim::Sizes;
use msd::ir::graph::Kernel;
use msd::ir::input::Input;
use msd::ir::tensor::Tensor;
use msd::{Argument, Npu, NpuVariant, Options, Rewritten, SiteReport, Weight};

use crate::inputs::{self, Missing, Resolved, dims};
use crate::kernel_args::{OutputType, RunArgs, Target};
use crate::npu;
use crate::origin::Fault;
use crate::report::{Body, Outcome, Output, site};
use crate::request::{self, Subject};
use crate::source::SourceFile;

/// Executes the kernel.
pub(crate) fn run(args: &RunArgs) -> Outcome {
    execute(args).unwrap_or_else(Outcome::failure)
}

fn execute(args: &RunArgs) -> Result<Outcome, Vec<Fault>> {
    let subject = Subject::read(&args.plan)?;
    request::check_not_source(&args.plan.file, args.outputs.iter()).map_err(|d| subject.faults(vec![d]))?;
    check_outputs(&subject.kernel, args).map_err(|d| subject.faults(vec![d]))?;
    let chip = match &args.plan.target {
        Target::Chip(name) => Some(npu::chip(name)?),
        Target::Cpu | Target::Reference => None,
    };
    let done = compute(args, &subject.kernel, chip.as_ref()).map_err(|d| subject.faults(d))?;
    write(args, &done.results).map_err(|d| subject.faults(vec![d]))?;

    let outputs: Vec<Output> =
        done.results.iter().enumerate().map(|(i, t)| Output::new(i, t, args.outputs.get(i))).collect();
    let sites = done.rewritten.sites();
    let text = text(&subject.source, &done, &sites, &outputs);
    let body = Body::Run {
        kernel: subject.kernel.name.to_string(),
        outputs,
        scheme: done.rewritten.scheme(),
        lowering: done.rewritten.lowering(),
        target: args.plan.target.name().to_owned(),
        isa: (args.plan.target == Target::Cpu).then(|| args.plan.isa.level().name()),
        threads: usize::from(args.threads.threads),
        compile_ms: done.compile_ms,
        seconds: done.seconds,
        sites: site::json(sites, &subject.source),
    };
    Ok(Outcome::done(text, body))
}

/// Each file needs a result; results without a file are only summarized.
fn check_outputs(kernel: &Kernel, args: &RunArgs) -> Result<(), Diagnostic> {
    let files = &args.outputs;
    let results = kernel.results.len();
    if files.len() <= results {
        return Ok(());
    }
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let message =
        format!("{} for the {} of kernel `{}`", count(files.len(), "`-o` file"), count(results, "result"), kernel.name);
    Err(Diagnostic::new(Code::BadUsage, message).help("results go to the files in their order"))
}

/// What an execution leaves.
struct Done {
    rewritten: Rewritten,
    results: Vec<Tensor>,
    compile_ms: Option<f64>,
    seconds: f64,
}

fn compute(args: &RunArgs, kernel: &Kernel, chip: Option<&Chip>) -> Result<Done, Vec<Diagnostic>> {
    let dims = dims::single(&args.plan.dims).map_err(|d| vec![d])?;
    let Resolved { inputs, sizes } = inputs::resolve(kernel, &args.inputs, &dims, Missing::Refuse)?;
    let options = request::options(&args.plan, args.threads.threads);
    if let Some(chip) = chip {
        return on_chip(kernel, chip, &inputs, &sizes, &options);
    }
    let rewritten = Rewritten::new(kernel, &sizes, &options).map_err(|d| vec![d])?;
    let (results, compile_ms, seconds) = match args.plan.target {
        Target::Reference | Target::Chip(_) => {
            let start = Instant::now();
            (rewritten.evaluate(&inputs)?, None, start.elapsed().as_secs_f64())
        }
        Target::Cpu => {
            let compiled = rewritten.compile(&options)?;
            let (results, seconds) = run_compiled(&compiled, &inputs)?;
            (results, Some(compiled.compile_time().as_secs_f64() * 1e3), seconds)
        }
    };
    Ok(Done { rewritten, results, compile_ms, seconds })
}

/// The same by the interpreter of a chip.
fn on_chip(
    kernel: &Kernel,
    chip: &Chip,
    inputs: &[Input],
    sizes: &Sizes,
    options: &Options,
) -> Result<Done, Vec<Diagnostic>> {
    let start = Instant::now();
    let npu = Npu::new(kernel, sizes, chip, options, NpuVariant::default()).map_err(|d| vec![d])?;
    let compile_ms = Some(start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    let results = npu.call(inputs).map_err(|d| vec![d])?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Done { rewritten: npu.rewritten().clone(), results, compile_ms, seconds })
}

/// Results and the time they took, everything packed before.
fn run_compiled(compiled: &msd::Compiled, inputs: &[Input]) -> Result<(Vec<Tensor>, f64), Vec<Diagnostic>> {
    let fault = |d| vec![d];
    let weights = inputs.iter().cloned().map(Weight::try_from).collect::<Result<Vec<_>, _>>().map_err(fault)?;
    let arguments: Vec<Argument<'_>> = weights.iter().map(Argument::from).collect();
    let bound = compiled.bind(&arguments).map_err(fault)?;
    compiled.prepare(&bound, &arguments).map_err(fault)?;
    let start = Instant::now();
    let results = compiled.call_bound(&bound, &arguments).map_err(fault)?;
    Ok((results, start.elapsed().as_secs_f64()))
}

/// Writes all files or none.
fn write(args: &RunArgs, results: &[Tensor]) -> Result<(), Diagnostic> {
    let halves = match args.output_type {
        OutputType::F32 => Halves::Widened,
        OutputType::Declared => Halves::AsStored,
    };
    let staged = args.outputs.iter().zip(results).map(|(path, tensor)| npy::stage(path, tensor, halves));
    io::commit(staged.collect::<Result<_, _>>()?)
}

/// Elements of each result that people are shown.
const SHOWN: usize = 6;

fn text(source: &SourceFile, done: &Done, sites: &[SiteReport], outputs: &[Output]) -> String {
    let mut text: String = site::lines(sites, source).collect();
    for (output, tensor) in outputs.iter().zip(&done.results) {
        text += &format!("result {}: {}{:?}", output.index, output.dtype, output.shape);
        let nans = (0..tensor.len()).filter(|i| tensor.value(*i).is_nan()).count();
        if nans > 0 {
            text += &format!(", {nans} NaN");
        }
        if let (Some(min), Some(max), Some(mean)) = (output.min, output.max, output.mean) {
            let first: Vec<String> =
                (0..tensor.len().min(SHOWN)).map(|i| (tensor.value(i) as f32).to_string()).collect();
            let dots = if tensor.len() > SHOWN { ", …" } else { "" };
            text += &format!(", min {min:.6}, max {max:.6}, mean {mean:.6}: {}{dots}", first.join(", "));
        }
        if let Some(file) = &output.file {
            text += &format!(" -> {file}");
        }
        text.push('\n');
    }
    if let Some(ms) = done.compile_ms {
        text += &format!("compiled in {ms:.1} ms, ");
    }
    text + &format!("executed in {:.3} ms\n", done.seconds * 1e3)
}
