//! Shape classes: which sizes code is compiled for, and which stay open until the call. One
//! compiled kernel serves every call of its class, that is, every value of the open sizes for which
//! the plan decides alike. Owns that division and nothing of how it is used.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::dim::Sizes;
use crate::graph::Kernel;
use crate::ops::Op;
use crate::types::Type;

/// Names of the dimensions whose sizes are compiled in: those of quantized parameters, which are
/// the sizes of a model and not of a request, and the columns of the right side of plain products,
/// which their panels must know. Every other one stays open, first of all the number of tokens.
///
/// `kernel` is the one that is compiled, so after rewriting.
pub fn fixed_dimensions(kernel: &Kernel) -> BTreeSet<Arc<str>> {
    let weights = kernel.params.iter().filter_map(|p| match &p.ty {
        Type::Quant(q) => Some(q.codes.shape.as_slice()),
        Type::Tensor(_) => None,
    });
    let products = kernel.nodes.iter().filter(|n| n.op == Op::MatMul);
    let columns = products.filter_map(|n| kernel.tensor_ty(n.operands[1]).shape.last()).map(std::slice::from_ref);
    weights.chain(columns).flatten().flat_map(|dim| dim.names()).collect()
}

/// The part of `sizes` that is compiled in.
pub fn fixed_sizes(kernel: &Kernel, sizes: &Sizes) -> Sizes {
    let fixed = fixed_dimensions(kernel);
    sizes.iter().filter(|(name, _)| fixed.contains(*name)).map(|(name, size)| (name.clone(), *size)).collect()
}
