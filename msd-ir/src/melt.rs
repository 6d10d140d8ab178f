//! Which nodes need no memory of their own: elementwise ones, and products, that are computed inside the
//! loop of whatever uses them. Owns that choice, made from the graph alone before anything is placed; back ends
//! that compile loops share it.

use crate::graph::{Kernel, Value};
use crate::ops::{Class, Op};
use crate::types::Shape;

/// Nodes one loop may hold; bounds code size and compile time.
const MAX_REGION: usize = 48;

/// Products one loop may hold: the gate and the other branch of a feed-forward layer, and as many again.
const MAX_TERMS: usize = 4;

/// For each node whether it melts into a loop.
pub fn melting(kernel: &Kernel, shapes: &[Vec<Shape>]) -> Vec<bool> {
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); kernel.nodes.len()];
    for (user, node) in kernel.nodes.iter().enumerate() {
        for v in &node.operands {
            users[v.node].push(user);
        }
    }
    let mut results = vec![0usize; kernel.nodes.len()];
    for v in &kernel.results {
        results[v.node] += 1;
    }
    // The node whose loop each node is computed in.
    let mut loops: Vec<Option<usize>> = vec![None; kernel.nodes.len()];
    let mut sizes = vec![(0usize, 0usize); kernel.nodes.len()];
    for (index, node) in kernel.nodes.iter().enumerate().rev() {
        let is_term = is_product(&node.op);
        if node.op.class() != Class::Elementwise && !is_term {
            continue;
        }
        let home = match (results[index], users[index].as_slice()) {
            // A result's loop writes straight to the output.
            (1, []) => Some(index),
            (0, [first, ..]) => {
                let home = host(kernel, &loops, Value { node: index, result: 0 }, *first);
                let agrees = |user: &usize| {
                    let same = host(kernel, &loops, Value { node: index, result: 0 }, *user) == home;
                    let is_elementwise = kernel.nodes[*user].op.class() == Class::Elementwise;
                    let fits = shapes[index][0] == shapes[*user][0]
                        || (!is_term && is_of_rows(&shapes[index][0], &shapes[*user][0]));
                    same && (!is_elementwise || fits)
                };
                home.filter(|_| users[index].iter().all(agrees))
            }
            _ => None,
        };
        let Some(home) = home else { continue };
        // What depends on the column is computed over the loop's own columns.
        if node.op == Op::Causal && shapes[index][0] != *loop_shape(kernel, shapes, home) {
            continue;
        }
        // Products are computed tile by tile: no row is whole when its elements are needed.
        let is_loop = home == index || kernel.nodes[home].op.class() == Class::Elementwise;
        let (nodes, terms) = sizes[home];
        let fits = if is_term { is_loop && terms < MAX_TERMS } else { nodes + 1 < MAX_REGION };
        if fits {
            loops[index] = Some(home);
            sizes[home] = if is_term { (nodes, terms + 1) } else { (nodes + 1, terms) };
        }
    }
    loops.iter().map(Option::is_some).collect()
}

/// Whether a value has one element for each row of its user, such as a norm: a loop over the user's elements
/// computes it once a row.
fn is_of_rows(own: &Shape, user: &Shape) -> bool {
    let (Some((last, outer)), Some((_, user))) = (own.split_last(), user.split_last()) else { return false };
    last.is_one() && outer == user
}

/// The shape that a node's loop runs over.
fn loop_shape<'s>(kernel: &Kernel, shapes: &'s [Vec<Shape>], home: usize) -> &'s Shape {
    let node = &kernel.nodes[home];
    match node.op.class() {
        Class::Row | Class::Digits if !is_product(&node.op) => &shapes[node.operands[0].node][node.operands[0].result],
        _ => &shapes[home][0],
    }
}

/// The node in whose loop `user` would compute `value`, if it has one.
fn host(kernel: &Kernel, loops: &[Option<usize>], value: Value, user: usize) -> Option<usize> {
    let node = &kernel.nodes[user];
    match (node.op.class(), &node.op) {
        (Class::Elementwise, _) => Some(loops[user].unwrap_or(user)),
        (Class::Row, _) => Some(user),
        (_, Op::Decompose { .. } | Op::DecomposeBlocks { .. }) => (node.operands[0] == value).then_some(user),
        (Class::Leaf | Class::Quantized | Class::Movement | Class::Product | Class::Digits, _) => None,
    }
}

/// Whether the op ends a product of rows and panels.
pub fn is_product(op: &Op) -> bool {
    matches!(
        op,
        Op::MatMul | Op::Dot | Op::Combine { .. } | Op::CombineZero { .. } | Op::Accumulate | Op::AccumulateWide { .. }
    )
}
