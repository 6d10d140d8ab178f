//! The canonical rules: they bring every product with a dequantized weight into one form, that
//! weight bare on the right, so that the lowering rules need to know a single pattern. Each has a
//! filetest where it fires, one where its guard stops it, and one that runs it through evaluator
//! and JIT.

use super::pattern::{Factor, Weight};
use super::{Applied, Outcome, Rewriter, Rule};
use crate::diag::Diagnostic;
use crate::graph::Value;
use crate::ops::Op;

/// Brings products into one form: the dequantized operand on the right, bare.
pub const RULES: &[Rule] = &[
    DOUBLE_TRANSPOSE,
    Rule { name: "orient-left", equation: "dequant(W) @ x -> (x.T @ dequant(W).T).T", apply: orient_left },
    Rule { name: "hoist-scalar", equation: "x @ (c * dequant(W)) -> (x @ dequant(W)) * c", apply: hoist_scalar },
];

/// Two transposes are one. Lowering makes some of its own, so it has this rule as well.
pub(super) const DOUBLE_TRANSPOSE: Rule = Rule {
    name: "double-transpose",
    equation: "transpose(transpose(x, p), q) -> transpose(x, p . q)",
    apply: double_transpose,
};

fn double_transpose(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    let Op::Transpose { axes } = op else { return Ok(Outcome::NoMatch) };
    let inner = r.graph().node(operands[0]);
    let Op::Transpose { axes: first } = &inner.op else {
        let is_identity = axes.iter().enumerate().all(|(i, a)| i == *a);
        return Ok(if is_identity { Outcome::Fired(operands[0]) } else { Outcome::NoMatch });
    };
    let joined: Vec<usize> = axes.iter().map(|a| first[*a]).collect();
    let source = inner.operands[0];
    if joined.iter().enumerate().all(|(i, a)| i == *a) {
        return Ok(Outcome::Fired(source));
    }
    Ok(Outcome::Fired(r.apply(Op::Transpose { axes: joined }, &[source])?))
}

/// `x.T`, or what that is the transpose of.
pub(super) fn swap_last(r: &mut Rewriter<'_>, x: Value) -> Result<Value, Diagnostic> {
    let rank = r.graph().ty(x).shape().len();
    let mut axes: Vec<usize> = (0..rank).collect();
    axes.swap(rank - 2, rank - 1);
    r.apply(Op::Transpose { axes }, &[x])
}

fn orient_left(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    if *op != Op::MatMul || Weight::find(&*r.graph(), operands[0]).is_none() {
        return Ok(Outcome::NoMatch);
    }
    if Weight::find(&*r.graph(), operands[1]).is_some() {
        return Ok(Outcome::NoMatch);
    }
    let left = swap_last(r, operands[1])?;
    let right = swap_last(r, operands[0])?;
    let product = r.apply(Op::MatMul, &[left, right])?;
    Ok(Outcome::Fired(swap_last(r, product)?))
}

fn hoist_scalar(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    if *op != Op::MatMul {
        return Ok(Outcome::NoMatch);
    }
    let mut bare = operands.to_vec();
    let mut factors = Vec::new();
    let span = r.span();
    for operand in &mut bare {
        if let Some(weight) = Weight::find(&*r.graph(), *operand)
            && !weight.factors.is_empty()
        {
            *operand = weight.dequantized(r.graph(), span)?;
            // The innermost factor was applied first.
            factors.extend(weight.factors.into_iter().rev());
        }
    }
    if factors.is_empty() {
        return Ok(Outcome::NoMatch);
    }
    let mut product = r.apply(Op::MatMul, &bare)?;
    for factor in factors {
        product = match factor {
            Factor::Neg => r.graph().neg(product, span)?,
            Factor::Mul(c) => r.graph().mul(product, c, span)?,
            Factor::Div(c) => r.graph().div(product, c, span)?,
        };
    }
    Ok(Outcome::Fired(product))
}
