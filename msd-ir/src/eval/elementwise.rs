//! Ops on one element of each operand: a table of what each computes, and the broadcasting,
//! conversion and application they share.

use std::cmp::Ordering;

use super::array::{Array, Elements, Kind, Precision};
use super::float64;
use super::movement::broadcast;
use crate::dtype::{Class, DType, bf16_to_f32, e8m0_value, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::math::{self, Scalar};
use crate::tensor::encode;

/// An op of one operand, in any kind of number.
pub(super) struct Unary {
    single: fn(f32) -> f32,
    double: fn(f64) -> f64,
    integer: fn(i64) -> i64,
}

pub(super) const NEG: Unary = Unary { single: |x| -x, double: |x| -x, integer: i64::wrapping_neg };
pub(super) const ABS: Unary = Unary { single: f32::abs, double: f64::abs, integer: i64::wrapping_abs };

impl Unary {
    pub(super) fn apply(&self, x: &Elements, kind: Kind) -> Elements {
        match kind {
            Kind::Single => Elements::Single(x.single().iter().map(|x| (self.single)(*x)).collect()),
            Kind::Double => Elements::Double(x.double().iter().map(|x| (self.double)(*x)).collect()),
            Kind::Integer => Elements::Integer(x.integer().iter().map(|x| (self.integer)(*x)).collect()),
        }
    }
}

/// A function defined in F32; the F64 one beside it serves as its exact value.
pub(super) struct Function {
    single: fn(f32) -> f32,
    double: fn(f64) -> f64,
}

pub(super) const EXP: Function = Function { single: |x| math::exp(&mut Scalar, x), double: f64::exp };
pub(super) const LOG: Function = Function { single: |x| math::log(&mut Scalar, x), double: f64::ln };
pub(super) const TANH: Function = Function { single: |x| math::tanh(&mut Scalar, x), double: f64::tanh };
pub(super) const ERF: Function = Function { single: |x| math::erf(&mut Scalar, x), double: float64::erf };
pub(super) const SQRT: Function = Function { single: f32::sqrt, double: f64::sqrt };

impl Function {
    pub(super) fn apply(&self, x: &Elements, precision: Precision) -> Elements {
        match precision {
            Precision::Declared => Elements::Single(x.single().iter().map(|x| (self.single)(*x)).collect()),
            Precision::Double => Elements::Double(x.double().iter().map(|x| (self.double)(*x)).collect()),
        }
    }

    /// The F32 function.
    pub(super) fn single(&self, x: f32) -> f32 {
        (self.single)(x)
    }

    /// The F64 function.
    pub(super) fn double(&self, x: f64) -> f64 {
        (self.double)(x)
    }
}

/// An op of two operands, in any kind of number.
pub(super) struct Pair {
    single: fn(f32, f32) -> f32,
    double: fn(f64, f64) -> f64,
    integer: fn(i64, i64) -> i64,
}

pub(super) const ADD: Pair = Pair { single: |a, b| a + b, double: |a, b| a + b, integer: i64::wrapping_add };
pub(super) const SUB: Pair = Pair { single: |a, b| a - b, double: |a, b| a - b, integer: i64::wrapping_sub };
pub(super) const MUL: Pair = Pair { single: |a, b| a * b, double: |a, b| a * b, integer: i64::wrapping_mul };
/// Its type rule never asks for the integer form.
pub(super) const DIV: Pair =
    Pair { single: |a, b| a / b, double: |a, b| a / b, integer: |a, b| a.checked_div(b).unwrap_or(0) };
pub(super) const MIN: Pair = Pair { single: least, double: least, integer: least };
pub(super) const MAX: Pair = Pair { single: greatest, double: greatest, integer: greatest };

/// `a` if `a < b` or `a` is NaN, else `b`
fn least<T: Copy + PartialOrd>(a: T, b: T) -> T {
    if a < b || a.partial_cmp(&a).is_none() { a } else { b }
}

/// `a` if `a > b` or `a` is NaN, else `b`
pub(super) fn greatest<T: Copy + PartialOrd>(a: T, b: T) -> T {
    if a > b || a.partial_cmp(&a).is_none() { a } else { b }
}

impl Pair {
    pub(super) fn apply(&self, a: &Array, b: &Array, kind: Kind, shape: &[usize]) -> Elements {
        let (a, b) = (broadcast(a, shape), broadcast(b, shape));
        match kind {
            Kind::Single => Elements::Single(zip(&a.single(), &b.single(), self.single)),
            Kind::Double => Elements::Double(zip(&a.double(), &b.double(), self.double)),
            Kind::Integer => Elements::Integer(zip(&a.integer(), &b.integer(), self.integer)),
        }
    }
}

fn zip<T: Copy, U>(a: &[T], b: &[T], f: impl Fn(T, T) -> U) -> Vec<U> {
    a.iter().zip(b).map(|(a, b)| f(*a, *b)).collect()
}

/// Whether a comparison holds, given how its operands are ordered; NaN is not.
pub(super) type Holds = fn(Option<Ordering>) -> bool;

pub(super) const LT: Holds = |o| o == Some(Ordering::Less);
pub(super) const LE: Holds = |o| matches!(o, Some(Ordering::Less | Ordering::Equal));
pub(super) const GT: Holds = |o| o == Some(Ordering::Greater);
pub(super) const GE: Holds = |o| matches!(o, Some(Ordering::Greater | Ordering::Equal));
pub(super) const EQ: Holds = |o| o == Some(Ordering::Equal);
pub(super) const NE: Holds = |o| o != Some(Ordering::Equal);

/// Compares in the type the operands promote to.
pub(super) fn compare(a: &Array, b: &Array, holds: Holds, shape: &[usize]) -> Elements {
    let (a, b) = (broadcast(a, shape), broadcast(b, shape));
    Elements::Integer(match (a.kind(), b.kind()) {
        (Kind::Integer, Kind::Integer) => zip(&a.integer(), &b.integer(), |a, b| holds(a.partial_cmp(&b)) as i64),
        (Kind::Double, _) | (_, Kind::Double) => zip(&a.double(), &b.double(), |a, b| holds(a.partial_cmp(&b)) as i64),
        _ => zip(&a.single(), &b.single(), |a, b| holds(a.partial_cmp(&b)) as i64),
    })
}

/// `a` where `c` holds, else `b`.
pub(super) fn select(c: &Array, a: &Array, b: &Array, kind: Kind, shape: &[usize]) -> Elements {
    let c = broadcast(c, shape);
    let (a, b) = (broadcast(a, shape), broadcast(b, shape));
    let c = c.integer();
    match kind {
        Kind::Single => Elements::Single(choose(&c, &a.single(), &b.single())),
        Kind::Double => Elements::Double(choose(&c, &a.double(), &b.double())),
        Kind::Integer => Elements::Integer(choose(&c, &a.integer(), &b.integer())),
    }
}

fn choose<T: Copy>(c: &[i64], a: &[T], b: &[T]) -> Vec<T> {
    c.iter().zip(a.iter().zip(b)).map(|(c, (a, b))| if *c != 0 { *a } else { *b }).collect()
}

/// Another element type, rounded once to nearest even; integers and small floats saturate.
/// With [`Precision::Double`] floats stay as they are.
pub(super) fn cast(x: &Elements, dtype: DType, precision: Precision) -> Elements {
    match (dtype.class(), dtype) {
        (Class::Bool, _) => Elements::Integer(match x {
            Elements::Single(v) => v.iter().map(|x| (*x != 0.0) as i64).collect(),
            Elements::Double(v) => v.iter().map(|x| (*x != 0.0) as i64).collect(),
            Elements::Integer(v) => v.iter().map(|x| (*x != 0) as i64).collect(),
        }),
        (Class::Int, _) => {
            let (low, high) = dtype.int_range().unwrap_or((i64::MIN, i64::MAX));
            Elements::Integer(x.integer().iter().map(|x| (*x).clamp(low, high)).collect())
        }
        (Class::Float, _) if precision == Precision::Double => Elements::Double(x.double().into_owned()),
        (Class::Float, DType::F64) => Elements::Double(x.double().into_owned()),
        (Class::Float, DType::F32) => Elements::Single(x.single().into_owned()),
        (Class::Float, _) => Elements::Single(match x {
            Elements::Single(v) => v.iter().map(|x| narrow(*x, dtype)).collect(),
            Elements::Double(_) | Elements::Integer(_) => {
                x.double().iter().map(|x| narrow(to_odd(*x), dtype)).collect()
            }
        }),
    }
}

/// Values of a small float over the step of its type: exact.
pub(super) fn steps(x: &Elements, dtype: DType) -> Elements {
    let step = dtype.minifloat().map_or(1.0, |format| format.step() as f64);
    Elements::Integer(x.double().iter().map(|x| (x / step) as i64).collect())
}

/// The value of `x` in a float type narrower than F32.
fn narrow(x: f32, dtype: DType) -> f32 {
    match dtype {
        DType::F16 => f16_to_f32(f32_to_f16(x)),
        DType::BF16 => bf16_to_f32(f32_to_bf16(x)),
        DType::E8M0 => e8m0_value(encode(dtype, x) as u8),
        small => small.minifloat().map_or(x, |f| f.decode(encode(small, x) as u8)),
    }
}

/// Rounds to F32 so that a second rounding, to fewer than 23 bits, gives the nearest value of the
/// original: an inexact result has its last bit set ("round to odd").
fn to_odd(x: f64) -> f32 {
    let near = x as f32;
    if near as f64 == x || x.is_nan() {
        return near;
    }
    // Step back toward zero if rounding went away from it, then mark the remainder.
    let away = (near as f64).abs() > x.abs();
    f32::from_bits((near.to_bits() - u32::from(away)) | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrowing_rounds_once() {
        // Just above a tie of BF16 by less than F32 can hold: rounding twice would go to even.
        let tie = 1.0 + 2f64.powi(-8);
        let above = tie + 2f64.powi(-40);
        let bf16 = |x: f64| narrow(to_odd(x), DType::BF16);
        assert_eq!(bf16(tie), 1.0);
        assert_eq!(bf16(above), 1.0 + 2f32.powi(-7));
        assert_eq!(bf16(-above), -1.0 - 2f32.powi(-7));
        assert_eq!(bf16(1e300), f32::INFINITY);
        assert_eq!(bf16(1e-300), 0.0);
        assert!(bf16(f64::NAN).is_nan());
        // Half of the least F16 subnormal, and just above it.
        let f16 = |x: f64| narrow(to_odd(x), DType::F16);
        assert_eq!(f16(2f64.powi(-25)), 0.0);
        assert_eq!(f16(2f64.powi(-25) * (1.0 + 1e-12)), 2f32.powi(-24));
    }
}
