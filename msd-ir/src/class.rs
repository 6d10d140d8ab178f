//! Shape classes: which sizes code is compiled for, and which stay open until the call. One
//! compiled kernel serves every call of its class, that is, every value of the open sizes for which
//! the plan decides alike. Owns that division and nothing of how it is used.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::dim::Sizes;
use crate::graph::Kernel;
use crate::ops::Op;
use crate::types::Type;

/// The part of `sizes` that is compiled in: the sizes of weights, which belong to a model and not to
/// a request, and the columns of the right side of plain products, which their panels must know.
/// Every other size stays open: the number of tokens, and the length of a cache that is no weight.
///
/// `kernel` is the one that is compiled, so after rewriting; `is_weight` tells by index which of its
/// quantized parameters stay the same from call to call.
pub fn fixed_sizes(kernel: &Kernel, sizes: &Sizes, is_weight: impl Fn(usize) -> bool) -> Sizes {
    let fixed = fixed_dimensions(kernel, is_weight);
    sizes.iter().filter(|(name, _)| fixed.contains(*name)).map(|(name, size)| (name.clone(), *size)).collect()
}

fn fixed_dimensions(kernel: &Kernel, is_weight: impl Fn(usize) -> bool) -> BTreeSet<Arc<str>> {
    let weights = kernel.params.iter().enumerate().filter_map(|(i, p)| match &p.ty {
        Type::Quant(q) if is_weight(i) => Some(q.codes.shape.as_slice()),
        Type::Quant(_) | Type::Tensor(_) => None,
    });
    let products = kernel.nodes.iter().filter(|n| n.op == Op::MatMul);
    let columns = products.filter_map(|n| kernel.tensor_ty(n.operands[1]).shape.last()).map(std::slice::from_ref);
    weights.chain(columns).flatten().flat_map(|dim| dim.names()).collect()
}
