//! From `-i` and `-D` to the tensors of a kernel. Owns which source feeds which parameter, and how
//! sizes are found; refuses file formats ([`msd::io`]) and the last check of values against types
//! ([`msd::ir::input::bind`]).
//!
//! Sizes come from `-D`, then from the shapes of files, where a dimension's name stands alone;
//! random tensors take what is known then. So the order of flags does not matter.

pub(crate) mod dims;
mod generate;
pub(crate) mod random;
pub(crate) mod sizes;
mod slots;
pub(crate) mod syntax;

use msd::io;
use msd::ir::diag::{Code, Diagnostic};
use msd::ir::dim::Sizes;
use msd::ir::graph::Kernel;
use msd::ir::input::{self, Input};
use msd::ir::tensor::{Tensor, element_count};

use self::slots::{Feed, Slot};
use self::syntax::{InputFlag, Part};

/// Most bytes all inputs of a kernel may take together: beyond it, a size is a slip of the finger
/// that would otherwise end in the machine's memory.
const MAX_BYTES: usize = 1 << 33;

/// What becomes of a parameter that no flag feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It is an error.
    Refuse,
    /// It is random, as `randn` of a seed of its own.
    Random,
}

/// A kernel's inputs.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// One per parameter, in their order.
    pub(crate) inputs: Vec<Input>,
    /// The size of every dimension.
    pub(crate) sizes: Sizes,
}

/// Reads and draws what feeds `kernel`. Places of the diagnostics are in the kernel's source.
pub(crate) fn resolve(
    kernel: &Kernel,
    flags: &[InputFlag],
    dims: &Sizes,
    missing: Missing,
) -> Result<Resolved, Vec<Diagnostic>> {
    let slots = slots::fill(kernel, flags, missing)?;
    let sizes = sizes::find(kernel, &slots, dims)?;
    let shapes = collect(slots.iter().map(|slot| shape(slot, &sizes)))?;
    check_total(&slots, &shapes).map_err(|d| vec![d])?;
    let mut row = 1;
    let tensors = collect(slots.into_iter().zip(shapes).map(|(slot, shape)| {
        // A parameter's codes stand before its scale.
        if slot.part == Part::Value {
            row = shape.last().copied().unwrap_or(1);
        }
        tensor(slot, shape, row)
    }))?;
    let inputs = assemble(tensors);
    let sizes = input::bind_owned(kernel, &inputs, &sizes).map_err(|d| vec![d])?;
    Ok(Resolved { inputs, sizes })
}

/// All values, or all faults.
fn collect<T>(results: impl Iterator<Item = Result<T, Diagnostic>>) -> Result<Vec<T>, Vec<Diagnostic>> {
    let (mut values, mut faults) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(values) } else { Err(faults) }
}

/// The shape of a slot's tensor.
fn shape(slot: &Slot<'_>, sizes: &Sizes) -> Result<Vec<usize>, Diagnostic> {
    let size = |dim: &msd::ir::dim::Dim| {
        let size = dim.eval(sizes).map_err(|e| sizes::dim_fault(slot, e))?;
        usize::try_from(size).map_err(|_| too_large(slot, format!("`{dim}` is {size}")))
    };
    slot.ty.shape.iter().map(size).collect()
}

fn check_total(slots: &[Slot<'_>], shapes: &[Vec<usize>]) -> Result<(), Diagnostic> {
    let mut total = 0usize;
    for (slot, shape) in slots.iter().zip(shapes) {
        let bytes = element_count(shape).and_then(|n| n.checked_mul(slot.ty.dtype.host_bytes()));
        let after = bytes.and_then(|b| total.checked_add(b)).filter(|t| *t <= MAX_BYTES);
        total = after.ok_or_else(|| too_large(slot, format!("its shape is {shape:?}")))?;
    }
    Ok(())
}

fn too_large(slot: &Slot<'_>, why: String) -> Diagnostic {
    let message = format!("{slot} is too large: {why}");
    let help = format!("all inputs together may take {} GiB", MAX_BYTES >> 30);
    Diagnostic::new(Code::TooLarge, message).at(slot.span).help(help)
}

/// Reads or draws one tensor; `row` is the size of the last axis of its parameter's value.
fn tensor(slot: Slot<'_>, shape: Vec<usize>, row: usize) -> Result<(usize, Part, Tensor), Diagnostic> {
    let (param, part, dtype, span, name) = (slot.param, slot.part, slot.ty.dtype, slot.span, slot.to_string());
    let tensor = match slot.feed {
        Feed::File(raw) => {
            let expected: Vec<Option<usize>> = shape.into_iter().map(Some).collect();
            io::convert(raw, dtype, &expected)
        }
        Feed::Recipe(recipe) => generate::generate(recipe, dtype, shape, row),
    };
    // Readers know files, not parameters.
    let tensor = tensor.map_err(|mut d| {
        d.message = format!("parameter {name}: {}", d.message);
        d.at(span)
    })?;
    Ok((param, part, tensor))
}

/// Puts the parts of each parameter together; they stand in the order of the slots, values first.
fn assemble(tensors: Vec<(usize, Part, Tensor)>) -> Vec<Input> {
    let mut inputs: Vec<Input> = Vec::new();
    for (_, part, tensor) in tensors {
        match (part, inputs.last_mut()) {
            (Part::Scale, Some(input)) => input.scale = Some(tensor),
            (Part::Zero, Some(input)) => input.zero = Some(tensor),
            _ => inputs.push(Input { tensor, scale: None, zero: None }),
        }
    }
    inputs
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
