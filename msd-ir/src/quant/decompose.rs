//! Splitting a row of activations into digits (docs/numerics.md): the definition every backend
//! reproduces digit for digit. Schemes and their bounds are in [`super::scheme`]; stacking the
//! digits of many rows and multiplying them is the business of the ops.

use super::scheme::{Family, Scheme};
use crate::dtype::Minifloat;

/// A row as digits: `x[k] ~ scale * sum_d weights[d] * digits[d][k]`, weights from the scheme.
#[derive(Clone, Debug, PartialEq)]
pub struct Digits {
    /// `[D][K]`, most significant digit first: numbers that the scheme's digit type holds.
    pub digits: Vec<Vec<f32>>,
    /// Value of one unit of the weighted sum. NaN if the row holds a NaN or an infinity, 1 if it
    /// is all zeros.
    pub scale: f64,
}

/// Splits one scaling group. Total: every row of F32 values has digits.
///
/// With `Mx` the largest magnitude and `e = floor(log2 Mx)`, the row is first normalised to
/// `t = x * 2^-e`, exactly, so `Mn = Mx * 2^-e` lies in [1, 2) and no scale can under- or overflow
/// before the last step, which is in F64.
pub fn decompose_row(scheme: Scheme, row: &[f32]) -> Digits {
    let count = scheme.weights().len();
    let zeros = |scale| Digits { digits: vec![vec![0.0; row.len()]; count], scale };
    // Magnitudes of floats order as their bits; NaN and infinity come last.
    let largest_bits = row.iter().map(|x| x.to_bits() & 0x7FFF_FFFF).max().unwrap_or(0);
    let mx = f32::from_bits(largest_bits);
    if !mx.is_finite() {
        return zeros(f64::NAN);
    }
    if mx == 0.0 {
        return zeros(1.0);
    }
    let e = exponent(mx as f64);
    let (down, up) = (exp2(-e), exp2(e));
    let mn = mx as f64 * down;

    match scheme.family() {
        Family::Pow2 { largest } => {
            let p = power_for(largest, e, mn);
            let unit = exp2(-p);
            split(scheme, row, exp2(p), |x| (x as f64 * unit).round_ties_even() as i32)
        }
        Family::Radix { largest } => {
            let (largest, mn) = (largest as f32, mn as f32);
            let (r, g) = (largest / mn, mn / largest);
            split(scheme, row, g as f64 * up, |x| {
                // An element too small for F32 after normalising has n = 0 either way.
                let t = (x as f64 * down) as f32;
                // What is negative in spite of an unsigned scheme counts as 0.
                let least = if scheme.is_unsigned() { 0.0 } else { -largest };
                (t * r).round_ties_even().clamp(least, largest) as i32
            })
        }
        Family::Greedy { largest_hundredths } => {
            let a = mn / (largest_hundredths as f64 / 100.0);
            greedy(scheme, row, a, down, up)
        }
        Family::Minifloat { format, limit_128ths, .. } => {
            let p = power_for(limit_128ths, e, mn) + 7;
            small_floats(scheme, format, row, p)
        }
    }
}

/// The smallest p with `mn * 2^e <= largest * 2^p`.
fn power_for(largest: u32, e: i32, mn: f64) -> i32 {
    let l = exponent(largest as f64);
    // Once the exponents are level, mantissas decide.
    e - l + i32::from(mn > largest as f64 * exp2(-l))
}

/// Each digit is the small float nearest to what the digits before it left over, the first in units
/// of `2^p`. What is left over is exact: it has no more bits than the element.
fn small_floats(scheme: Scheme, format: Minifloat, row: &[f32], p: i32) -> Digits {
    let weights = scheme.weights();
    // Digits that are integers count steps of the format.
    let step = if scheme.digit_dtype().is_int() { format.step() } else { 1.0 };
    let mut digits = vec![vec![0.0; row.len()]; weights.len()];
    for (k, x) in row.iter().enumerate() {
        let mut rest = *x as f64 * exp2(-p);
        for (d, digit) in digits.iter_mut().enumerate() {
            if d > 0 {
                rest *= (weights[d - 1] / weights[d]) as f64;
            }
            let nearest = format.decode(format.encode(rest as f32));
            // No digit is -0: what is too small for F32 may have lost its sign elsewhere.
            digit[k] = nearest / step + 0.0;
            rest -= nearest as f64;
        }
    }
    Digits { digits, scale: exp2(p) * step as f64 / weights[0] as f64 }
}

/// Splits the integers `n(x)` exactly into digits, balanced if they are signed. The largest `n` of
/// the table keeps the first digit within its type, ±127 or ±7.
fn split(scheme: Scheme, row: &[f32], scale: f64, n: impl Fn(f32) -> i32) -> Digits {
    let count = scheme.weights().len();
    let bits = scheme.digit_dtype().bits();
    let half = if scheme.is_unsigned() { 0 } else { 1 << (bits - 1) };
    let mut digits = vec![vec![0.0; row.len()]; count];
    for (k, x) in row.iter().enumerate() {
        let mut rest = n(*x);
        for digit in digits.iter_mut().rev().take(count - 1) {
            let next = (rest + half) >> bits;
            digit[k] = (rest - (next << bits)) as f32;
            rest = next;
        }
        digits[0][k] = rest as f32;
    }
    Digits { digits, scale }
}

/// Each digit rounds what the digits before it left over; `a` is the unit of the first. F64.
fn greedy(scheme: Scheme, row: &[f32], a: f64, down: f64, up: f64) -> Digits {
    let weights: Vec<f64> = scheme.weights().iter().map(|w| *w as f64).collect();
    let units: Vec<f64> = weights.iter().map(|w| a * w / weights[0]).collect();
    let mut digits = vec![vec![0.0; row.len()]; weights.len()];
    for (k, x) in row.iter().enumerate() {
        let mut rest = *x as f64 * down;
        for (digit, unit) in digits.iter_mut().zip(&units) {
            let d = (rest / unit).round_ties_even().clamp(-127.0, 127.0);
            // Two roundings, not one fused: every backend has them.
            rest -= unit * d;
            digit[k] = d as f32;
        }
    }
    Digits { digits, scale: a / weights[0] * up }
}

/// `floor(log2 x)` of a positive normal number.
fn exponent(x: f64) -> i32 {
    (x.to_bits() >> 52) as i32 - 1023
}

/// `2^e` for exponents of normal F64 numbers.
fn exp2(e: i32) -> f64 {
    f64::from_bits(((e + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests;
