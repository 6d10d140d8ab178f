//! The hoisting rules: a product with a sum, a join or a scaled form of dequantized weights becomes
//! products with the weights alone. Owns those rules; what counts as such an operand, and what stops
//! them, is [`super::survey`]'s, moving scalars and choosing the side [`super::canonical`]'s.
//!
//! Why this ends: count the ops around weights in the trees of both operands of a product. Splitting
//! a sum or a join leaves fewer of them to each part, moving a scalar, a repetition or a vector along
//! N takes one away, and moving a vector along K puts one from the right tree into the left. The
//! sides are exchanged only when the right has no weight to bring out; then it has one, until a sum
//! or a join is split again. No tree of more ops than the survey looks through is taken apart, which
//! bounds the recursion.

use super::pattern::Behind;
use super::survey::{self, is_multiplied, joined, offered, repeated, rule_for, scaled, varies};
use super::{Applied, Outcome, Rewriter, Rule};
use crate::builder::Builder;
use crate::diag::Diagnostic;
use crate::dim::Dim;
use crate::dtype::DType;
use crate::graph::Value;
use crate::ops::Op;
use crate::types::Type;

/// Sums. The bounds of the products add up, and the sum rounds once more. Terms that are not
/// multiplied as stored are one tensor before the product, as they are in the source.
pub(super) const ADD: Rule = Rule {
    name: survey::ADD,
    equation: "x @ (a + b + c) -> x @ a + x @ (b + c), a a weight, b and c none; `-` alike",
    apply: hoist_add,
};

/// Joins. Along N each part keeps its bound; along K they add up as those of sums do, each with the
/// largest magnitude of its own slice of x, which is no larger.
pub(super) const CONCAT: Rule = Rule {
    name: survey::CONCAT,
    equation: "x @ concat(a, b, N) -> concat(x @ a, x @ b, N); along K: x[..Ka] @ a + x[Ka..] @ b",
    apply: hoist_concat,
};

/// Factors that vary. Along N the bound scales with |v|, and the result rounds once more; along K the
/// scaled activations round once, and their largest magnitude is the one the bound speaks of.
pub(super) const VECTOR: Rule = Rule {
    name: survey::VECTOR,
    equation: "x @ (dequant(W) * v) -> (x @ dequant(W)) * v along N, (x * v) @ dequant(W) along K; `/` alike",
    apply: hoist_vector,
};

/// Repetition along batch dimensions, which products do by themselves. The bound stays.
pub(super) const BROADCAST: Rule = Rule {
    name: survey::BROADCAST,
    equation: "x @ broadcast(w, [B, K, N]) -> broadcast(x @ w, [B, M, N])",
    apply: hoist_broadcast,
};

/// A tensor as it is seen, as F32: integers would multiply exactly, which what they were part of did
/// not.
fn part(r: &mut Rewriter<'_>, at: &Behind) -> Result<Value, Diagnostic> {
    let is_int = r.graph().ty(at.value).tensor().is_some_and(|t| t.dtype.is_int());
    let value = if is_int { r.apply(Op::Cast { dtype: DType::F32 }, &[at.value])? } else { at.value };
    viewed(r, &at.with(value))
}

/// What is seen, without the scalar factors.
pub(super) fn viewed(r: &mut Rewriter<'_>, at: &Behind) -> Result<Value, Diagnostic> {
    let mut value = at.value;
    for w in &at.windows {
        let is_whole = w.start == Dim::constant(0) && w.stop == r.graph().ty(value).shape()[w.axis];
        if !is_whole {
            let (start, stop) = (w.start.clone(), w.stop.clone());
            value = r.apply(Op::Slice { axis: w.axis, start, stop }, &[value])?;
        }
    }
    if at.axes.iter().enumerate().all(|(i, a)| i == *a) {
        Ok(value)
    } else {
        r.apply(Op::Transpose { axes: at.axes.clone() }, &[value])
    }
}

/// A term of a sum.
struct Term {
    at: Behind,
    is_negative: bool,
    /// Whether it holds a weight that is multiplied as stored.
    is_weight: bool,
}

/// The terms of the sum that `at` is, in order. Sums in sums are looked through only to weights.
fn terms(r: &mut Rewriter<'_>, at: Behind) -> Vec<Term> {
    let mut terms = Vec::new();
    let mut open = vec![(at, false)];
    while let Some((at, is_negative)) = open.pop() {
        let seen = at.with(at.value).further(&r.built);
        let is_weight = is_multiplied(r, at.with(at.value).further(&r.built));
        let node = r.built.node(seen.value);
        let is_sum = seen.factors.is_empty() && rule_for(&r.built, seen.value) == Some(survey::ADD);
        if is_weight && is_sum {
            open.push((seen.with(node.operands[1]), is_negative != (node.op == Op::Sub)));
            open.push((seen.with(node.operands[0]), is_negative));
        } else {
            terms.push(Term { at, is_negative, is_weight });
        }
    }
    terms
}

fn signed(is_negative: bool) -> Op {
    if is_negative { Op::Sub } else { Op::Add }
}

/// `first` and `rest` as one tensor, to be added with the sign of the first.
fn gathered(r: &mut Rewriter<'_>, first: &Term, rest: &[&Term]) -> Result<Value, Diagnostic> {
    if rest.is_empty() {
        return part(r, &first.at);
    }
    // Terms that are seen alike are added as they lie, and their sum is looked at.
    let is_alike = rest.iter().all(|t| t.at.axes == first.at.axes && t.at.windows == first.at.windows);
    let float = |r: &mut Rewriter<'_>, term: &Term| {
        // In their own type they would round or wrap where the sum did not.
        let value = r.apply(Op::Cast { dtype: DType::F32 }, &[term.at.value])?;
        if is_alike { Ok(value) } else { viewed(r, &term.at.with(value)) }
    };
    let mut sum = float(r, first)?;
    for term in rest {
        let value = float(r, term)?;
        sum = r.apply(signed(term.is_negative != first.is_negative), &[sum, value])?;
    }
    if is_alike { viewed(r, &first.at.with(sum)) } else { Ok(sum) }
}

fn hoist_add(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    let at = match offered(r, ADD.name, op, operands) {
        Ok(at) => at,
        Err(outcome) => return Ok(outcome),
    };
    let terms = terms(r, at.with(at.value));
    let plain: Vec<&Term> = terms.iter().filter(|t| !t.is_weight).collect();
    let mut is_gathered = false;
    let mut sum = None;
    for term in &terms {
        let right = match plain.as_slice() {
            _ if term.is_weight => part(r, &term.at)?,
            [first, rest @ ..] if !std::mem::replace(&mut is_gathered, true) => gathered(r, first, rest)?,
            _ => continue,
        };
        let product = r.apply(Op::MatMul, &[operands[0], right])?;
        sum = Some(match sum {
            // Nothing is subtracted from nothing: the first term of a sum is added.
            None => product,
            Some(sum) => r.apply(signed(term.is_negative), &[sum, product])?,
        });
    }
    Ok(sum.map_or(Outcome::NoMatch, Outcome::Fired))
}

fn hoist_concat(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    let at = match offered(r, CONCAT.name, op, operands) {
        Ok(at) => at,
        Err(outcome) => return Ok(outcome),
    };
    let Op::Concat { axis } = r.graph().node(at.value).op else { return Ok(Outcome::NoMatch) };
    let Some(along) = at.axes.iter().position(|a| *a == axis) else { return Ok(Outcome::NoMatch) };
    let Ok(parts) = joined(r.graph(), &at, axis) else { return Ok(Outcome::NoMatch) };
    let x = operands[0];
    if let [only] = parts.as_slice() {
        let right = part(r, only)?;
        return Ok(Outcome::Fired(r.apply(Op::MatMul, &[x, right])?));
    }
    // Counted from the last axis, as the operands of a product may differ in rank.
    let behind = at.axes.len() - along;
    let cut = match sliced_axis(&*r.graph(), x, operands[1], behind) {
        Ok(cut) => cut,
        Err(reason) => return Ok(Outcome::Stopped { guard: "batch", reason }),
    };
    let mut start = Dim::constant(0);
    let mut products = Vec::new();
    for seen in parts {
        let right = part(r, &seen)?;
        let size = r.graph().ty(right).shape()[along].clone();
        let left = match cut {
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
    let weight = viewed(r, &at.with(found.weight))?;
    let mut seen = at.with(found.factor);
    if absorbed {
        // The left operand has the contracted dimension last.
        let rank = seen.axes.len();
        seen.axes.swap(rank - 2, rank - 1);
    }
    let factor = aligned(r, seen)?;
    let scale = if found.divides { Op::Div } else { Op::Mul };
    if absorbed {
        let x = r.apply(scale, &[operands[0], factor])?;
        return Ok(Outcome::Fired(r.apply(Op::MatMul, &[x, weight])?));
    }
    let product = r.apply(Op::MatMul, &[operands[0], weight])?;
    Ok(Outcome::Fired(r.apply(scale, &[product, factor])?))
}

/// A broadcast factor seen as the tensor it scaled is, with all of its axes where they move.
fn aligned(r: &mut Rewriter<'_>, mut seen: Behind) -> Result<Value, Diagnostic> {
    let shape = r.graph().ty(seen.value).shape().to_vec();
    let missing = seen.axes.len() - shape.len();
    let stays = seen.axes.iter().enumerate().all(|(i, a)| i == *a);
    // Where the factor does not vary every part of it is the whole.
    seen.windows.retain(|w| w.axis >= missing && !shape[w.axis - missing].is_one());
    if stays {
        seen.windows.iter_mut().for_each(|w| w.axis -= missing);
        seen.axes = (0..shape.len()).collect();
    } else if missing > 0 {
        let shape = std::iter::repeat_n(Dim::constant(1), missing).chain(shape).collect();
        seen.value = r.apply(Op::Reshape { shape }, &[seen.value])?;
    }
    part(r, &seen)
}

fn hoist_broadcast(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    let at = match offered(r, BROADCAST.name, op, operands) {
        Ok(at) => at,
        Err(outcome) => return Ok(outcome),
    };
    let Ok(seen) = repeated(r.graph(), &at) else { return Ok(Outcome::NoMatch) };
    let Some(info) = op.info() else { return Ok(Outcome::NoMatch) };
    let types: Vec<&Type> = operands.iter().map(|x| r.built.ty(*x)).collect();
    let whole = (info.rule)(op, &types)?;
    let right = part(r, &seen)?;
    let product = r.apply(Op::MatMul, &[operands[0], right])?;
    match whole.first() {
        Some(ty) if ty.shape() != r.graph().ty(product).shape() => {
            Ok(Outcome::Fired(r.apply(Op::Broadcast { shape: ty.shape().to_vec() }, &[product])?))
        }
        _ => Ok(Outcome::Fired(product)),
    }
}
