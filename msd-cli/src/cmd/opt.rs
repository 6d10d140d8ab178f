//! `msd opt`: a kernel at a level of compilation: rewritten, planned, as Cranelift IR or as
//! machine code, for this machine or a chip. What it prints of the IR is `.msd` that `msd check` accepts.

use msd::ascend::chip::Chip;
use msd::ir::diag::{Code, Diagnostic};
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
    let in_source = |diagnostics: Vec<Diagnostic>| subject.faults(diagnostics);
    let dims = dims::single(&args.plan.dims).map_err(|d| in_source(vec![d]))?;
    let options = Options { listing: true, ..request::options(&args.plan, args.threads.threads) };
    let level = format!("`--emit {}`", args.emit.name());
    let Some(chip) = chip(args)? else {
        let checked = match args.emit {
            Emit::Clif | Emit::Asm => sizes::check_all(&subject.kernel, &dims, &level),
            Emit::Ir | Emit::Plan | Emit::Npu => sizes::check(&subject.kernel, &dims),
        };
        checked.map_err(in_source)?;
        let rewritten = Rewritten::new(&subject.kernel, &dims, &options).map_err(|d| in_source(vec![d]))?;
        return print(args, &subject, &rewritten, || listing(&rewritten, &options, args.emit));
    };
    sizes::check_all(&subject.kernel, &dims, &format!("{level} for {}", chip.name)).map_err(in_source)?;
    let npu = Npu::new(&subject.kernel, &dims, &chip, &options, NpuVariant::default());
    let npu = npu.map_err(|d| in_source(vec![d]))?;
    print(args, &subject, npu.rewritten(), || Ok(vec![Function { name: chip.name, text: npu.stream() }]))
}

/// The chip that the kernel is planned for, if it is not this machine.
fn chip(args: &OptArgs) -> Result<Option<Chip>, Vec<Fault>> {
    match (&args.plan.target, args.emit) {
        (Target::Chip(name), Emit::Clif | Emit::Asm) => {
            let message = format!("`--emit {}` shows compiled code, not the target `{name}`", args.emit.name());
            Err(vec![Diagnostic::new(Code::BadUsage, message).help("`--emit npu` shows its instructions").into()])
        }
        (Target::Chip(name), _) => npu::chip(name).map(Some),
        (Target::Cpu | Target::Reference, Emit::Npu) => npu::chip("ascend-910b").map(Some),
        (Target::Cpu | Target::Reference, _) => Ok(None),
    }
}

/// What was asked for, of what was decided and of the code.
fn print(
    args: &OptArgs,
    subject: &Subject,
    rewritten: &Rewritten,
    code: impl FnOnce() -> Result<Vec<Function>, Vec<Diagnostic>>,
) -> Result<Outcome, Vec<Fault>> {
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
            let code = code().map_err(|d| subject.faults(d))?;
            text.extend(code.iter().map(|f| format!("; {}\n{}\n", f.name, f.text.trim_end())));
            functions = Some(code);
        }
        Emit::Npu => {
            let code = code().map_err(|d| subject.faults(d))?;
            text.extend(code.iter().map(|f| f.text.as_str()));
            functions = Some(code);
        }
    }
    let kernel = subject.kernel.name.to_string();
    let body = Body::Opt { kernel, emit: args.emit.name(), passes, ir, sites: plan, functions };
    Ok(Outcome::done(text, body))
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
fn listing(rewritten: &Rewritten, options: &Options, emit: Emit) -> Result<Vec<Function>, Vec<Diagnostic>> {
    let compiled = rewritten.compile(options)?;
    let functions = if emit == Emit::Clif { compiled.code().clif() } else { compiled.code().asm() };
    Ok(functions.into_iter().map(|(name, text)| Function { name, text }).collect())
}
