//! Which source feeds which tensor of a kernel. Owns the names of `-i` and the files they open.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use msd::io::{RawTensor, npy, safetensors};
use msd::ir::diag::{Code, Diagnostic};
use msd::ir::graph::{Kernel, Param};
use msd::ir::span::Span;
use msd::ir::types::{TensorType, Type};

use super::Missing;
use super::generate::Recipe;
use super::syntax::{InputFlag, Part, Source, Values};
use crate::names;

/// A tensor of a kernel and what feeds it.
#[derive(Debug)]
pub(super) struct Slot<'k> {
    /// Index of the parameter.
    pub(super) param: usize,
    /// Which of its tensors.
    pub(super) part: Part,
    /// What it is called.
    name: String,
    /// Its type as declared.
    pub(super) ty: &'k TensorType,
    /// The parameter's declaration.
    pub(super) span: Span,
    /// What feeds it.
    pub(super) feed: Feed,
}

/// What feeds a tensor.
#[derive(Debug)]
pub(super) enum Feed {
    /// A tensor of a file.
    File(RawTensor),
    /// Something to generate.
    Recipe(Recipe),
}

impl fmt::Display for Slot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.name)
    }
}

/// A tensor that nothing feeds yet.
struct Open<'k> {
    param: usize,
    part: Part,
    name: String,
    ty: &'k TensorType,
    span: Span,
    source: Option<Source>,
    /// Whether the source is a file given whole, to which a name of its own is preferred.
    from_whole: bool,
}

/// Finds what feeds each tensor of `kernel`; parameters in order, and of each its value, scale and
/// zero point.
pub(super) fn fill<'k>(
    kernel: &'k Kernel,
    flags: &[InputFlag],
    missing: Missing,
) -> Result<Vec<Slot<'k>>, Vec<Diagnostic>> {
    let mut files = Files::default();
    let mut open: Vec<Open<'k>> = kernel.params.iter().enumerate().flat_map(|(i, p)| parts(i, p)).collect();
    let mut faults = Vec::new();
    for flag in flags {
        if let InputFlag::One { name, part, source } = flag {
            faults.extend(set_one(kernel, &mut open, name, *part, source).err());
        }
    }
    for flag in flags {
        if let InputFlag::All(path) = flag {
            faults.extend(set_all(kernel, &mut open, path, &mut files).err());
        }
    }
    // What is missing is not worth saying while a name is wrong: it may be the one missing.
    let mut slots = Vec::new();
    for i in 0..if faults.is_empty() { open.len() } else { 0 } {
        match feed(&open, i, missing, &mut files) {
            Ok(feed) => {
                let Open { param, part, ty, span, .. } = open[i];
                slots.push(Slot { param, part, name: open[i].name.clone(), ty, span, feed });
            }
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(slots) } else { Err(faults) }
}

/// The tensors of a parameter.
fn parts(index: usize, param: &Param) -> Vec<Open<'_>> {
    let open = |part: Part, ty| {
        let name = format!("{}{part}", param.name);
        Open { param: index, part, name, ty, span: param.span, source: None, from_whole: false }
    };
    match &param.ty {
        Type::Tensor(ty) => vec![open(Part::Value, ty)],
        Type::Quant(quant) => {
            let mut parts = vec![open(Part::Value, &quant.codes), open(Part::Scale, &quant.scale.ty)];
            parts.extend(quant.zero.as_ref().map(|zero| open(Part::Zero, &zero.ty)));
            parts
        }
    }
}

fn set_one(kernel: &Kernel, open: &mut [Open<'_>], name: &str, part: Part, source: &Source) -> Result<(), Diagnostic> {
    let full = format!("{name}{part}");
    let Some(slot) = open.iter_mut().find(|o| o.name == full) else {
        let params = kernel.params.iter().map(|p| &*p.name);
        if let Some(param) = kernel.params.iter().find(|p| &*p.name == name) {
            let message = format!("`{full}` does not exist: `{name}` is `{}`", param.ty);
            return Err(Diagnostic::new(Code::UnknownInput, message).help(format!("give `{name}` alone")));
        }
        let message = format!("kernel `{}` has no parameter `{name}`", kernel.name);
        return Err(Diagnostic::new(Code::UnknownInput, message).help(names::help(name, params)));
    };
    if slot.source.is_some() {
        return Err(Diagnostic::new(Code::BadUsage, format!("`{full}` is given twice")).help("leave one `-i` out"));
    }
    slot.source = Some(source.clone());
    Ok(())
}

/// Binds the tensors of a file by name. The scale and zero point of the only quantized parameter
/// may be called just `scale` and `zero`, unless a parameter has that name.
fn set_all(kernel: &Kernel, open: &mut [Open<'_>], path: &Path, files: &mut Files) -> Result<(), Diagnostic> {
    let known = files.open(path)?.names();
    let quantized = kernel.params.iter().filter(|p| matches!(p.ty, Type::Quant(_))).count();
    let mut bound = false;
    for slot in open.iter_mut() {
        let short = match slot.part {
            Part::Scale => Some("scale"),
            Part::Zero => Some("zero"),
            Part::Value => None,
        };
        let short = short.filter(|s| quantized == 1 && kernel.params.iter().all(|p| &*p.name != *s));
        let candidates = std::iter::once(slot.name.as_str()).chain(short);
        let Some(tensor) = candidates.into_iter().find(|c| known.iter().any(|k| k == c)).map(str::to_owned) else {
            continue;
        };
        bound = true;
        match &slot.source {
            // A flag of its own is meant more than a file given whole.
            Some(_) if !slot.from_whole => {}
            Some(_) => {
                let message = format!("`{}` is in several files, `{}` among them", slot.name, path.display());
                let help = format!("say which: `-i {}=@{}#{tensor}`", slot.name, path.display());
                return Err(Diagnostic::new(Code::BadUsage, message).help(help));
            }
            None => {
                slot.source = Some(Source::Safetensors { path: path.to_owned(), tensor });
                slot.from_whole = true;
            }
        }
    }
    if bound {
        return Ok(());
    }
    let message = format!("no tensor of `{}` has the name of a parameter of `{}`", path.display(), kernel.name);
    let wanted: Vec<String> = open.iter().map(|o| format!("`{}`", o.name)).collect();
    let held: Vec<String> = known.iter().take(20).map(|k| format!("`{k}`")).collect();
    let help = format!("the kernel takes {}; the file holds {}", wanted.join(", "), held.join(", "));
    Err(Diagnostic::new(Code::TensorNotFound, message).help(help))
}

/// What feeds tensor `i`.
fn feed(open: &[Open<'_>], i: usize, missing: Missing, files: &mut Files) -> Result<Feed, Diagnostic> {
    let slot = &open[i];
    match &slot.source {
        Some(Source::Npy(path)) => return npy::read(path).map(Feed::File).map_err(|d| named(slot, d)),
        Some(Source::Safetensors { path, tensor }) => {
            return files.open(path).and_then(|f| f.read(tensor)).map(Feed::File).map_err(|d| named(slot, d));
        }
        Some(Source::Values(values)) => return Ok(Feed::Recipe(own_recipe(open, i, *values))),
        None => {}
    }
    let codes = open.iter().find(|o| o.param == slot.param && o.part == Part::Value);
    let drawn = codes.and_then(|c| match c.source {
        Some(Source::Values(Values::Normal { seed, std })) => Some((seed, std)),
        Some(Source::Values(Values::Uniform { seed, .. })) => Some((seed, 1.0)),
        _ => None,
    });
    let own = (missing == Missing::Random).then_some((slot.param as u64, 1.0));
    let (Some((seed, std)), Some(codes)) = (drawn.or(own), codes) else {
        let message = format!("nothing feeds `{}`, which is `{}`", slot.name, slot.ty);
        let help = format!("give it with `-i {0}=@FILE.npy`, or `-i {0}=randn:1`", slot.name);
        return Err(Diagnostic::new(Code::MissingInput, message).at(slot.span).help(help));
    };
    Ok(Feed::Recipe(match slot.part {
        Part::Value => own_recipe(open, i, Values::Normal { seed, std }),
        Part::Scale => Recipe::Scales { seed, std, codes: codes.ty.dtype },
        Part::Zero => Recipe::Zeros { codes: codes.ty.dtype },
    }))
}

/// Random codes for the value of a quantized parameter, unless bounds say which; else the values.
fn own_recipe(open: &[Open<'_>], i: usize, values: Values) -> Recipe {
    let quantized = open.iter().any(|o| o.param == open[i].param && o.part == Part::Scale);
    match values {
        Values::Normal { seed, .. } | Values::Uniform { seed, bounds: None }
            if quantized && open[i].part == Part::Value =>
        {
            Recipe::Codes { seed }
        }
        _ => Recipe::Values(values),
    }
}

/// Readers know files, not parameters.
fn named(slot: &Open<'_>, mut diagnostic: Diagnostic) -> Diagnostic {
    diagnostic.message = format!("parameter `{}`: {}", slot.name, diagnostic.message);
    diagnostic.at(slot.span)
}

/// Safetensors files, each opened once.
#[derive(Default)]
struct Files {
    open: HashMap<PathBuf, safetensors::File>,
}

impl Files {
    fn open(&mut self, path: &Path) -> Result<&mut safetensors::File, Diagnostic> {
        if !self.open.contains_key(path) {
            self.open.insert(path.to_owned(), safetensors::open(path)?);
        }
        let opened = self.open.get_mut(path);
        opened.ok_or_else(|| Diagnostic::new(Code::Internal, "a file that was just opened is gone"))
    }
}
