//! The lowering rules: they replace a canonical product by what the plan chose. Each has a filetest
//! where it fires, one where its guard stops it, and one that runs it through evaluator and JIT.

use super::canonical::DOUBLE_TRANSPOSE;
use super::pattern::{Graph, Weight, varies};
use super::{Applied, Outcome, Rewriter, Rule};
use crate::diag::Diagnostic;
use crate::dtype::DType;
use crate::graph::{Lowering, Value};
use crate::ops::Op;
use crate::types::Type;

/// Replaces products by what the plan chose.
pub const RULES: &[Rule] = &[
    DOUBLE_TRANSPOSE,
    Rule {
        name: "native-product",
        equation: "dequant(A) @ dequant(B) -> f32(codes(A) . codes(B)) * scale(A) * scale(B)",
        apply: native_product,
    },
    Rule {
        name: "digit-split",
        equation: "x @ dequant(W) -> (f32(sum_d weight_d * digit_d(x) . codes(W)) * scale(W)) * scale(x)",
        apply: digit_split,
    },
    Rule { name: "post-scale", equation: "x @ dequant(W) -> (x @ codes(W)) * scale(W)", apply: post_scale },
];

/// The guards every rule on stored codes shares: name and reason of what stops `weight` from being
/// multiplied as stored on the right of a product.
pub fn stored_guard(weight: &Weight) -> Option<(&'static str, String)> {
    let q = &weight.ty;
    let codes = &q.codes;
    if !codes.dtype.is_int() {
        return Some(("weight-format", format!("`{}` codes are no integers", codes.dtype.name())));
    }
    if let Some(zero) = &q.zero {
        return Some(("zero-point", format!("the weight has a zero point `{}`", zero.ty)));
    }
    let contracted = weight.contraction_axis();
    if varies(&q.scale, contracted) {
        let reason =
            format!("the scale `{}` varies along the contracted dimension `{}`", q.scale.ty, codes.shape[contracted]);
        return Some(("scale-placement", reason));
    }
    if let Some(along) = q.scale.along.iter().flatten().find(|a| a.group > 1) {
        let reason = format!("the scale `{}` has groups of {} output channels", q.scale.ty, along.group);
        return Some(("scale-placement", reason));
    }
    None
}

/// The right operand's weight and the left operand, for products the lowering rules apply to.
fn weight_product(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Option<Weight> {
    if *op != Op::MatMul {
        return None;
    }
    Weight::find(&*r.graph(), operands[1]).filter(|w| w.factors.is_empty())
}

/// `(f32(S) * s) * g`: one rounding of S, then the scales.
fn scaled(r: &mut Rewriter<'_>, sum: Value, weight: &Weight) -> Result<Value, Diagnostic> {
    let span = r.span();
    let scale = weight.aligned_scale(r.graph(), span)?;
    r.graph().mul(sum, scale, span)
}

fn digit_split(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    let Some(weight) = weight_product(r, op, operands) else { return Ok(Outcome::NoMatch) };
    let Some(choice) = r.choice().cloned() else { return Ok(Outcome::NoMatch) };
    let stopped = stored_guard(&weight).or_else(|| activation_guard(&*r.graph(), operands[0]));
    if let Some((guard, reason)) = stopped {
        return Ok(Outcome::Stopped { guard, reason });
    }
    if choice.lowering != Lowering::Msd {
        return Ok(Outcome::Stopped { guard: "plan", reason: choice.because });
    }
    let span = r.span();
    let scheme = choice.scheme;
    let digits = r.graph().decompose(operands[0], scheme, span)?;
    let unit = digits.sibling(1);
    let codes = weight.codes(r.graph(), span)?;
    let products = r.graph().dot(digits, codes, span)?;
    let sum = r.graph().combine(products, scheme, span)?;
    let result = scaled(r, sum, &weight)?;
    let wide = r.graph().mul(result, unit, span)?;
    Ok(Outcome::Fired(r.graph().cast(wide, DType::F32, span)?))
}

/// What stops the other operand from being split: guard and reason.
pub fn activation_guard(graph: &impl Graph, x: Value) -> Option<(&'static str, String)> {
    match graph.ty(x) {
        Type::Tensor(t) if t.dtype.is_float() => None,
        other => Some(("activation-type", format!("the other operand is `{other}`, no float to split"))),
    }
}

fn post_scale(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    let Some(weight) = weight_product(r, op, operands) else { return Ok(Outcome::NoMatch) };
    if let Some((guard, reason)) = stored_guard(&weight).or_else(|| activation_guard(&*r.graph(), operands[0])) {
        return Ok(Outcome::Stopped { guard, reason });
    }
    let span = r.span();
    let codes = weight.codes(r.graph(), span)?;
    let product = r.graph().matmul(operands[0], codes, span)?;
    Ok(Outcome::Fired(scaled(r, product, &weight)?))
}

/// What stops a product from multiplying two stored operands natively, seen from its left one:
/// guard and reason, also if that operand is not stored at all.
pub fn native_guard(graph: &impl Graph, left: Value) -> Option<(&'static str, String)> {
    let Some(mut weight) = Weight::find(graph, left).filter(|w| w.factors.is_empty()) else {
        return Some(("activation-type", "the other operand is not dequantized".to_string()));
    };
    // The left operand contracts its last axis: seen transposed, it obeys the same guards.
    let rank = weight.axes.len();
    weight.axes.swap(rank - 2, rank - 1);
    stored_guard(&weight)
}

fn native_product(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    let Some(right) = weight_product(r, op, operands) else { return Ok(Outcome::NoMatch) };
    let Some(left) = Weight::find(&*r.graph(), operands[0]).filter(|w| w.factors.is_empty()) else {
        return Ok(Outcome::NoMatch);
    };
    if let Some(choice) = r.choice().filter(|c| c.lowering != Lowering::Msd) {
        return Ok(Outcome::Stopped { guard: "plan", reason: choice.because.clone() });
    }
    if let Some((guard, reason)) = native_guard(&*r.graph(), operands[0]).or_else(|| stored_guard(&right)) {
        return Ok(Outcome::Stopped { guard, reason });
    }
    let span = r.span();
    let (x, w) = (left.codes(r.graph(), span)?, right.codes(r.graph(), span)?);
    let products = r.graph().dot(x, w, span)?;
    let sum = r.graph().cast(products, DType::F32, span)?;
    let by_row = scaled(r, sum, &left)?;
    Ok(Outcome::Fired(scaled(r, by_row, &right)?))
}
