//! The lowering rules: they replace a canonical product by what the plan chose. Each has a filetest
//! where it fires, one where its guard stops it, and one that runs it through evaluator and JIT.
//!
//! `S` stands for `sum_d weight_d * digit_d(x) . codes(W)`, an exact integer unless digits or codes are
//! floats of 8 bits; `g` for the unit of a row of digits, `s` and `z` for scale and zero point of the
//! weight.

use super::canonical::{DOUBLE_TRANSPOSE, swap_last};
use super::form::{ABSORB_SCALE, Codes, DIGIT_SPLIT, FOLD_ZERO, Form, SPLIT_GROUPS, Stopped, Zero, activations};
use super::pattern::{Weight, in_groups, transposed};
use super::{Applied, Outcome, Rewriter, Rule};
use crate::diag::{Code, Diagnostic};
use crate::dim::Dim;
use crate::dtype::DType;
use crate::graph::{Lowering, Value};
use crate::ops::Op;
use crate::quant::scheme::Scheme;

/// The rule that needs no digits.
pub const NATIVE_PRODUCT: &str = "native-product";

/// Replaces products by what the plan chose.
pub const RULES: &[Rule] = &[
    DOUBLE_TRANSPOSE,
    Rule {
        name: NATIVE_PRODUCT,
        equation: "dequant(A) @ dequant(B) -> f32(codes(A) . codes(B)) * scale(A) * scale(B)",
        apply: native_product,
    },
    Rule {
        name: "recombine-int16",
        equation: "digits(x; 256, 1) -> digit(x; 1), the same integers in one digit of 16 bits",
        apply: recombine_int16,
    },
    Rule { name: ABSORB_SCALE, equation: "x @ dequant(W; s[k]) -> (x * s) @ dequant(W; 1)", apply: absorb_scale },
    Rule { name: SPLIT_GROUPS, equation: "x @ dequant(W; s[k/G]) -> (sum_G f32(S_G) * s_G) * g", apply: split_groups },
    Rule { name: FOLD_ZERO, equation: "x @ dequant(W; s, z) -> (f32(S - z * R) * s) * g", apply: fold_zero },
    Rule { name: DIGIT_SPLIT, equation: "x @ dequant(W; s) -> (f32(S) * s) * g", apply: digit_split },
    Rule {
        name: "post-scale",
        equation: "x @ dequant(W; s) -> (x @ codes(W)) * s, and of FP8 s[k/G] -> sum_G (x_G @ codes(W)_G) * s_G",
        apply: post_scale,
    },
];

/// The rules that multiply a weight as stored.
pub const AS_STORED: [&str; 5] = [NATIVE_PRODUCT, ABSORB_SCALE, SPLIT_GROUPS, FOLD_ZERO, DIGIT_SPLIT];

/// The right operand's weight, for products the rules here apply to.
fn weight_product(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Option<Weight> {
    if *op != Op::MatMul {
        return None;
    }
    Weight::find(&*r.graph(), operands[1]).filter(|w| w.factors.is_empty())
}

/// Recombination is part of the rules below, which take each row's digits from here.
fn recombine_int16(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    let (Op::Decompose { scheme } | Op::DecomposeBlocks { scheme, .. }) = op else { return Ok(Outcome::NoMatch) };
    // Digits of a kernel that was written with them are no choice of ours.
    if !r.choice().is_some_and(|c| c.recombine) {
        return Ok(Outcome::NoMatch);
    }
    if r.choice().and_then(|c| c.form).is_some_and(|form| !form.codes.is_exact_with(*scheme)) {
        let reason = "sums of products with floats are rounded, those of each digit by themselves".to_string();
        return Ok(Outcome::Stopped { guard: "products", reason });
    }
    let Some(scheme) = scheme.recombined() else {
        let is_whole = scheme.digit_dtype() == DType::I16;
        let reason = format!("the integers of `{}` are not two digits of 8 bits", scheme.name());
        return Ok(if is_whole { Outcome::NoMatch } else { Outcome::Stopped { guard: "digits", reason } });
    };
    let op = match op {
        Op::DecomposeBlocks { size, .. } => Op::DecomposeBlocks { scheme, size: size.clone() },
        _ => Op::Decompose { scheme },
    };
    Ok(Outcome::Fired(r.apply(op, operands)?))
}

fn absorb_scale(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    digit_product(r, op, operands, ABSORB_SCALE, |form| form.absorbs)
}

fn split_groups(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    digit_product(r, op, operands, SPLIT_GROUPS, |form| !form.absorbs && form.unit.is_some())
}

fn fold_zero(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    let is_folded = |form: &Form| !form.absorbs && form.unit.is_none() && form.zero != Zero::None;
    digit_product(r, op, operands, FOLD_ZERO, is_folded)
}

fn digit_split(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    digit_product(r, op, operands, DIGIT_SPLIT, Form::is_plain)
}

/// Digits times stored codes, if the weight has a form that is the rule's; or what stops it, if that
/// is the rule's to say.
fn digit_product(r: &mut Rewriter<'_>, op: &Op, operands: &[Value], rule: &str, of_rule: fn(&Form) -> bool) -> Applied {
    let Some(weight) = weight_product(r, op, operands) else { return Ok(Outcome::NoMatch) };
    let Some(choice) = r.choice().cloned() else { return Ok(Outcome::NoMatch) };
    let form = match choice.form {
        Some(form) => Ok(form),
        None => activations(&*r.graph(), operands[0]).and_then(|()| Form::of(&weight)),
    };
    if let Some(Stopped { guard, reason, .. }) = form.as_ref().err().filter(|s| s.rule == rule).cloned() {
        return Ok(Outcome::Stopped { guard, reason });
    }
    let form = form.map(|form| Form { unit: choice.block.or(form.unit), ..form });
    let Some(form) = form.ok().filter(of_rule) else { return Ok(Outcome::NoMatch) };
    if choice.lowering != Lowering::Msd {
        return Ok(Outcome::Stopped { guard: "plan", reason: choice.because });
    }
    let x = if form.absorbs { scaled_activations(r, operands[0], &weight)? } else { operands[0] };
    let split = Split::of(r, x, choice.scheme, choice.block)?;
    let result = match form.unit {
        Some(unit) => split.accumulated(r, &weight, &form, unit)?,
        None if form.absorbs => split.merged(r, &weight, &form)?,
        None => {
            let sum = split.merged(r, &weight, &form)?;
            scaled(r, sum, &weight)?
        }
    };
    let unit = split.unit_under(r, &weight, &form)?;
    let span = r.span();
    let wide = r.graph().mul(result, unit, span)?;
    Ok(Outcome::Fired(r.graph().cast(wide, DType::F32, span)?))
}

/// `x * s` for a scale of each contraction channel.
fn scaled_activations(r: &mut Rewriter<'_>, x: Value, weight: &Weight) -> Result<Value, Diagnostic> {
    let span = r.span();
    let b = r.graph();
    let scale = b.scale(weight.param, span)?;
    let column = weight.aligned(b, scale, &weight.ty.scale, None, span)?;
    let row = swap_last(r, column)?;
    r.graph().mul(x, row, span)
}

/// `y * s` for a scale that does not vary along the contraction.
fn scaled(r: &mut Rewriter<'_>, y: Value, weight: &Weight) -> Result<Value, Diagnostic> {
    let span = r.span();
    let b = r.graph();
    let scale = b.scale(weight.param, span)?;
    let row = weight.aligned(b, scale, &weight.ty.scale, None, span)?;
    b.mul(y, row, span)
}

/// Rows `[.., M, K]` as `[.., K/unit, M, unit]`.
fn rows_in_groups(r: &mut Rewriter<'_>, rows: Value, unit: u64) -> Result<Value, Diagnostic> {
    let span = r.span();
    let b = r.graph();
    let rank = b.ty(rows).shape().len();
    let grouped = in_groups(b, rows, rank - 1, unit, span)?;
    let mut order: Vec<usize> = (0..=rank).collect();
    order.swap(rank - 2, rank - 1);
    transposed(b, grouped, &order, span)
}

/// The scale of each group of `unit`, as products of groups see it.
fn group_scale(r: &mut Rewriter<'_>, weight: &Weight, unit: u64) -> Result<Value, Diagnostic> {
    let span = r.span();
    let b = r.graph();
    let scale = b.scale(weight.param, span)?;
    let scale = b.cast(scale, DType::F32, span)?;
    weight.aligned(b, scale, &weight.ty.scale, Some(unit), span)
}

/// Activations as digits.
struct Split {
    /// `[.., D*M, K]`, or with blocks `[.., K/B, D*M, B]`.
    digits: Value,
    scheme: Scheme,
    /// F64 `[.., M, 1]`
    row_unit: Value,
    /// With blocks, their units over the row's: F32 `[.., K/B, M, 1]`.
    relative: Option<Value>,
}

impl Split {
    fn of(r: &mut Rewriter<'_>, x: Value, scheme: Scheme, block: Option<u64>) -> Result<Split, Diagnostic> {
        let digits = match block {
            Some(size) => r.apply(Op::DecomposeBlocks { scheme, size: Dim::constant(size) }, &[x])?,
            None => r.apply(Op::Decompose { scheme }, &[x])?,
        };
        // Recombination may have chosen another scheme.
        match r.graph().node(digits).op {
            Op::Decompose { scheme } => Ok(Split { digits, scheme, row_unit: digits.sibling(1), relative: None }),
            Op::DecomposeBlocks { scheme, .. } => {
                let relative = Some(digits.sibling(1));
                Ok(Split { digits, scheme, row_unit: digits.sibling(2), relative })
            }
            _ => Err(Diagnostic::new(Code::Internal, "digits that are not split off").at(r.span())),
        }
    }

    /// The unit of a row, times the step of codes that are multiplied as integers.
    fn unit_under(&self, r: &mut Rewriter<'_>, weight: &Weight, form: &Form) -> Result<Value, Diagnostic> {
        let span = r.span();
        match weight.ty.codes.dtype.minifloat() {
            Some(format) if form.codes == Codes::Steps && form.codes.is_exact_with(self.scheme) => {
                let step = r.graph().constant(format.step(), span);
                r.graph().mul(self.row_unit, step, span)
            }
            _ => Ok(self.row_unit),
        }
    }

    /// Digits times codes: `[.., D*M, N]`, by groups `[.., K/unit, D*M, N]`; exact in I64 where both
    /// are integers, else F32.
    fn products(&self, r: &mut Rewriter<'_>, weight: &Weight, form: &Form) -> Result<(Value, Value), Diagnostic> {
        let span = r.span();
        let b = r.graph();
        let (digits, codes) = match form.unit {
            None => (self.digits, weight.codes(b, span)?),
            Some(unit) if self.relative.is_some() => (self.digits, weight.codes_in_groups(b, unit, span)?),
            Some(unit) => (rows_in_groups(r, self.digits, unit)?, weight.codes_in_groups(r.graph(), unit, span)?),
        };
        let b = r.graph();
        if !form.codes.is_exact_with(self.scheme) {
            return Ok((digits, b.matmul(digits, codes, span)?));
        }
        // The outermost op of the operand, where packing looks for it.
        let codes = if form.codes == Codes::Steps { b.steps(codes, span)? } else { codes };
        Ok((digits, b.dot(digits, codes, span)?))
    }

    /// `f32(S)`, or `f32(S - z * R)`: `[.., M, N]`, by groups `[.., K/unit, M, N]`.
    fn merged(&self, r: &mut Rewriter<'_>, weight: &Weight, form: &Form) -> Result<Value, Diagnostic> {
        let span = r.span();
        let (digits, products) = self.products(r, weight, form)?;
        let b = r.graph();
        let Some(part) = &weight.ty.zero else { return b.combine(products, self.scheme, span) };
        let mut zero = b.zero(weight.param, span)?;
        // Wider ones could overflow the exact sum.
        if part.ty.dtype == DType::I32 {
            zero = b.cast(zero, DType::F64, span)?;
        }
        if form.zero == Zero::Channels {
            let column = weight.aligned(b, zero, part, None, span)?;
            let rank = b.ty(column).shape().len();
            let column = match form.unit {
                Some(unit) => in_groups(b, column, rank - 2, unit, span)?,
                None => column,
            };
            let sums = b.dot(digits, column, span)?;
            let one = b.constant(1.0, span);
            return b.combine_zero(products, sums, one, self.scheme, span);
        }
        let zero = weight.aligned(b, zero, part, form.unit, span)?;
        let wide = b.cast(digits, DType::I64, span)?;
        let sums = b.sum(wide, span)?;
        b.combine_zero(products, sums, zero, self.scheme, span)
    }

    /// `sum_G f32(S_G) * s_G`, with the units of blocks where there are any. Exact sums with scales that
    /// are powers of two are not rounded before the end.
    fn accumulated(&self, r: &mut Rewriter<'_>, weight: &Weight, form: &Form, unit: u64) -> Result<Value, Diagnostic> {
        let span = r.span();
        let is_wide = form.is_wide_with(self.scheme);
        let sums = if is_wide { self.products(r, weight, form)?.1 } else { self.merged(r, weight, form)? };
        let b = r.graph();
        let one = b.constant(1.0, span);
        let relative = self.relative.unwrap_or(one);
        let scale = if form.absorbs { one } else { group_scale(r, weight, unit)? };
        let b = r.graph();
        if is_wide {
            b.accumulate_wide(sums, scale, relative, self.scheme, span)
        } else {
            b.accumulate(sums, scale, relative, span)
        }
    }
}

fn post_scale(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    let Some(weight) = weight_product(r, op, operands) else { return Ok(Outcome::NoMatch) };
    if r.choice().is_some_and(|c| !c.hoists_scales) {
        let reason = "the target dequantizes weights with their scales".to_string();
        return Ok(Outcome::Stopped { guard: "target", reason });
    }
    let form = match r.choice().and_then(|c| c.form) {
        Some(form) => Ok(form),
        None => activations(&*r.graph(), operands[0]).and_then(|()| Form::of(&weight)),
    };
    let span = r.span();
    if let Some(unit) = form.as_ref().ok().and_then(Form::float_groups) {
        let (x, codes) = (rows_in_groups(r, operands[0], unit)?, weight.codes_in_groups(r.graph(), unit, span)?);
        let products = r.graph().matmul(x, codes, span)?;
        let (scale, one) = (group_scale(r, &weight, unit)?, r.graph().constant(1.0, span));
        return Ok(Outcome::Fired(r.graph().accumulate(products, scale, one, span)?));
    }
    if let Err(Stopped { guard, reason, .. }) = form.and_then(|_| Form::native(&weight)) {
        return Ok(Outcome::Stopped { guard, reason });
    }
    let codes = weight.codes(r.graph(), span)?;
    let product = r.graph().matmul(operands[0], codes, span)?;
    Ok(Outcome::Fired(scaled(r, product, &weight)?))
}

/// What stops a product from multiplying two stored operands natively, seen from its left one; also
/// if that operand is not stored at all.
///
/// # Errors
/// What stops it.
pub fn native_left(graph: &impl super::pattern::Graph, left: Value) -> Result<(), Stopped> {
    let Some(mut weight) = Weight::find(graph, left).filter(|w| w.factors.is_empty()) else {
        let reason = "the other operand is not dequantized".to_string();
        return Err(Stopped { rule: NATIVE_PRODUCT, guard: "activation-type", reason });
    };
    // The left operand contracts its last axis: seen transposed, it obeys the same guards.
    let rank = weight.axes.len();
    weight.axes.swap(rank - 2, rank - 1);
    native_codes(&weight).and_then(|()| Form::native(&weight))
}

/// What stops codes from being multiplied natively by others: instructions multiply integers.
///
/// # Errors
/// What stops it.
pub fn native_codes(weight: &Weight) -> Result<(), Stopped> {
    let dtype = weight.ty.codes.dtype;
    if dtype.is_int() {
        return Ok(());
    }
    let reason = format!("`{}` codes are no integers", dtype.name());
    Err(Stopped { rule: NATIVE_PRODUCT, guard: "weight-format", reason })
}

fn native_product(r: &mut Rewriter<'_>, op: &Op, operands: &[Value]) -> Applied {
    let Some(right) = weight_product(r, op, operands) else { return Ok(Outcome::NoMatch) };
    let Some(left) = Weight::find(&*r.graph(), operands[0]).filter(|w| w.factors.is_empty()) else {
        return Ok(Outcome::NoMatch);
    };
    if let Some(choice) = r.choice().filter(|c| c.lowering != Lowering::Msd) {
        return Ok(Outcome::Stopped { guard: "plan", reason: choice.because.clone() });
    }
    if let Err(Stopped { guard, reason, .. }) =
        native_left(&*r.graph(), operands[0]).and_then(|()| native_codes(&right)).and_then(|()| Form::native(&right))
    {
        return Ok(Outcome::Stopped { guard, reason });
    }
    let span = r.span();
    let (x, w) = (left.codes(r.graph(), span)?, right.codes(r.graph(), span)?);
    let products = r.graph().dot(x, w, span)?;
    let sum = r.graph().cast(products, DType::F32, span)?;
    let by_row = scaled(r, sum, &left)?;
    Ok(Outcome::Fired(scaled(r, by_row, &right)?))
}
