//! Every BF16 against the certified bound of every scheme, and the rows that are special.

use super::*;
use crate::dtype::bf16_to_f32;

/// The value the digits of element `k` stand for; exact in F64 for the power-of-two schemes.
fn value(scheme: Scheme, split: &Digits, k: usize) -> f64 {
    let n: f64 = scheme.weights().iter().zip(&split.digits).map(|(w, d)| *w as f64 * d[k] as f64).sum();
    n * split.scale
}

/// Every finite BF16 of magnitude up to `mx`, and `mx`.
fn bf16_row(mx: f32) -> Vec<f32> {
    let all = (0..=u16::MAX).map(bf16_to_f32);
    all.filter(|x| x.abs() <= mx).chain([mx]).collect()
}

fn bf16_maxima() -> Vec<f32> {
    // Smallest and larger subnormals, least normal, ordinary ones with odd mantissas, 127 and
    // 128 units of the schemes, the largest.
    let bits = [0x0001, 0x0055, 0x007F, 0x0080, 0x0081, 0x3D4D, 0x3F7F, 0x3F80, 0x3F81, 0x3FFF, 0x42FE, 0x42FF, 0x7F7F];
    bits.into_iter().map(bf16_to_f32).collect()
}

fn assert_within_bound(scheme: Scheme, row: &[f32]) {
    let magnitudes: Vec<f32> = row.iter().map(|x| x.abs()).collect();
    let row = if scheme.is_unsigned() { &magnitudes } else { row };
    let mx = row.iter().fold(0f32, |m, x| m.max(x.abs())) as f64;
    let split = decompose_row(scheme, row);
    assert_eq!(split.digits.len(), scheme.weights().len());
    for (k, x) in row.iter().enumerate() {
        let error = (*x as f64 - value(scheme, &split, k)).abs();
        assert!(error <= scheme.bound() * mx, "{}: {x:e} in a row of {mx:e} is off by {error:e}", scheme.name());
        let most = scheme.digit_dtype().int_range().map_or(448.0, |(_, high)| high as f32);
        assert!(split.digits[0][k] >= -most, "{}: first digit of {x:e} in a row of {mx:e}", scheme.name());
    }
}

#[test]
fn every_bf16_is_within_the_bound_of_every_scheme() {
    for mx in bf16_maxima() {
        let row = bf16_row(mx);
        for scheme in Scheme::ALL {
            assert_within_bound(*scheme, &row);
        }
    }
}

#[test]
fn power_of_two_schemes_are_exact_for_large_bf16() {
    for (scheme, ratio) in [(Scheme::Int8x2Pow2, 127.0), (Scheme::Int8x3Pow2, 32000.0), (Scheme::Fp8x2, 14336.0)] {
        for mx in bf16_maxima() {
            let row = bf16_row(mx);
            let split = decompose_row(scheme, &row);
            for (k, x) in row.iter().enumerate().filter(|(_, x)| x.abs() as f64 >= mx as f64 / ratio) {
                assert_eq!(value(scheme, &split, k), *x as f64, "{}: {x:e} in a row of {mx:e}", scheme.name());
            }
        }
    }
}

#[test]
fn the_power_of_two_unit_is_the_smallest_that_fits() {
    for (scheme, largest) in [(Scheme::Int8x2Pow2, 32639.0), (Scheme::Int8x3Pow2, 8355711.0)] {
        // Exactly the largest integer, the F32 above it, and both far from 1.
        for mx in [largest, largest * 2f32.powi(90), largest * 2f32.powi(-140), f32::MAX, f32::from_bits(1)] {
            for mx in [mx, f32::from_bits(mx.to_bits() + 1)].into_iter().filter(|m| m.is_finite()) {
                let scale = decompose_row(scheme, &[mx]).scale;
                assert_eq!(scale.log2().fract(), 0.0);
                assert!(mx as f64 <= largest as f64 * scale && mx as f64 > largest as f64 * scale / 2.0, "{mx:e}");
            }
        }
    }
}

#[test]
fn the_largest_element_reaches_the_largest_integer() {
    for (scheme, digits) in [(Scheme::Int8x2Radix, vec![127.0, 127.0]), (Scheme::Int8x1, vec![127.0])] {
        for mx in [1.0f32, 3.7, f32::MAX, f32::from_bits(3)] {
            for sign in [1, -1] {
                let split = decompose_row(scheme, &[mx * sign as f32]);
                let found: Vec<f32> = split.digits.iter().map(|d| d[0] * sign as f32).collect();
                assert_eq!(found, digits, "{mx:e}");
            }
        }
    }
}

#[test]
fn digits_of_known_integers() {
    // In a row of 32639 the unit of int8x2-pow2 is 1.
    let row = [32639.0f32, 128.0, 127.0, -128.0, -129.0, 0.5, 1.5, -0.0];
    let split = decompose_row(Scheme::Int8x2Pow2, &row);
    assert_eq!(split.scale, 1.0);
    assert_eq!(split.digits[0], [127.0, 1.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0]);
    assert_eq!(split.digits[1], [127.0, -128.0, 127.0, -128.0, 127.0, 0.0, 2.0, 0.0]);
    let split = decompose_row(Scheme::Int8x3Pow2, &[8355711.0, -8355711.0, 65536.0, 32768.0]);
    assert_eq!((split.scale, &split.digits[0][..]), (1.0, &[127.0f32, -127.0, 1.0, 1.0][..]));
    assert_eq!(split.digits[1], [127.0, -127.0, 0.0, -128.0]);
    assert_eq!(split.digits[2], [127.0, -127.0, 0.0, 0.0]);
    // 254 units of the second digit are one of the first.
    let split = decompose_row(Scheme::Int8x2Greedy, &[127.0, 1.0, 0.5, 0.4]);
    assert_eq!(split.digits, [[127.0, 1.0, 0.0, 0.0], [0.0, 0.0, 127.0, 102.0]]);
    assert_eq!(split.scale, 1.0 / 254.0);
}

#[test]
fn a_row_that_is_not_finite_has_no_digits() {
    for scheme in Scheme::ALL {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let split = decompose_row(*scheme, &[1.0, bad, -3.0]);
            assert!(split.scale.is_nan());
            assert_eq!(split.digits, vec![vec![0.0; 3]; scheme.weights().len()]);
        }
    }
}

#[test]
fn zero_and_empty_rows() {
    for scheme in Scheme::ALL {
        for row in [&[0.0f32, -0.0][..], &[]] {
            let split = decompose_row(*scheme, row);
            assert_eq!(split, Digits { digits: vec![vec![0.0; row.len()]; scheme.weights().len()], scale: 1.0 });
        }
    }
}

/// A small generator: the tests need spread, not quality.
fn random(state: &mut u64) -> u32 {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*state >> 32) as u32
}

#[test]
fn random_f32_rows_are_within_the_bound() {
    let mut state = 1;
    for scheme in Scheme::ALL {
        for round in 0..400 {
            let row: Vec<f32> = (0..64)
                .map(|_| {
                    let bits = random(&mut state);
                    match round % 4 {
                        // Subnormal rows.
                        0 => f32::from_bits(bits & 0x807F_FFFF),
                        // Magnitudes from 2^127 up to the largest, which each row holds.
                        1 => f32::from_bits(bits & 0x807F_FFFF | 0x7F00_0000),
                        // Any finite numbers, scales far apart.
                        2 => f32::from_bits(if bits & 0x7F80_0000 == 0x7F80_0000 { bits & 0xBFFF_FFFF } else { bits }),
                        _ => (bits as i32) as f32 / 2f32.powi(31),
                    }
                })
                .chain((round % 4 == 1).then_some(f32::MAX))
                .collect();
            assert_within_bound(*scheme, &row);
        }
    }
}
