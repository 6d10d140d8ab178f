//! A kernel on a chip: lowered as its plan says, or in both ways side by side.

use msd::ascend::chip::Chip;
use msd::ir::diag::{Code, Diagnostic};
use msd::ir::dim::Sizes;
use msd::ir::graph::Lowering;
use msd::ir::tensor::Tensor;
use msd::{Npu, NpuVariant, Options};

use super::Runs;
use crate::inputs::{self, Missing, dims, sizes};
use crate::kernel_args::{Merge, NpuArgs, NpuLowering, Variant};
use crate::origin::Fault;
use crate::report::npu::Run;
use crate::request::Subject;

/// Runs the kernel, once for each combination of sizes and each lowering.
pub(super) fn runs(args: &NpuArgs, chip: &Chip) -> Result<Runs, Vec<Fault>> {
    let subject = Subject::of(&args.file, args.kernel.as_deref())?;
    let in_source = |diagnostics: Vec<Diagnostic>| subject.faults(diagnostics);
    let points = dims::sweep(&args.dims).map_err(|d| in_source(vec![d]))?;
    super::check_single(args, points.len()).map_err(|d| in_source(vec![d]))?;
    check_variants(args).map_err(|d| in_source(vec![d]))?;
    let mut runs = Runs { name: subject.kernel.name.to_string(), ..Runs::default() };
    for point in &points {
        sizes::check_all(&subject.kernel, point, "`msd npu`").map_err(in_source)?;
        for npu in lowered(args, &subject, point, chip).map_err(|d| in_source(vec![d]))? {
            let is_first = runs.list.is_empty();
            let executed = super::execute(npu.program(), chip, args.check, args.trace.is_some() && is_first);
            let ours = |faults: Vec<Diagnostic>| in_source(faults.into_iter().map(Npu::at_fault).collect());
            let executed = executed.map_err(ours)?;
            runs.trace = runs.trace.or(executed.trace);
            let outputs =
                if args.functional { values(args, &subject, &npu, point).map_err(in_source)? } else { Vec::new() };
            runs.list.push(Run {
                lowering: npu.lowering(),
                scheme: npu.rewritten().scheme(),
                variant: variant_names(args, npu.lowering()),
                dims: point.iter().map(|(name, size)| (name.to_string(), *size as i64)).collect(),
                report: executed.report,
                races: executed.races,
                model: Some(npu.model().clone()),
                because: (args.lowering == Some(NpuLowering::Auto)).then(|| npu.because().to_owned()),
                outputs,
            });
        }
    }
    Ok(runs)
}

/// The streams to run: one, or both lowerings where there is something to dequantize.
fn lowered(args: &NpuArgs, subject: &Subject, point: &Sizes, chip: &Chip) -> Result<Vec<Npu>, Diagnostic> {
    let variant = variant(&args.dequant_variant, args.merge);
    let lower = |lowering: Lowering| {
        let mut options = Options::new();
        options.request.scheme = args.scheme;
        options.request.block = args.block;
        options.request.lowering = Some(lowering);
        Npu::new(&subject.kernel, point, chip, &options, variant)
    };
    match args.lowering.unwrap_or(NpuLowering::Both) {
        NpuLowering::Msd => Ok(vec![lower(Lowering::Msd)?]),
        NpuLowering::Dequant => Ok(vec![lower(Lowering::Dequant)?]),
        NpuLowering::Both => {
            let msd = lower(Lowering::Msd)?;
            if msd.lowering() == "plain" {
                return Ok(vec![msd]);
            }
            Ok(vec![msd, lower(Lowering::Dequant)?])
        }
        NpuLowering::Auto => Ok(vec![lower(Lowering::Auto)?]),
    }
}

/// Refuses what says how to do something that is not to be done.
fn check_variants(args: &NpuArgs) -> Result<(), Diagnostic> {
    let (flag, only) = match args.lowering {
        Some(NpuLowering::Msd) if !args.dequant_variant.is_empty() => ("--dequant-variant", "dequant"),
        Some(NpuLowering::Dequant) if args.merge.is_some() => ("--merge", "msd"),
        _ => return Ok(()),
    };
    let message = format!("`{flag}` says nothing where that is not done");
    Err(Diagnostic::new(Code::BadUsage, message).help(format!("it is for `--lowering {only}`, `both` and `auto`")))
}

/// Names of the variants asked for that have a say in a lowering.
fn variant_names(args: &NpuArgs, lowering: &str) -> Vec<&'static str> {
    let NpuVariant { hoisted, f16, l2, fix } = variant(&args.dequant_variant, args.merge);
    let (dequantizes, merges) = match lowering {
        "msd" => (false, true),
        "dequant" => (true, false),
        "mixed" => (true, true),
        _ => (false, false),
    };
    let names = [("hoisted", hoisted, dequantizes), ("f16", f16, dequantizes), ("l2", l2, dequantizes)];
    let names = names.into_iter().chain([("fix", fix, merges)]);
    names.filter(|(_, is_asked, counts)| *is_asked && *counts).map(|(name, ..)| name).collect()
}

/// The variants asked for, together.
fn variant(said: &[Variant], merge: Option<Merge>) -> NpuVariant {
    NpuVariant {
        hoisted: said.contains(&Variant::Hoisted),
        f16: said.contains(&Variant::F16),
        l2: said.contains(&Variant::L2),
        fix: merge == Some(Merge::Fix),
    }
}

/// Names and values of the results.
fn values(
    args: &NpuArgs,
    subject: &Subject,
    npu: &Npu,
    point: &Sizes,
) -> Result<Vec<(String, Tensor)>, Vec<Diagnostic>> {
    let resolved = inputs::resolve(&subject.kernel, &args.inputs, point, Missing::Random)?;
    let results = npu.call(&resolved.inputs).map_err(|d| vec![d])?;
    let outputs = npu.program().tensors.iter().filter(|t| t.purpose == msd::ascend::program::Purpose::Output);
    Ok(outputs.map(|t| t.name.clone()).zip(results).collect())
}
