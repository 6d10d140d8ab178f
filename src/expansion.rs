//! What the expansions of the macros call, and nobody else: no part of the interface.

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::tensor::Tensor;

use crate::{Array, Element, Error, Result};

/// The next result of a call.
///
/// # Errors
/// If it has another element type or number of axes, which the macro has ruled out.
pub fn result<T: Element, const R: usize>(results: &mut impl Iterator<Item = Tensor>) -> Result<Array<T, R>> {
    let missing = || Error::from(Diagnostic::new(Code::Internal, "a call gave too few results"));
    Array::try_from(results.next().ok_or_else(missing)?)
}
