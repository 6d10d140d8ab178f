//! Errors of the polynomials against F64, over a sample of all F32 or all of them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use super::*;
use crate::eval::float64::erf as exact_erf;

/// A function, its exact counterpart, and the bit patterns worth a look.
struct Case {
    name: &'static str,
    ours: fn(f32) -> f32,
    exact: fn(f64) -> f64,
    /// Neighbourhoods of these are looked at one by one.
    edges: &'static [f32],
}

const CASES: &[Case] = &[
    Case {
        name: "exp",
        ours: |x| exp(&mut Scalar, x),
        exact: f64::exp,
        edges: &[0.0, -0.0, 88.72284, -87.33655, -103.97208, -104.0, 89.0, 0.346_573_6, f32::MAX],
    },
    Case {
        name: "log",
        ours: |x| log(&mut Scalar, x),
        exact: f64::ln,
        edges: &[0.0, -0.0, 1.0, f32::MIN_POSITIVE, 0.666_666_7, 1.333_333_4, f32::MAX],
    },
    Case {
        name: "tanh",
        ours: |x| tanh(&mut Scalar, x),
        exact: f64::tanh,
        edges: &[0.0, f32::MIN_POSITIVE, 0.6, 9.010_913, 10.0, f32::MAX],
    },
    Case {
        name: "erf",
        ours: |x| erf(&mut Scalar, x),
        exact: exact_erf,
        edges: &[0.0, f32::MIN_POSITIVE, 0.875, 3.832_507, 4.0, f32::MAX],
    },
];

/// Distance from the exact value in units of the last place of its binade; infinite where a
/// special value is wrong.
fn ulps(got: f32, exact: f64) -> f64 {
    if exact.is_nan() || got.is_nan() {
        return if exact.is_nan() && got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if got as f64 == exact || (got.is_infinite() && exact as f32 == got) {
        return 0.0;
    }
    let exponent = (exact.abs().to_bits() >> 52) as i32 - 1023;
    let unit = 2f64.powi(exponent.max(-126) - 23);
    (got as f64 - exact).abs() / unit
}

fn error_at(case: &Case, bits: u32) -> f64 {
    let x = f32::from_bits(bits);
    ulps((case.ours)(x), (case.exact)(x as f64))
}

/// Largest error over a strided range of bit patterns, and where.
fn worst(case: &Case, patterns: impl Iterator<Item = u32>) -> (f64, f32) {
    let mut worst = (0.0, 0.0);
    for bits in patterns {
        let error = error_at(case, bits);
        if error > worst.0 {
            worst = (error, f32::from_bits(bits));
        }
    }
    worst
}

/// `MSD_EXHAUSTIVE=1`, which the nightly run sets, takes every F32 instead of a sample: minutes.
#[test]
fn all_f32_are_within_two_ulp() {
    // A prime stride meets every exponent and all low bits.
    let stride = if std::env::var_os("MSD_EXHAUSTIVE").is_some() { 1 } else { 8191 };
    for case in CASES {
        let (error, at) = worst(case, (0..=u32::MAX).step_by(stride));
        assert!(error <= 2.0, "{}({at:e}): {error} ulp", case.name);
    }
}

#[test]
fn edges_are_within_two_ulp() {
    for case in CASES {
        for edge in case.edges.iter().flat_map(|e| [*e, -e]) {
            let near = (-2000i32..2000).map(|d| edge.to_bits().wrapping_add_signed(d));
            let (error, at) = worst(case, near);
            assert!(error <= 2.0, "{}({at:e}): {error} ulp", case.name);
        }
    }
}

#[test]
fn specials() {
    let s = &mut Scalar;
    let bits = |x: f32| x.to_bits();
    assert_eq!(bits(exp(s, f32::NEG_INFINITY)), 0);
    assert_eq!(bits(exp(s, -103.972_1)), 0);
    assert_eq!(bits(exp(s, -103.97)), 1);
    assert_eq!(exp(s, f32::INFINITY), f32::INFINITY);
    assert_eq!(exp(s, 88.722_84), f32::INFINITY);
    assert_eq!(exp(s, 0.0), 1.0);
    assert_eq!(exp(s, -0.0), 1.0);
    assert_eq!(log(s, 0.0), f32::NEG_INFINITY);
    assert_eq!(log(s, -0.0), f32::NEG_INFINITY);
    assert_eq!(log(s, f32::INFINITY), f32::INFINITY);
    assert_eq!(bits(log(s, 1.0)), 0);
    assert!(log(s, -f32::from_bits(1)).is_nan() && log(s, f32::NEG_INFINITY).is_nan());
    for f in [tanh::<Scalar>, erf::<Scalar>] {
        assert_eq!(bits(f(s, 0.0)), 0);
        assert_eq!(bits(f(s, -0.0)), 1 << 31);
        assert_eq!(f(s, f32::INFINITY), 1.0);
        assert_eq!(f(s, f32::NEG_INFINITY), -1.0);
        assert_eq!(f(s, 20.0), 1.0);
        for x in [0.3f32, 0.7, 2.5, 1e-40] {
            assert_eq!(bits(f(s, -x)), bits(-f(s, x)));
        }
    }
    assert_eq!(tanh(s, f32::from_bits(1)), f32::from_bits(1));
    for f in [exp::<Scalar>, log::<Scalar>, tanh::<Scalar>, erf::<Scalar>] {
        assert!(f(s, f32::NAN).is_nan() && f(s, -f32::NAN).is_nan());
        assert!(f(s, f32::from_bits(0x7F80_0001)).is_nan());
    }
}
