//! `msd opt`: a kernel at a level of compilation: rewritten, planned, as Cranelift IR or as
//! machine code. What it prints of the IR is `.msd` that `msd check` accepts.

use msd::ir::diag::{Code, Diagnostic};
use msd::ir::dim::Sizes;
use msd::ir::text;
use msd::{Npu, NpuVariant, Options, PassEvent, Rewritten};

use crate::inputs::{dims, sizes};
use crate::kernel_args::{Emit, OptArgs, Target};
use crate::names;
use crate::npu;
use crate::origin::Fault;
use crate::report::{Body, Function, Outcome, Pass, site};
use crate::request::{self, Subject};

/// Prints what was asked for.
pub(crate) fn run(args: &OptArgs) -> Outcome {
    opt(args).unwrap_or_else(Outcome::failure)
}

fn opt(args: &OptArgs) -> Result<Outcome, Vec<Fault>> {
    let subject = Subject::read(&args.plan)?;
    let dims = dims::single(&args.plan.dims).map_err(|d| subject.faults(vec![d]))?;
    sizes::check(&subject.kernel, &dims).map_err(|d| subject.faults(d))?;
    let options = Options { listing: true, ..request::options(&args.plan, args.threads.threads) };
    let rewritten = Rewritten::new(&subject.kernel, &dims, &options).map_err(|d| subject.faults(vec![d]))?;
    let passes = passes(&rewritten.passes, &args.print_after).map_err(|d| subject.faults(vec![d]))?;

    let mut text = passes.iter().filter_map(pass_text).collect::<String>();
    let (mut ir, mut plan, mut functions) = (None, None, None);
    match args.emit {
        Emit::Ir => text += ir.insert(text::print(&rewritten.kernel)),
        Emit::Plan => {
            let sites = rewritten.sites();
            text.extend(site::lines(&sites, &subject.source));
            plan = Some(site::json(sites, &subject.source));
        }
        Emit::Clif | Emit::Asm => {
            let listed = listing(&rewritten, &dims, &options, args.emit).map_err(|d| subject.faults(d))?;
            text.extend(listed.iter().map(|f| format!("; {}\n{}\n", f.name, f.text.trim_end())));
            functions = Some(listed);
        }
        Emit::Npu => {
            let listed = stream(&args.plan.target, &subject, &dims, &options)?;
            text += &listed.text;
            functions = Some(vec![listed]);
        }
    }
    let kernel = subject.kernel.name.to_string();
    let body = Body::Opt { kernel, emit: args.emit.name(), passes, ir, sites: plan, functions };
    Ok(Outcome::done(text, body))
}

/// The instruction stream for the chip that is the target.
fn stream(target: &Target, subject: &Subject, dims: &Sizes, options: &Options) -> Result<Function, Vec<Fault>> {
    let chip = match target {
        Target::Chip(name) => npu::chip(name)?,
        Target::Cpu | Target::Reference => npu::chip("ascend-910b")?,
    };
    let npu = Npu::new(&subject.kernel, dims, &chip, options, NpuVariant::default());
    let npu = npu.map_err(|d| subject.faults(vec![d]))?;
    Ok(Function { name: chip.name, text: npu.stream() })
}

/// The passes, with the kernel after those that `wanted` names.
fn passes(events: &[PassEvent], wanted: &[String]) -> Result<Vec<Pass>, Diagnostic> {
    let names = events.iter().map(|e| e.pass).chain(["all", "change"]);
    if let Some(unknown) = wanted.iter().find(|w| !names.clone().any(|n| n == *w)) {
        let message = format!("no pass is called `{unknown}`");
        return Err(Diagnostic::new(Code::BadUsage, message).help(names::help(unknown, names)));
    }
    let is_wanted = |e: &PassEvent| wanted.iter().any(|w| w == e.pass || w == "all" || (w == "change" && e.changed));
    let pass = |e: &PassEvent| Pass {
        pass: e.pass,
        changed: e.changed,
        ms: e.elapsed.as_secs_f64() * 1e3,
        ir: is_wanted(e).then(|| text::print(&e.kernel)),
    };
    Ok(events.iter().map(pass).collect())
}

fn pass_text(pass: &Pass) -> Option<String> {
    let changed = if pass.changed { "" } else { ", nothing changed" };
    pass.ir.as_ref().map(|ir| format!("// after {}: {:.3} ms{changed}\n{ir}\n", pass.pass, pass.ms))
}

/// The code of every function, which is specialised to the sizes of every dimension.
fn listing(
    rewritten: &Rewritten,
    dims: &Sizes,
    options: &Options,
    emit: Emit,
) -> Result<Vec<Function>, Vec<Diagnostic>> {
    let unset = rewritten.kernel.dimensions().into_iter().filter(|name| !dims.contains_key(name));
    let unset: Vec<String> = unset.map(|name| name.to_string()).collect();
    if !unset.is_empty() {
        let message = format!("`--emit {}` needs the size of {}", emit.name(), unset.join(", "));
        let example: Vec<String> = unset.iter().map(|name| format!("{name}=64")).collect();
        let help = format!("code is specialised to its sizes: give them, such as `-D {}`", example.join(","));
        return Err(vec![Diagnostic::new(Code::DimensionUnset, message).help(help)]);
    }
    let compiled = rewritten.compile(options)?;
    let functions = if emit == Emit::Clif { compiled.code().clif() } else { compiled.code().asm() };
    Ok(functions.into_iter().map(|(name, text)| Function { name, text }).collect())
}
