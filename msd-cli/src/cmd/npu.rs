//! `msd npu`: an NPU's instruction stream, checked, then run for cycles and, if asked for, for values. Owns which
//! files are read and written and in which order; what is found is [`msd::ascend`]'s.

use std::borrow::Cow;
use std::path::Path;
use std::rc::Rc;

use msd::ascend::check::Machine;
use msd::ascend::chip::Chip;
use msd::ascend::program::{Program, Purpose};
use msd::ascend::{race, text, timing, trace, values, verify};
use msd::grammar::utf8;
use msd::io::npy::{self, Halves};
use msd::io::{self, Staged};
use msd::ir::builder::Builder;
use msd::ir::diag::{Code, Diagnostic};
use msd::ir::dim::{Dim, Sizes};
use msd::ir::graph::{Attributes, Kernel};
use msd::ir::span::Span;
use msd::ir::tensor::Tensor;
use msd::ir::types::{TensorType, Type};

use crate::inputs::syntax::{InputFlag, Part, Source, Values};
use crate::inputs::{self, Missing, dims};
use crate::kernel_args::NpuArgs;
use crate::names;
use crate::origin::Fault;
use crate::report::page::stage;
use crate::report::{Body, Outcome, Output, npu};
use crate::request;
use crate::source::{SourceFile, display};

/// Runs the stream.
pub(crate) fn run(args: &NpuArgs) -> Outcome {
    execute(args).unwrap_or_else(Outcome::failure)
}

fn execute(args: &NpuArgs) -> Result<Outcome, Vec<Fault>> {
    let chip = chip(&args.chip)?;
    let source = read(&args.file)?;
    let in_source = |diagnostics: Vec<Diagnostic>| Fault::in_source(diagnostics, &source);
    let text = utf8(&source.bytes).map_err(|d| in_source(vec![d]))?;
    let program = text::parse(text).map_err(in_source)?;
    let points = dims::sweep(&args.dims).map_err(|d| vec![d.into()])?;
    if points.len() > 1 && (args.trace.is_some() || args.csv.is_some() || !args.outputs.is_empty()) {
        let message = "a sweep writes no trace, no table and no outputs";
        let fault = Diagnostic::new(Code::BadUsage, message).help("give one size for each parameter");
        return Err(vec![fault.into()]);
    }
    for read in [args.file.as_path(), Path::new(&args.chip)] {
        let written = args.outputs.iter().chain(&args.trace).chain(&args.csv);
        request::check_not_source(read, written).map_err(|d| vec![d.into()])?;
    }
    let mut files = Vec::new();
    let mut runs = Vec::new();
    for point in &points {
        let program = with_params(&program, point)?;
        verify::verify(&program, &chip).map_err(in_source)?;
        let races = match race::find(&program, &chip) {
            Ok(()) => npu::Races::None,
            Err(found) if found.iter().all(|d| d.code == Code::TooLarge) => npu::Races::NotLookedFor,
            Err(found) => return Err(in_source(found)),
        };
        let report = match &args.trace {
            None => timing::cycles(&program, &chip).map_err(|d| in_source(vec![d]))?,
            Some(path) => {
                let (report, json) = trace::trace(&program, &chip).map_err(|d| in_source(vec![d]))?;
                files.extend(stage(path, &json).map(|file| vec![file])?);
                report
            }
        };
        if let Some(path) = &args.csv {
            files.push(stage(path, &report.csv())?);
        }
        let outputs = if args.functional { outputs(args, &program, &chip, &source)? } else { Vec::new() };
        files.extend(staged(args, &outputs)?);
        let dims = program.param_values().into_iter().collect();
        runs.push(npu::Run { dims, report, races, outputs: summaries(args, &outputs) });
    }
    io::commit(files).map_err(|d| vec![d.into()])?;
    let text = npu::text(&program.name, &chip.name, &runs);
    let body = Body::Npu { program: program.name, chip: chip.name, runs: runs.into_iter().map(npu::json).collect() };
    Ok(Outcome::done(text, body))
}

/// The chip of that name, or of that file.
fn chip(name: &str) -> Result<Chip, Vec<Fault>> {
    if Path::new(name).extension().is_none_or(|e| e != "toml") {
        return Chip::named(name).map_err(|d| vec![d.into()]);
    }
    let source = read(Path::new(name))?;
    utf8(&source.bytes).and_then(Chip::parse).map_err(|d| Fault::in_source(vec![d], &source))
}

fn read(path: &Path) -> Result<Rc<SourceFile>, Vec<Fault>> {
    if path.extension().is_some_and(|e| e == "msd") {
        let message = format!("`{}` is a kernel, not a stream", path.display());
        let fault = Diagnostic::new(Code::BadUsage, message);
        return Err(vec![fault.help("streams end in `.npu`; kernels run on the CPU with `msd run`").into()]);
    }
    SourceFile::read(path).map(Rc::new).map_err(|d| vec![Fault::in_file(d, &display(path))])
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

fn summaries(args: &NpuArgs, outputs: &[(String, Tensor)]) -> Vec<(String, Output)> {
    let of = |(index, (name, tensor)): (usize, &(String, Tensor))| {
        (name.clone(), Output::new(index, tensor, args.outputs.get(index)))
    };
    outputs.iter().enumerate().map(of).collect()
}

fn staged(args: &NpuArgs, outputs: &[(String, Tensor)]) -> Result<Vec<Staged>, Vec<Fault>> {
    if args.outputs.len() > outputs.len() {
        let message = format!("{} `-o` files for {} output tensors", args.outputs.len(), outputs.len());
        return Err(vec![
            Diagnostic::new(Code::BadUsage, message).help("outputs go to the files in their order").into(),
        ]);
    }
    let files = args.outputs.iter().zip(outputs).map(|(path, (_, tensor))| npy::stage(path, tensor, Halves::Widened));
    files.collect::<Result<_, _>>().map_err(|d| vec![d.into()])
}
