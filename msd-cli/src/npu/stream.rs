//! A stream in its text form: checked, then run for cycles and, if asked for, for values. Its tensors of weights and
//! activations are fed like the parameters of a kernel.

use std::borrow::Cow;
use std::rc::Rc;

use msd::ascend::check::Machine;
use msd::ascend::chip::Chip;
use msd::ascend::program::{Program, Purpose};
use msd::ascend::{text, values};
use msd::grammar::utf8;
use msd::ir::builder::Builder;
use msd::ir::diag::{Code, Diagnostic};
use msd::ir::dim::{Dim, Sizes};
use msd::ir::graph::{Attributes, Kernel};
use msd::ir::span::Span;
use msd::ir::tensor::Tensor;
use msd::ir::types::{TensorType, Type};

use super::Runs;
use crate::inputs::syntax::{InputFlag, Part, Source, Values};
use crate::inputs::{self, Missing, dims};
use crate::kernel_args::NpuArgs;
use crate::names;
use crate::origin::Fault;
use crate::report::npu::Run;
use crate::source::{SourceFile, display};

/// Runs the stream, once for each combination of sizes.
pub(super) fn runs(args: &NpuArgs, chip: &Chip) -> Result<Runs, Vec<Fault>> {
    only_for_kernels(args).map_err(|d| vec![d.into()])?;
    let source =
        SourceFile::read(&args.file).map(Rc::new).map_err(|d| vec![Fault::in_file(d, &display(&args.file))])?;
    let in_source = |diagnostics: Vec<Diagnostic>| Fault::in_source(diagnostics, &source);
    let text = utf8(&source.bytes).map_err(|d| in_source(vec![d]))?;
    let program = text::parse(text).map_err(in_source)?;
    let points = dims::sweep(&args.dims).map_err(|d| vec![d.into()])?;
    super::check_single(args, points.len()).map_err(|d| vec![d.into()])?;
    let mut runs = Runs { name: program.name.clone(), ..Runs::default() };
    for point in &points {
        let program = with_params(&program, point)?;
        let executed = super::execute(&program, chip, true, args.trace.is_some() && runs.list.is_empty());
        let executed = executed.map_err(in_source)?;
        runs.trace = runs.trace.or(executed.trace);
        let outputs = if args.functional { outputs(args, &program, chip, &source)? } else { Vec::new() };
        let dims = program.param_values().into_iter().collect();
        runs.list.push(Run {
            lowering: "stream",
            scheme: None,
            variant: Vec::new(),
            dims,
            report: executed.report,
            races: executed.races,
            model: None,
            because: None,
            outputs,
        });
    }
    Ok(runs)
}

/// Flags that say how a kernel is lowered say nothing of a stream.
fn only_for_kernels(args: &NpuArgs) -> Result<(), Diagnostic> {
    let said = [
        ("--kernel", args.kernel.is_some()),
        ("--scheme", args.scheme.is_some()),
        ("--block", args.block.is_some()),
        ("--lowering", args.lowering.is_some()),
        ("--dequant-variant", !args.dequant_variant.is_empty()),
        ("--merge", args.merge.is_some()),
    ];
    match said.iter().find(|(_, is_said)| *is_said) {
        Some((flag, _)) => {
            let message = format!("`{flag}` for a stream, in which everything is decided");
            Err(Diagnostic::new(Code::BadUsage, message).help("it is for kernels, files that end in `.msd`"))
        }
        None => Ok(()),
    }
}

/// The program with parameters as `-D` says.
fn with_params(program: &Program, point: &Sizes) -> Result<Program, Vec<Fault>> {
    let mut program = program.clone();
    for (name, size) in point {
        let size = i64::try_from(*size).unwrap_or(i64::MAX);
        if !program.set(name, size) {
            let known: Vec<String> = program.param_names().map(str::to_owned).collect();
            let message = format!("the stream has no parameter `{name}`");
            let help = names::help(name, known.iter().map(String::as_str));
            return Err(vec![Diagnostic::new(Code::BadUsage, message).help(help).into()]);
        }
    }
    Ok(program)
}

/// Names and values of the output tensors.
fn outputs(
    args: &NpuArgs,
    program: &Program,
    chip: &Chip,
    source: &Rc<SourceFile>,
) -> Result<Vec<(String, Tensor)>, Vec<Fault>> {
    let in_source = |diagnostics: Vec<Diagnostic>| Fault::in_source(diagnostics, source);
    let machine = Machine::new(program, chip).map_err(|d| in_source(vec![d]))?;
    let is_given = |purpose| matches!(purpose, Purpose::Weight | Purpose::Activation);
    let given: Vec<usize> = (0..program.tensors.len()).filter(|i| is_given(program.tensors[*i].purpose)).collect();
    let signature = signature(program, &machine, &given).map_err(|d| in_source(vec![d]))?;
    let feeds = with_codes(&args.inputs, program, &given);
    let resolved = inputs::resolve(&signature, &feeds, &Sizes::new(), Missing::Random).map_err(in_source)?;
    let mut tensors = vec![None; program.tensors.len()];
    for (index, input) in given.into_iter().zip(resolved.inputs) {
        tensors[index] = Some(Cow::Owned(input.tensor));
    }
    let results = values::run(program, chip, &tensors).map_err(|d| in_source(vec![d]))?;
    let outputs = program.tensors.iter().zip(results).filter(|(t, _)| t.purpose == Purpose::Output);
    Ok(outputs.map(|(tensor, result)| (tensor.name.clone(), result)).collect())
}

/// What feeds the tensors: integers that no flag feeds are codes, uniform over the range of their type that is
/// symmetric.
fn with_codes(flags: &[InputFlag], program: &Program, given: &[usize]) -> Vec<InputFlag> {
    let is_fed = |tensor: &str| flags.iter().any(|f| matches!(f, InputFlag::One { name, .. } if name == tensor));
    let mut feeds = flags.to_vec();
    for index in given {
        let tensor = &program.tensors[*index];
        let Some((low, high)) = tensor.dtype.int_range().filter(|_| !is_fed(&tensor.name)) else { continue };
        let bounds = Some((if low < 0 { -high as f64 } else { low as f64 }, high as f64));
        let source = Source::Values(Values::Uniform { seed: *index as u64, bounds });
        feeds.push(InputFlag::One { name: tensor.name.clone(), part: Part::Value, source });
    }
    feeds
}

/// The tensors that are given, as parameters of a kernel: they are fed like those.
fn signature(program: &Program, machine: &Machine, given: &[usize]) -> Result<Kernel, Diagnostic> {
    let mut builder = Builder::new();
    let mut results = Vec::new();
    for index in given {
        let tensor = &program.tensors[*index];
        let shape = machine.shapes[*index].iter().map(|size| Dim::constant(*size as u64)).collect();
        let ty = Type::Tensor(TensorType::new(tensor.dtype, shape));
        results.push(builder.param(&tensor.name, ty, tensor.span.unwrap_or_default()));
    }
    Ok(builder.finish(&program.name, results, Attributes::default(), Span::default()))
}
