//! Which values depend on products with stored weights linearly, through how many roundings, and
//! why the others have no bound. Owns the ops that are looked through and what each rounds; the
//! bounds are [`super::compose`]'s.

use std::collections::BTreeMap;

use super::Certificate;
use super::compose::Ended;
use crate::dim::Sizes;
use crate::dtype::DType;
use crate::graph::{Kernel, Node, Value};
use crate::ops::{Class, Op};

/// How a value depends on products with stored weights.
#[derive(Clone)]
pub(super) enum Reach {
    /// Not at all.
    Plain,
    /// Linearly, with at most so many roundings since.
    Linear(u64),
    Ended(Ended),
}

/// Most roundings behind a product, or of factors around its activations, and longest contraction of
/// floats beside it, that the bound's kernel allows for.
pub(super) const MOST_ROUNDINGS: u64 = 1 << 11;
pub(super) const LONGEST_OF_FLOATS: u64 = 3 << 12;

/// How each node of the kernel depends on products; `sites` are those with what is certified of each.
pub(super) fn reaches(
    kernel: &Kernel,
    sites: &BTreeMap<usize, Option<&Certificate>>,
    factors: &[u64],
    sizes: &Sizes,
) -> Vec<Reach> {
    let mut reach: Vec<Reach> = Vec::with_capacity(kernel.nodes.len());
    for (index, node) in kernel.nodes.iter().enumerate() {
        let operands: Vec<&Reach> = node.operands.iter().map(|v| &reach[v.node]).collect();
        let is_linear = |r: &&Reach| matches!(r, Reach::Linear(_));
        let next = match sites.get(&index) {
            _ if operands.iter().any(|r| matches!(r, Reach::Ended(_))) => {
                operands.iter().find(|r| matches!(r, Reach::Ended(_))).map_or(Reach::Plain, |r| (*r).clone())
            }
            _ if operands.iter().any(is_linear) => follow(kernel, node, &operands, factors, sizes),
            Some(certificate) => product(kernel, node, *certificate, factors),
            None => Reach::Plain,
        };
        reach.push(next);
    }
    reach
}

fn product(kernel: &Kernel, node: &Node, certificate: Option<&Certificate>, factors: &[u64]) -> Reach {
    let weight = name(kernel, node.operands[1]);
    let reason = match certificate {
        Some(_) if factors[node.operands[0].node] > MOST_ROUNDINGS => {
            format!("more than {MOST_ROUNDINGS} factors around the activations of `{weight}`")
        }
        Some(_) => return Reach::Linear(0),
        None => format!("the bound of the product with `{weight}` is open until the contracted size is known"),
    };
    Reach::Ended(Ended { at: None, reason })
}

/// A node of which at least one operand depends on products linearly, and none otherwise.
fn follow(kernel: &Kernel, node: &Node, operands: &[&Reach], factors: &[u64], sizes: &Sizes) -> Reach {
    let depth = |r: &&Reach| if let Reach::Linear(depth) = r { Some(*depth) } else { None };
    let before = operands.iter().filter_map(depth).max().unwrap_or(0);
    let linear: Vec<bool> = operands.iter().map(|r| depth(r).is_some()).collect();
    let plain = node.operands.iter().zip(&linear).filter(|(_, linear)| !**linear).map(|(v, _)| *v);
    let mut products = plain.filter_map(|v| float_product(kernel, moved(kernel, v).0));
    let is_long = |x: Value| length(kernel, x, sizes).is_none_or(|k| k > LONGEST_OF_FLOATS);
    if products.any(|x| is_long(x) || factors[x.node] > MOST_ROUNDINGS) {
        let reason = "a product of floats beside it is too long, or of a size that is open".to_string();
        return Reach::Ended(Ended { at: Some(node.op.spelled().to_string()), reason });
    }
    let count = match (&node.op, linear.as_slice()) {
        (Op::Neg | Op::Transpose { .. } | Op::Reshape { .. } | Op::Slice { .. } | Op::Broadcast { .. }, _)
        | (Op::Concat { .. }, _)
        | (Op::Select, [false, ..]) => Some(0),
        (Op::Add | Op::Sub, _) | (Op::Mul, [true, false] | [false, true]) | (Op::Div, [true, false]) => Some(1),
        (Op::Cast { dtype: DType::F32 | DType::F64 }, _) => Some(1),
        (Op::Sum, _) => {
            // One of 16 partial sums, then a tree of four levels.
            length(kernel, node.operands[0], sizes).map(|n| n.div_ceil(16) + 4)
        }
        _ => None,
    };
    match count {
        Some(count) if before + count <= MOST_ROUNDINGS => Reach::Linear(before + count),
        _ => {
            let at = node.op.spelled().to_string();
            let reason = match node.op {
                Op::Sum if count.is_none() => format!("ends at `{at}` over a size that is open"),
                _ if count.is_some() => format!("ends at `{at}`: more than {MOST_ROUNDINGS} roundings"),
                _ => format!("ends at `{at}`"),
            };
            Reach::Ended(Ended { at: Some(at), reason })
        }
    }
}

/// Size of the last axis, if it is known.
pub(super) fn length(kernel: &Kernel, value: Value, sizes: &Sizes) -> Option<u64> {
    kernel.tensor_ty(value).shape.last().map_or(Some(1), |d| d.eval(sizes).ok())
}

/// What a value is but for its place, and the ops that moved it, last one first.
pub(super) fn moved(kernel: &Kernel, mut value: Value) -> (Value, Vec<&Node>) {
    let mut path = Vec::new();
    loop {
        let node = kernel.node(value);
        if !matches!(node.op, Op::Neg) && node.op.class() != Class::Movement || node.operands.len() != 1 {
            return (value, path);
        }
        path.push(node);
        value = node.operands[0];
    }
}

/// The left operand of a product of floats.
pub(super) fn float_product(kernel: &Kernel, value: Value) -> Option<Value> {
    let node = kernel.node(value);
    (node.op == Op::MatMul && kernel.tensor_ty(value).dtype.is_float()).then(|| node.operands[0])
}

/// For each node how often its value is rounded if all its factors round, as a rule may have brought
/// them there: a power by squaring has as many as it has factors, shared or not. A dequantized factor
/// rounds once more.
pub(super) fn factor_roundings(kernel: &Kernel) -> Vec<u64> {
    let mut counts: Vec<u64> = Vec::with_capacity(kernel.nodes.len());
    for node in &kernel.nodes {
        let operands = node.operands.iter().map(|v| counts[v.node]);
        let count = match node.op {
            Op::Dequant => 1,
            Op::Mul | Op::Div => operands.fold(1, u64::saturating_add),
            Op::Neg | Op::Cast { .. } => operands.max().unwrap_or(0),
            _ if node.op.class() == Class::Movement => operands.max().unwrap_or(0),
            _ => 0,
        };
        counts.push(count);
    }
    counts
}

/// What people call a value: a parameter, a `let` or a number, however it lies.
pub(super) fn name(kernel: &Kernel, mut value: Value) -> String {
    loop {
        let node = kernel.node(value);
        value = match &node.op {
            Op::Param { index } => return kernel.params[*index].name.to_string(),
            Op::Const { bits } => return f32::from_bits(*bits).to_string(),
            Op::Transpose { .. } | Op::Reshape { .. } | Op::Slice { .. } | Op::Broadcast { .. } => node.operands[0],
            Op::Dequant | Op::Cast { .. } => node.operands[0],
            _ => return node.names[value.result].as_ref().map_or("...".to_string(), |name| name.to_string()),
        };
    }
}
