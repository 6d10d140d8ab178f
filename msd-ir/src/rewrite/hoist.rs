//! The hoisting rules: a product with a sum, a join or a scaled form of dequantized weights becomes
//! products with the weights alone. Owns what counts as such an operand, and those rules; moving
//! scalars and choosing the side are [`super::canonical`]'s.
//!
//! Why this ends: count the ops in the trees of both operands of a product. Splitting a sum or a join
//! leaves fewer of them to each part, moving a scalar or a vector along N takes one away, and moving a
//! vector along K puts one from the right tree into the left. The sides are exchanged only when the
//! right has no weight to bring out; then it has one, until a sum or a join is split again. No tree
//! of more than [`MOST`] ops is taken apart, which bounds the recursion.

use std::collections::HashSet;

use super::pattern::{Behind, Weight};
use super::{Applied, Outcome, Rewriter, Rule};
use crate::builder::Builder;
use crate::diag::Diagnostic;
use crate::dim::Dim;
use crate::dtype::DType;
use crate::graph::Value;
use crate::ops::Op;

/// Most sums, joins and vectors that are looked through in one operand: they become as many
/// products, and rules recurse once for each.
const MOST: usize = 64;

/// Sums. The bounds of the products add up, and the sum rounds once more.
pub(super) const ADD: Rule = Rule {
    name: "hoist-add",
    equation: "x @ (a + b) -> x @ a + x @ b, one of them a weight; `-` alike",
    apply: hoist_add,
};

/// Joins. Along N each part keeps its bound; along K they add up as those of sums do, each with the
/// largest magnitude of its own slice of x, which is no larger.
pub(super) const CONCAT: Rule = Rule {
    name: "hoist-concat",
    equation: "x @ concat(a, b, N) -> concat(x @ a, x @ b, N); along K: x[..Ka] @ a + x[Ka..] @ b",
    apply: hoist_concat,
};

/// Factors that vary. Along N the bound scales with |v|, and the result rounds once more; along K the
/// scaled activations round once, and their largest magnitude is the one the bound speaks of.
pub(super) const VECTOR: Rule = Rule {
    name: "hoist-vector",
    equation: "x @ (dequant(W) * v) -> (x @ dequant(W)) * v along N, (x * v) @ dequant(W) along K; `/` alike",
    apply: hoist_vector,
};

/// What a product's operand holds.
pub(super) enum Finding {
    /// No dequantized weight.
    Nothing,
    /// A weight that rules can bring out.
    Weight,
    /// A weight behind something that no rule moves.
    Stopped(Stop),
}

/// What stops a weight from being brought out.
pub(super) struct Stop {
    rule: &'static str,
    guard: &'static str,
    reason: String,
}

/// A weight under a factor that is no scalar.
struct Scaled {
    /// Has the shape of the whole.
    weight: Value,
    factor: Value,
    divides: bool,
}

/// How a factor varies in a product's right operand `[.., K, N]`.
struct Varies {
    along_k: bool,
    along_n: bool,
}

/// What `operand` of a product holds.
pub(super) fn survey(b: &Builder, operand: Value) -> Finding {
    let mut stopped = None;
    let mut is_weight = false;
    let mut steps = 0;
    let identity: Vec<usize> = (0..b.ty(operand).shape().len()).collect();
    let mut open = vec![(operand, identity)];
    while let Some((value, outer)) = open.pop() {
        let at = Behind::find(b, value);
        let axes: Vec<usize> = outer.iter().map(|a| at.axes[*a]).collect();
        let node = b.node(at.value);
        let Some(rule) = rule_for(b, at.value) else {
            is_weight |= Weight::find(b, at.value).is_some();
            continue;
        };
        steps += 1;
        if steps > MOST && holds_weight(b, operand) {
            let reason = format!("the operand joins more than {MOST} sums, parts and vectors");
            return Finding::Stopped(Stop { rule, guard: "size", reason });
        } else if steps > MOST {
            return Finding::Nothing;
        }
        match guard(b, at.value, &axes) {
            Some((guard, reason)) if stopped.is_none() && holds_weight(b, at.value) => {
                stopped = Some(Stop { rule, guard, reason });
            }
            Some(_) => {}
            None if rule == VECTOR.name => open.extend(scaled(b, at.value).map(|s| (s.weight, axes))),
            None => open.extend(node.operands.iter().map(|x| (*x, axes.clone()))),
        }
    }
    match stopped {
        _ if is_weight => Finding::Weight,
        Some(stop) => Finding::Stopped(stop),
        None => Finding::Nothing,
    }
}

/// Whether a weight that rules can bring out stands in `operand`.
pub(super) fn is_weight(b: &Builder, operand: Value) -> bool {
    matches!(survey(b, operand), Finding::Weight)
}

/// The rule that peels the op of `value`, which is no transpose and no scalar factor.
fn rule_for(b: &Builder, value: Value) -> Option<&'static str> {
    let is_f32 = b.ty(value).tensor().is_some_and(|t| t.dtype == DType::F32);
    match b.node(value).op {
        Op::Add | Op::Sub if is_f32 => Some(ADD.name),
        Op::Concat { .. } if is_f32 => Some(CONCAT.name),
        Op::Mul | Op::Div if is_f32 => Some(VECTOR.name),
        _ => None,
    }
}

/// What stops the rule of `value`, seen under `axes`, from peeling it: guard and reason.
fn guard(b: &Builder, value: Value, axes: &[usize]) -> Option<(&'static str, String)> {
    let operands = &b.node(value).operands;
    let whole = b.ty(value);
    let shape = whole.shape();
    match b.node(value).op {
        Op::Add | Op::Sub => {
            let short = operands.iter().find(|x| b.ty(**x).shape() != shape)?;
            Some(("shape", format!("the term `{}` is broadcast to `{whole}`", b.ty(*short))))
        }
        Op::Mul | Op::Div => match scaled(b, value) {
            Some(s) => {
                let varies = varies(b, s.factor, axes);
                let reason = || format!("the factor `{}` varies along both dimensions of the product", b.ty(s.factor));
                (varies.along_k && varies.along_n).then(|| ("varies", reason()))
            }
            None if operands.iter().all(|x| b.ty(*x).shape() == shape) => {
                Some(("varies", format!("the factors are both `{whole}`: neither is a vector")))
            }
            None => Some(("shape", format!("the weight is broadcast to `{whole}`"))),
        },
        _ => None,
    }
}

/// `value` as a tensor times or divided by something of another shape.
fn scaled(b: &Builder, value: Value) -> Option<Scaled> {
    let node = b.node(value);
    let (a, c) = (*node.operands.first()?, *node.operands.get(1)?);
    let is_full = |x: Value| b.ty(x).shape() == b.ty(value).shape();
    match (&node.op, is_full(a), is_full(c)) {
        (Op::Mul, true, false) => Some(Scaled { weight: a, factor: c, divides: false }),
        (Op::Mul, false, true) => Some(Scaled { weight: c, factor: a, divides: false }),
        (Op::Div, true, false) => Some(Scaled { weight: a, factor: c, divides: true }),
        _ => None,
    }
}

/// How `factor` of a tensor seen under `axes` varies. It is broadcast, so its axes are counted from
/// the last.
fn varies(b: &Builder, factor: Value, axes: &[usize]) -> Varies {
    let shape = b.ty(factor).shape();
    let missing = axes.len() - shape.len();
    let along = |axis: usize| axis >= missing && !shape[axis - missing].is_one();
    Varies { along_k: along(axes[axes.len() - 2]), along_n: along(axes[axes.len() - 1]) }
}

/// Whether a dequantized weight stands anywhere in the linear tree of `value`. Where looking takes
/// too long the answer is yes: better to name a guard in vain than to leave a weight without one.
fn holds_weight(b: &Builder, value: Value) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        let at = Behind::find(b, value).value;
        let node = b.node(at);
        if Weight::find(b, at).is_some() || seen.len() > 16 * MOST {
            return true;
        }
        if rule_for(b, at).is_none() || !seen.insert(at) {
            continue;
        }
        let linear = if node.op == Op::Div { &node.operands[..1] } else { &node.operands[..] };
        open.extend(linear);
    }
    false
}

/// The right operand of a product, if `rule` is the one to peel it; else what is to be said.
fn offered(r: &mut Rewriter<'_>, rule: &'static str, op: &Op, operands: &[Value]) -> Result<Behind, Outcome> {
    if *op != Op::MatMul {
        return Err(Outcome::NoMatch);
    }
    let b = &*r.graph();
    let found = match survey(b, operands[1]) {
        // It has come to stand on the right if it can; what stops it on the left is worth saying.
        Finding::Nothing => survey(b, operands[0]),
        Finding::Weight => {
            let at = Behind::find(b, operands[1]);
            return if rule_for(b, at.value) == Some(rule) { Ok(at) } else { Err(Outcome::NoMatch) };
        }
        stopped => stopped,
    };
    match found {
        Finding::Stopped(Stop { rule: own, guard, reason }) if own == rule => Err(Outcome::Stopped { guard, reason }),
        _ => Err(Outcome::NoMatch),
    }
}

/// `x` under `axes`, as F32: integers would multiply exactly, which what they were part of did not.
fn part(r: &mut Rewriter<'_>, x: Value, axes: &[usize]) -> Result<Value, Diagnostic> {
    let is_int = r.graph().ty(x).tensor().is_some_and(|t| t.dtype.is_int());
    let x = if is_int { r.apply(Op::Cast { dtype: DType::F32 }, &[x])? } else { x };
    transposed(r, x, axes)
}

/// `transpose(x, axes)`, or `x` where that changes nothing.
pub(super) fn transposed(r: &mut Rewriter<'_>, x: Value, axes: &[usize]) -> Result<Value, Diagnostic> {
    if axes.iter().enumerate().all(|(i, a)| i == *a) {
        Ok(x)
    } else {
        r.apply(Op::Transpose { axes: axes.to_vec() }, &[x])
    }
}

fn hoist_add(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    let at = match offered(r, ADD.name, op, operands) {
        Ok(at) => at,
        Err(outcome) => return Ok(outcome),
    };
    let node = r.graph().node(at.value);
    let (sum, terms) = (node.op.clone(), node.operands.clone());
    let mut products = Vec::new();
    for term in terms {
        let term = part(r, term, &at.axes)?;
        products.push(r.apply(Op::MatMul, &[operands[0], term])?);
    }
    Ok(Outcome::Fired(r.apply(sum, &products)?))
}

fn hoist_concat(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    let at = match offered(r, CONCAT.name, op, operands) {
        Ok(at) => at,
        Err(outcome) => return Ok(outcome),
    };
    let node = r.graph().node(at.value);
    let Op::Concat { axis } = node.op else { return Ok(Outcome::NoMatch) };
    let parts = node.operands.clone();
    let Some(joined) = at.axes.iter().position(|a| *a == axis) else { return Ok(Outcome::NoMatch) };
    let x = operands[0];
    // Counted from the last axis, as the operands of a product may differ in rank.
    let behind = at.axes.len() - joined;
    let slice = match sliced_axis(&*r.graph(), x, operands[1], behind) {
        Ok(slice) => slice,
        Err(reason) => return Ok(Outcome::Stopped { guard: "batch", reason }),
    };
    let mut start = Dim::constant(0);
    let mut products = Vec::new();
    for part_of in parts {
        let size = r.graph().ty(part_of).shape()[axis].clone();
        let right = part(r, part_of, &at.axes)?;
        let left = match slice {
            Some(axis) => {
                let Some(stop) = start.add(&size) else { return Ok(Outcome::NoMatch) };
                let slice = Op::Slice { axis, start: std::mem::replace(&mut start, stop.clone()), stop };
                r.apply(slice, &[x])?
            }
            None => x,
        };
        products.push(r.apply(Op::MatMul, &[left, right])?);
    }
    let merge = match behind {
        2 => Op::Add,
        _ => Op::Concat { axis: r.graph().ty(products[0]).shape().len() - behind },
    };
    Ok(Outcome::Fired(r.apply(merge, &products)?))
}

/// The axis of `x` that is cut where `right` is joined along its axis `behind` the end, if there is one.
fn sliced_axis(b: &Builder, x: Value, right: Value, behind: usize) -> Result<Option<usize>, String> {
    let (shape, right) = (b.ty(x).shape(), b.ty(right).shape());
    match behind {
        1 => Ok(None),
        2 => Ok(Some(shape.len() - 1)),
        _ if shape.len() < behind || shape[shape.len() - behind].is_one() => Ok(None),
        _ if shape[shape.len() - behind] == right[right.len() - behind] => Ok(Some(shape.len() - behind)),
        _ => {
            let (own, other) = (&shape[shape.len() - behind], &right[right.len() - behind]);
            Err(format!("the joined batch dimension `{other}` is broadcast to `{own}`"))
        }
    }
}

fn hoist_vector(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    let at = match offered(r, VECTOR.name, op, operands) {
        Ok(at) => at,
        Err(outcome) => return Ok(outcome),
    };
    let Some(found) = scaled(&*r.graph(), at.value) else { return Ok(Outcome::NoMatch) };
    let absorbed = varies(&*r.graph(), found.factor, &at.axes).along_k;
    let weight = transposed(r, found.weight, &at.axes)?;
    let mut axes = at.axes;
    if absorbed {
        // The left operand has the contracted dimension last.
        let rank = axes.len();
        axes.swap(rank - 2, rank - 1);
    }
    let factor = aligned(r, found.factor, &axes)?;
    let scale = if found.divides { Op::Div } else { Op::Mul };
    if absorbed {
        let x = r.apply(scale, &[operands[0], factor])?;
        return Ok(Outcome::Fired(r.apply(Op::MatMul, &[x, weight])?));
    }
    let product = r.apply(Op::MatMul, &[operands[0], weight])?;
    Ok(Outcome::Fired(r.apply(scale, &[product, factor])?))
}

/// A broadcast factor under `axes` of the tensor it scaled, with all of them where they move.
fn aligned(r: &mut Rewriter<'_>, factor: Value, axes: &[usize]) -> Result<Value, Diagnostic> {
    let shape = r.graph().ty(factor).shape().to_vec();
    let missing = axes.len() - shape.len();
    if axes.iter().enumerate().all(|(i, a)| i == *a) || missing == 0 {
        return part(r, factor, if missing == 0 { axes } else { &[] });
    }
    let shape = std::iter::repeat_n(Dim::constant(1), missing).chain(shape).collect();
    let wide = r.apply(Op::Reshape { shape }, &[factor])?;
    part(r, wide, axes)
}
