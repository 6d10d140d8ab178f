//! When sums of small floats are exact, as docs/numerics.md states it.
//!
//! In F32: if all numbers of one side are multiples of `u` up to `U`, and all of the other of `v` up to
//! `V`, then every sum of at most `K` of their products is exact, in whatever order, as long as
//! `K U V <= 2^24 u v`. Compiled sums, `k` ascending with fused multiply-add, against sums of integers;
//! and sums that are just too long.
//!
//! Of groups with scales that are powers of two: one rounding of the whole sum, compared with integers
//! of 128 bits. F64 holds what is below 2^53 of the smallest unit, hence all sums of two digits and 4096
//! codes under exponents that span 16; three digits and codes of 8 bits go beyond in these tests too, where
//! but for a tie nothing is seen of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

#[path = "oracle/draw.rs"]
#[allow(dead_code, reason = "shared with tests that draw more")]
mod draw;

use draw::Draw;
use msd::ir::dtype::DType;
use msd::ir::quant::decompose::decompose_row;
use msd::{Kernel, Lowering, Options, QuantTensor, Scheme, Tensor};

/// A type's magnitudes by code, as multiples of its smallest; and the power of two that is.
struct Format {
    dtype: DType,
    steps: Vec<i64>,
    exponent: i32,
}

impl Format {
    fn e2m1() -> Format {
        Format { dtype: DType::E2M1, steps: vec![0, 1, 2, 3, 4, 6, 8, 12], exponent: -1 }
    }

    fn e1m2() -> Format {
        Format { dtype: DType::E1M2, steps: (0..8).collect(), exponent: -2 }
    }

    /// The last code is NaN.
    fn e4m3() -> Format {
        let step = |code: i64| if code < 8 { code } else { (8 + code % 8) << (code / 8 - 1) };
        Format { dtype: DType::E4M3, steps: (0..127).map(step).collect(), exponent: -9 }
    }

    fn code(&self, steps: i64) -> i64 {
        let code = self.steps.iter().position(|s| *s == steps.abs()).unwrap() as i64;
        if steps < 0 { code | 1 << (self.dtype.bits() - 1) } else { code }
    }
}

/// Numbers of a side, in its steps.
struct Side<'a> {
    format: &'a Format,
    /// The magnitudes in use.
    used: Vec<i64>,
}

impl Side<'_> {
    fn largest(&self) -> i64 {
        *self.used.iter().max().unwrap()
    }

    /// What all are multiples of: of those in use that are not 0, the least power of two.
    fn unit(&self) -> i64 {
        self.used.iter().filter(|s| **s != 0).map(|s| s & -s).min().unwrap()
    }

    fn odd(&self) -> i64 {
        *self.used.iter().filter(|s| *s & self.unit() != 0).max().unwrap()
    }
}

/// The longest contraction of which every sum is exact.
fn longest(a: &Side, b: &Side) -> usize {
    ((1i64 << 24) * a.unit() * b.unit() / (a.largest() * b.largest())) as usize
}

/// The compiled `a @ b.T` of one row each, in products of the two smallest steps.
fn summed(a: (&Format, &[i64]), b: (&Format, &[i64])) -> f64 {
    let (types, k) = ((a.0.dtype.name(), b.0.dtype.name()), a.1.len());
    let text = format!("kernel f(a: {}[M, K], b: {}[N, K]) -> f32[M, N] {{ a @ b.T }}", types.0, types.1);
    let tensor = |(format, steps): (&Format, &[i64])| {
        Tensor::from_codes(format.dtype, vec![1, k], steps.iter().map(|s| format.code(*s))).unwrap()
    };
    let kernel = Kernel::new(&text, &Options::new()).unwrap();
    let y = kernel.call(&[(&tensor(a)).into(), (&tensor(b)).into()]).unwrap().remove(0);
    y.value(0) * 2f64.powi(-a.0.exponent - b.0.exponent)
}

fn exact(a: &[i64], b: &[i64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum::<i64>() as f64
}

/// Extremes and random numbers are exact at the longest; two more than that are not always.
fn check(a: &Side, b: &Side, expected: usize) {
    let k = longest(a, b);
    assert_eq!(k, expected);
    let mut draw = Draw::new(k as u64);
    let signs = [
        |_: usize| 1,
        |i: usize| if i.is_multiple_of(2) { 1 } else { -1 },
        |i: usize| if i.is_multiple_of(3) { -1 } else { 1 },
    ];
    for sign in signs {
        let largest: Vec<i64> = (0..k).map(|i| a.largest() * sign(i)).collect();
        let (all, found) = (vec![b.largest(); k], |x: &[i64], y: &[i64]| summed((a.format, x), (b.format, y)));
        assert_eq!(found(&largest, &all), exact(&largest, &all));
        // One of another kind at the very end, and anything.
        let (mut x, mut y) = (largest, all);
        (x[k - 1], y[k - 1]) = (a.odd(), -b.odd());
        assert_eq!(found(&x, &y), exact(&x, &y));
        for i in 0..k {
            (x[i], y[i]) = (*draw.pick(&a.used) * sign(draw.below(12)), *draw.pick(&b.used) * sign(draw.below(12)));
        }
        assert_eq!(found(&x, &y), exact(&x, &y));
        // Where all are of one sign sums are largest; from the other end they are the same.
        (x, y) = (x.iter().map(|s| s.abs()).rev().collect(), y.iter().map(|s| s.abs()).rev().collect());
        assert_eq!(found(&x, &y), exact(&x, &y));
    }
    let (mut x, mut y) = (vec![a.largest(); k + 2], vec![b.largest(); k + 2]);
    (x[k + 1], y[k + 1]) = (a.odd(), b.odd());
    assert_ne!(summed((a.format, &x), (b.format, &y)), exact(&x, &y), "two more than {k} are exact as well");
}

#[test]
fn fp4_by_fp4() {
    let (e2m1, e1m2) = (Format::e2m1(), Format::e1m2());
    let all = |format: &'static str| match format {
        "e2m1" => Side { format: &e2m1, used: e2m1.steps.clone() },
        _ => Side { format: &e1m2, used: e1m2.steps.clone() },
    };
    // 2^24 / (7 * 12), / (12 * 12) and / (7 * 7).
    check(&all("e1m2"), &all("e2m1"), 199_728);
    check(&all("e2m1"), &all("e2m1"), 116_508);
    check(&all("e1m2"), &all("e1m2"), 342_392);
}

/// Of E4M3 only bands of exponents: `b` powers of two reach from 8 units to `15 * 2^(b - 1)`.
#[test]
fn fp8_by_fp8_in_bands() {
    let e4m3 = Format::e4m3();
    let band = |first: usize, count: usize| {
        let codes = 8 * first..(8 * (first + count)).min(127);
        Side { format: &e4m3, used: e4m3.steps[codes].to_vec() }
    };
    // 2^24 / (15 * 15 * 2^(2 (b - 1))), wherever the bands lie.
    check(&band(7, 1), &band(3, 1), 74_565);
    check(&band(4, 4), &band(7, 4), 1_165);
    check(&band(1, 6), &band(8, 6), 72);
    // The largest is 448, and with all that is below the smallest normal number it is the whole type.
    check(&band(15, 1), &band(15, 1), 85_598);
    let whole = band(0, 16);
    assert_eq!((whole.largest(), whole.unit()), (448 << 9, 1));
    assert_eq!(longest(&whole, &whole), 0);
}

/// One product is always exact, having 8 bits; two may not be.
#[test]
fn fp8_by_fp8_of_any_exponents() {
    let e4m3 = Format::e4m3();
    for (i, a) in e4m3.steps.iter().enumerate() {
        let b = e4m3.steps[i * 5 % 127];
        assert_eq!(summed((&e4m3, &[*a]), (&e4m3, &[b])), (a * b) as f64);
    }
    let (largest, least) = (448 << 9, 1);
    assert_ne!(
        summed((&e4m3, &[largest, least]), (&e4m3, &[largest, least])),
        exact(&[largest, least], &[largest, least])
    );
}

/// `sum_k x^[k] w[k]` of the digits of `x`, rounded once: everything in it is an integer times a power of
/// two. `codes` are steps of `2^exponent`, `scales` the exponents of groups of 32.
fn rounded_once(scheme: Scheme, x: &[f32], codes: &[i64], exponent: i32, scales: &[i32]) -> f32 {
    let mut terms = Vec::new();
    for (block, part) in x.chunks(scheme.block().map_or(x.len(), |size| size as usize)).enumerate() {
        let split = decompose_row(scheme, part);
        let unit = split.scale.log2();
        assert_eq!(unit.fract(), 0.0);
        for k in 0..part.len() {
            let at = block * part.len() + k;
            let n: i128 = scheme.weights().iter().zip(&split.digits).map(|(w, d)| (*w * d[k] as i64) as i128).sum();
            terms.push((n * codes[at] as i128, unit as i32 + exponent + scales[at / 32]));
        }
    }
    let least = terms.iter().map(|t| t.1).min().unwrap();
    let sum: i128 = terms.iter().map(|(term, power)| term << (power - least)).sum();
    (sum as f32 as f64 * 2f64.powi(least)) as f32
}

#[test]
fn groups_of_powers_of_two_are_rounded_once() {
    let (e2m1, e1m2) = (Format::e2m1(), Format::e1m2());
    let i8 = Format { dtype: DType::I8, steps: (0..128).collect(), exponent: 0 };
    let (m, n, k) = (2, 5, 4096);
    let mut draw = Draw::new(16);
    for (format, scheme) in [&e2m1, &e1m2, &i8].into_iter().flat_map(|f| {
        let schemes = [Scheme::Int8x2Pow2, Scheme::Int8x3Pow2, Scheme::Mxfp4x2, Scheme::Mxfp4x2E2m1];
        schemes.map(|scheme| (f, scheme))
    }) {
        let name = format.dtype.name();
        let text =
            format!("kernel f(W: {name}[N, K] scale e8m0[N, K/32], X: bf16[M, K]) -> f32[M, N] {{ X @ dequant(W).T }}");
        let kernel = Kernel::new(&text, &Options::new().lowering(Lowering::Msd).scheme(scheme)).unwrap();
        // All of the largest, all of a sign, and anything.
        for kind in 0..3 {
            let mut any = |largest: i64| if kind == 0 { largest } else { *draw.pick(&format.steps) };
            let mut steps: Vec<i64> = (0..n * k).map(|_| any(*format.steps.last().unwrap())).collect();
            if kind == 2 {
                steps.iter_mut().for_each(|s| *s *= 1 - 2 * draw.below(2) as i64);
            }
            let scales: Vec<i64> = (0..n * k / 32).map(|_| 119 + draw.below(17) as i64).collect();
            let x: Vec<f32> = draw.tensor(DType::F32, vec![m * k], draw::Values::Ordinary).to_f32();
            let x: Vec<f32> = x.iter().map(|x| if kind < 2 { x.abs() } else { *x }).collect();
            let x = Tensor::from_f32(DType::BF16, vec![m, k], &x).unwrap();
            let code = |s: &i64| if format.dtype.is_int() { *s } else { format.code(*s) };
            let codes = Tensor::from_codes(format.dtype, vec![n, k], steps.iter().map(code)).unwrap();
            let scale = Tensor::from_codes(DType::E8M0, vec![n, k / 32], scales.iter().copied()).unwrap();
            let weight = QuantTensor::new(codes, scale, None).unwrap();
            let y = kernel.call(&[(&weight).into(), (&x).into()]).unwrap().remove(0).to_f32();
            for (i, row) in x.to_f32().chunks(k).enumerate() {
                for j in 0..n {
                    let scales: Vec<i32> = scales[j * k / 32..][..k / 32].iter().map(|s| *s as i32 - 127).collect();
                    let expected = rounded_once(scheme, row, &steps[j * k..][..k], format.exponent, &scales);
                    assert_eq!(y[i * n + j], expected, "{name} by {}, kind {kind}", scheme.name());
                }
            }
        }
    }
}
