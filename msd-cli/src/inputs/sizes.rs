//! Sizes of a kernel's dimensions, from `-D` and from the shapes of files. Owns conflicts between
//! them; that every quotient divides is checked when the inputs are bound.

use std::collections::BTreeMap;
use std::sync::Arc;

use msd::io::{RawTensor, Stored};
use msd::ir::diag::{Code, Diagnostic};
use msd::ir::dim::{DimError, Sizes, exact_quotient};
use msd::ir::graph::Kernel;
use msd::ir::input::size_fault;

use super::slots::{Feed, Slot};
use crate::names;

/// Sizes, and where each came from.
#[derive(Default)]
struct Found {
    sizes: Sizes,
    origins: BTreeMap<Arc<str>, String>,
}

/// The size of every dimension of `kernel`.
pub(super) fn find(kernel: &Kernel, slots: &[Slot<'_>], dims: &Sizes) -> Result<Sizes, Vec<Diagnostic>> {
    let mut found = Found::default();
    let mut faults = Vec::new();
    for (name, size) in dims {
        match check_name(kernel, name) {
            Ok(()) => {
                found.sizes.insert(name.clone(), *size);
                found.origins.insert(name.clone(), format!("`-D {name}={size}`"));
            }
            Err(fault) => faults.push(fault),
        }
    }
    // Files that may hold two codes per byte come last: their last axis is read by what is known.
    let files = || slots.iter().filter_map(|s| if let Feed::File(raw) = &s.feed { Some((s, raw)) } else { None });
    let (pairs, plain): (Vec<_>, Vec<_>) = files().partition(|(slot, raw)| may_hold_pairs(slot, raw));
    for (slot, raw) in plain.into_iter().chain(pairs) {
        faults.extend(found.take(slot, raw).err());
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let unset: Vec<Arc<str>> = kernel.dimensions().into_iter().filter(|name| !found.sizes.contains_key(name)).collect();
    if unset.is_empty() { Ok(found.sizes) } else { Err(unset.iter().map(|n| unset_fault(slots, n)).collect()) }
}

/// Whether `kernel` has a dimension of that name.
fn check_name(kernel: &Kernel, name: &str) -> Result<(), Diagnostic> {
    let known = kernel.dimensions();
    if known.iter().any(|n| &**n == name) {
        return Ok(());
    }
    let message = format!("kernel `{}` has no dimension `{name}`", kernel.name);
    Err(Diagnostic::new(Code::BadUsage, message).help(names::help(name, known.iter().map(|n| &**n))))
}

/// Checks sizes without inputs, where some may stay open: every name must exist, and every
/// quotient whose sizes are known must divide.
pub(crate) fn check(kernel: &Kernel, dims: &Sizes) -> Result<(), Vec<Diagnostic>> {
    let unknown = dims.keys().filter_map(|name| check_name(kernel, name).err());
    let quotients = kernel.quotients.iter().filter_map(|(a, b)| match exact_quotient(a, b, dims) {
        Ok(_) | Err(DimError::Unset(_)) => None,
        Err(error) => Some(size_fault(error).at(kernel.span)),
    });
    let faults: Vec<Diagnostic> = unknown.chain(quotients).collect();
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// The same for `what`, which needs the size of every dimension.
pub(crate) fn check_all(kernel: &Kernel, dims: &Sizes, what: &str) -> Result<(), Vec<Diagnostic>> {
    check(kernel, dims)?;
    let unset = kernel.dimensions().into_iter().filter(|name| !dims.contains_key(name));
    let unset: Vec<String> = unset.map(|name| name.to_string()).collect();
    if unset.is_empty() {
        return Ok(());
    }
    let message = format!("{what} needs the size of {}", unset.join(", "));
    let example: Vec<String> = unset.iter().map(|name| format!("{name}=64")).collect();
    let help = format!("give them, such as `-D {}`", example.join(","));
    Err(vec![Diagnostic::new(Code::DimensionUnset, message).help(help)])
}

impl Found {
    /// Takes the sizes that a file states, where a dimension's name stands alone.
    fn take(&mut self, slot: &Slot<'_>, raw: &RawTensor) -> Result<(), Diagnostic> {
        let stated = raw.shape();
        if stated.len() != slot.ty.rank() {
            let message = format!("{slot}: {} has shape {stated:?}, but `{}` is expected", raw.origin(), slot.ty);
            return Err(Diagnostic::new(Code::InputShape, message).at(slot.span));
        }
        for (axis, (dim, size)) in slot.ty.shape.iter().zip(stated).enumerate() {
            let size = *size as u64;
            let is_last = axis + 1 == stated.len();
            let Some(name) = dim.as_name() else { continue };
            match self.sizes.get(name) {
                None => {
                    self.sizes.insert(name.into(), size);
                    self.origins.insert(name.into(), format!("{slot} ({}, shape {stated:?})", raw.origin()));
                }
                Some(known) if *known == size => {}
                Some(known) if is_last && may_hold_pairs(slot, raw) && size.checked_mul(2) == Some(*known) => {}
                Some(known) => {
                    let former = self.origins.get(name).map_or("", String::as_str);
                    let message = format!(
                        "dimension `{name}` is {known} by {former}, but {size} by {slot} ({}, shape {stated:?})",
                        raw.origin()
                    );
                    let help = "a dimension has one size; correct one of the two";
                    return Err(Diagnostic::new(Code::DimensionConflict, message).at(slot.span).help(help));
                }
            }
        }
        Ok(())
    }
}

/// Whether the last axis of a file may be half as long as the tensor's.
fn may_hold_pairs(slot: &Slot<'_>, raw: &RawTensor) -> bool {
    slot.ty.dtype.bits() == 4 && matches!(raw.stored(), Stored::U8 | Stored::I8)
}

fn unset_fault(slots: &[Slot<'_>], name: &str) -> Diagnostic {
    let fault = Diagnostic::new(Code::DimensionUnset, format!("dimension `{name}` has no size"));
    let help = format!("give it with `-D {name}=…`, or a file to a parameter that has it");
    let user = slots.iter().find(|s| s.ty.shape.iter().any(|d| d.as_name() == Some(name)));
    match user {
        Some(slot) => fault.at(slot.span).here(format!("`{name}` is a dimension of {slot}")).help(help),
        None => fault.help(help),
    }
}

/// Why a dimension of a slot has no size.
pub(super) fn dim_fault(slot: &Slot<'_>, error: DimError) -> Diagnostic {
    let mut fault = size_fault(error).at(slot.span);
    fault.message = format!("{slot}, which is `{}`: {}", slot.ty, fault.message);
    fault
}
