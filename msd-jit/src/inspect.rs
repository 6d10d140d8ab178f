//! What the code generator would emit, for people and tests to read, on targets this machine need
//! not be. Owns no code generation; what runs here is [`crate::kernel`]'s.

use msd_ir::diag::Diagnostic;
use msd_ir::dim::Sizes;
use msd_ir::graph::Kernel;

use crate::isa::{Isa, internal};
use crate::lower::lower;
use crate::module::CodeBuilder;
use crate::schedule::schedule;

/// Machine code of every function of `kernel` compiled for `isa`, as (name, Cranelift's text).
///
/// # Errors
/// Those of [`crate::kernel::compile`].
pub fn asm(kernel: &Kernel, fixed: &Sizes, isa: &Isa) -> Result<Vec<(String, String)>, Diagnostic> {
    let program = schedule(kernel, fixed, isa)?;
    let mut code = CodeBuilder::new(isa, program.stages.len(), true)?;
    lower(isa, &mut code, &program)?;
    let listing = code.into_listing()?.ok_or_else(|| internal("no listing was kept"))?;
    Ok(listing.asm)
}
