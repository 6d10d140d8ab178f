//! Checks a kernel's invariants; a failure is a fault of ours, never of the input. Runs after
//! every pass in tests and debug builds, and before every evaluation. What it checks:
//!
//! 1. Parameter names are unique; quantized parameter types are aligned as [`QuantType::new`]
//!    aligns them.
//! 2. Operands stand before their users and name a result their node has.
//! 3. Every node has as many operands as its op's row says.
//! 4. A parameter node names a declared parameter and has its type; a literal is an F32 scalar.
//! 5. Every other node has the types its op's rule computes from its operands, and one (possibly
//!    absent) name per result.
//! 6. Results name existing values and are plain tensors.
//! 7. Every dimension name used in a type, an attribute or a quotient stands alone in the type of
//!    some parameter or of its scale or zero point, so that inputs give it a size.

use std::collections::BTreeSet;

use crate::diag::{Code, Diagnostic};
use crate::dim::Dim;
use crate::dtype::DType;
use crate::graph::{Kernel, Node, Param, Value};
use crate::ops::Op;
use crate::types::{QuantType, TensorType, Type};

/// Checks every invariant of the list above; the first violation is an `Internal` diagnostic.
pub fn verify(kernel: &Kernel) -> Result<(), Diagnostic> {
    check_params(kernel)?;
    for index in 0..kernel.nodes.len() {
        check_node(kernel, index).map_err(|d| d.at(kernel.nodes[index].span))?;
    }
    check_results(kernel)?;
    check_dimensions(kernel)
}

fn fault(message: String) -> Diagnostic {
    Diagnostic::new(Code::Internal, message).help("this is a fault of msd; please report it with the kernel")
}

fn check_params(kernel: &Kernel) -> Result<(), Diagnostic> {
    let mut names = BTreeSet::new();
    for param in &kernel.params {
        if !names.insert(&param.name) {
            return Err(fault(format!("parameter `{}` is declared twice", param.name)).at(param.span));
        }
        let Type::Quant(q) = &param.ty else { continue };
        let aligned = QuantType::new(q.codes.clone(), q.scale.ty.clone(), q.zero.as_ref().map(|z| z.ty.clone()));
        if aligned.as_ref() != Ok(q.as_ref()) {
            return Err(fault(format!("the scale of parameter `{}` is misaligned", param.name)).at(param.span));
        }
    }
    Ok(())
}

fn check_node(kernel: &Kernel, index: usize) -> Result<(), Diagnostic> {
    let node = &kernel.nodes[index];
    let mut operands = Vec::with_capacity(node.operands.len());
    for v in &node.operands {
        if v.node >= index {
            return Err(fault(format!("node {index} uses node {}, which does not stand before it", v.node)));
        }
        operands.push(type_of(kernel, *v)?);
    }
    if node.names.len() != node.types.len() {
        let message = format!("node {index} has {} results and {} names", node.types.len(), node.names.len());
        return Err(fault(message));
    }
    let expected = expected_types(kernel, node, &operands)?;
    if node.types != expected {
        let list = |types: &[Type]| types.iter().map(Type::to_string).collect::<Vec<_>>().join(", ");
        let message = format!("node {index} is `{}`, its rule gives `{}`", list(&node.types), list(&expected));
        return Err(fault(message));
    }
    Ok(())
}

fn expected_types(kernel: &Kernel, node: &Node, operands: &[&Type]) -> Result<Vec<Type>, Diagnostic> {
    let arity = node.op.info().map_or(0, |info| info.operands.len());
    if operands.len() != arity {
        return Err(fault(format!("{:?} has {} operands, not {arity}", node.op, operands.len())));
    }
    match (&node.op, node.op.info()) {
        (Op::Param { index }, _) => {
            let param = kernel.params.get(*index);
            let ty = param.map(|p| p.ty.clone());
            ty.map(|t| vec![t]).ok_or_else(|| fault(format!("there is no parameter {index}")))
        }
        (_, Some(info)) => (info.rule)(&node.op, operands)
            .map_err(|d| fault(format!("{:?} does not take its operands: {}", node.op, d.message))),
        (_, None) => Ok(vec![Type::Tensor(TensorType::new(DType::F32, Vec::new()))]),
    }
}

fn type_of(kernel: &Kernel, v: Value) -> Result<&Type, Diagnostic> {
    let node = kernel.nodes.get(v.node).ok_or_else(|| fault(format!("there is no node {}", v.node)))?;
    node.types.get(v.result).ok_or_else(|| fault(format!("node {} has no result {}", v.node, v.result)))
}

fn check_results(kernel: &Kernel) -> Result<(), Diagnostic> {
    for (i, v) in kernel.results.iter().enumerate() {
        if let ty @ Type::Quant(_) = type_of(kernel, *v)? {
            return Err(fault(format!("result {i} is quantized: `{ty}`")).at(kernel.span));
        }
    }
    Ok(())
}

fn check_dimensions(kernel: &Kernel) -> Result<(), Diagnostic> {
    let declared = kernel.params.iter().flat_map(shapes_of).flatten();
    let declared: BTreeSet<&str> = declared.filter_map(Dim::as_name).collect();
    let known = |dim: &Dim| match dim.names().into_iter().find(|n| !declared.contains(n.as_ref())) {
        Some(name) => Err(fault(format!("no parameter gives dimension `{name}` of `{dim}` a size"))),
        None => Ok(()),
    };
    for param in &kernel.params {
        shapes_of(param).into_iter().flatten().try_for_each(known).map_err(|d| d.at(param.span))?;
    }
    for node in &kernel.nodes {
        let checked = node.op.dims().iter().try_for_each(known);
        let checked = checked.and_then(|()| node.types.iter().flat_map(Type::shape).try_for_each(known));
        checked.map_err(|d| d.at(node.span))?;
    }
    kernel.quotients.iter().try_for_each(|(a, b)| known(a).and_then(|()| known(b))).map_err(|d| d.at(kernel.span))
}

/// Shapes of a parameter and its parts.
fn shapes_of(param: &Param) -> Vec<&[Dim]> {
    match &param.ty {
        Type::Tensor(t) => vec![&t.shape],
        Type::Quant(q) => {
            let parts = [Some(&q.scale), q.zero.as_ref()].into_iter().flatten();
            parts.map(|p| &p.ty.shape[..]).chain([&q.codes.shape[..]]).collect()
        }
    }
}

#[cfg(test)]
mod tests;
