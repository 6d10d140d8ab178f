//! The canonical rules: they bring every product with a dequantized weight into one form, that
//! weight bare on the right, so that the lowering rules need to know a single pattern. None fires on
//! a weight alone: they reshape products. Owns which side a weight stands on, scalars, transposes
//! and literals; sums, joins, vectors and repetition are `hoist.rs`'s, which also says why rules come to an
//! end. Each has a filetest where it fires, one where its guard stops it, and one that runs it
//! through evaluator and JIT.

use super::hoist::{self, viewed};
use super::pattern::{Behind, Factor, Weight};
use super::survey::{SCALAR, held, is_left_heavier, is_weight};
use super::{Applied, Outcome, Rewriter, Rule};
use crate::builder::Builder;
use crate::diag::Diagnostic;
use crate::dim::Sizes;
use crate::dtype::DType;
use crate::eval::evaluate;
use crate::graph::{Attributes, Value};
use crate::ops::{Class, Op};

/// Brings products into one form: the dequantized operand on the right, bare.
pub const RULES: &[Rule] = &[
    DOUBLE_TRANSPOSE,
    Rule { name: "fold-constant", equation: "f(literals) -> literal", apply: fold_constant },
    Rule { name: "orient-left", equation: "dequant(W) @ x -> (x.T @ dequant(W).T).T", apply: orient_left },
    Rule { name: SCALAR, equation: "x @ (c * dequant(W)) -> (x @ dequant(W)) * c", apply: hoist_scalar },
    hoist::ADD,
    hoist::CONCAT,
    hoist::VECTOR,
    hoist::BROADCAST,
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
    if *op != Op::MatMul || !is_left_heavier(r, operands) {
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
    if !is_weight(r, operands) {
        return Ok(held(r, SCALAR, operands));
    }
    let mut bare = operands.to_vec();
    let mut factors = Vec::new();
    for (side, operand) in bare.iter_mut().enumerate() {
        let at = Behind::find(&*r.graph(), *operand);
        // Activations keep their scalars, but for a weight that may be multiplied as stored as well.
        let moves = side == 1 || Weight::find(&*r.graph(), *operand).is_some();
        if moves && !at.factors.is_empty() {
            *operand = viewed(r, &at)?;
            // The innermost factor was applied first.
            factors.extend(at.factors.into_iter().rev());
        }
    }
    if factors.is_empty() {
        return Ok(held(r, SCALAR, operands));
    }
    let mut product = r.apply(Op::MatMul, &bare)?;
    for factor in factors {
        product = match factor {
            Factor::Neg => r.apply(Op::Neg, &[product])?,
            Factor::Mul(c) => r.apply(Op::Mul, &[product, c])?,
            Factor::Div(c) => r.apply(Op::Div, &[product, c])?,
        };
    }
    Ok(Outcome::Fired(product))
}

/// The value is the evaluator's, so it has the same bits whenever it is computed.
fn fold_constant(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    if op.class() != Class::Elementwise || operands.is_empty() {
        return Ok(Outcome::NoMatch);
    }
    let span = r.span();
    let mut b = Builder::new();
    let mut literals = Vec::new();
    for x in operands {
        let Op::Const { bits } = r.graph().node(*x).op else { return Ok(Outcome::NoMatch) };
        literals.push(b.constant(f32::from_bits(bits), span));
    }
    let result = b.push(op.clone(), &literals, span)?;
    if !b.ty(result).tensor().is_some_and(|t| t.dtype == DType::F32 && t.shape.is_empty()) {
        return Ok(Outcome::NoMatch);
    }
    let kernel = b.finish("folded", vec![result], Attributes::default(), span);
    let results = evaluate(&kernel, &Sizes::new(), &[])?;
    match results.first().map(|t| t.to_f32()).as_deref() {
        // A literal has one NaN, what is computed may have others.
        Some([value]) if !value.is_nan() => Ok(Outcome::Fired(r.graph().constant(*value, span))),
        _ => Ok(Outcome::NoMatch),
    }
}
