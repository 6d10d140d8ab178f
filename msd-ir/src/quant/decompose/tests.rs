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
        let spread: f64 =
            scheme.weights().iter().zip(&split.digits).map(|(w, d)| (*w as f64 * d[k] as f64).abs()).sum();
        assert!(spread * split.scale <= 1.5 * mx, "{}: digits of {x:e} in a row of {mx:e}", scheme.name());
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

/// Digits worked out by hand: for each element, what its first and its second digit are, in steps.
fn assert_digits(scheme: Scheme, unit: f64, elements: &[(f32, f32, f32)]) {
    let row: Vec<f32> = elements.iter().map(|e| e.0).collect();
    let split = decompose_row(scheme, &row);
    assert_eq!(split.scale, unit, "{}", scheme.name());
    for (k, (x, first, second)) in elements.iter().enumerate() {
        assert_eq!((split.digits[0][k], split.digits[1][k]), (*first, *second), "{} of {x}", scheme.name());
    }
}

#[test]
fn digits_of_known_small_floats() {
    // a = 1: the first digit in quarters, the second in 64ths. Two quarters are even, 7 is where both end.
    let mxfp4x2 = [
        (1.859375, 7.0, 7.0),    // 1.75, then 0.109375 * 16 = 1.75
        (1.0, 4.0, 0.0),         //
        (0.875, 4.0, -7.0),      // a tie to 1.0, then -0.125 * 16 = -2, beyond the last
        (0.125, 0.0, 7.0),       // a tie to 0, then 2
        (0.375, 2.0, -7.0),      // a tie to 0.5
        (0.3, 1.0, 3.0),         // 0.25, then 0.8
        (-0.6, -2.0, -6.0),      // -0.5, then -1.6
        (1.8, 7.0, 3.0),         // 1.75, then 0.8
        (0.01, 0.0, 1.0),        // 0.16
        (0.0078125, 0.0, 0.0),   // 0.125, a tie to 0
        (-0.0234375, 0.0, -2.0), // -0.375, a tie to -0.5
        (-0.0, 0.0, 0.0),
    ];
    assert_digits(Scheme::Mxfp4x2, 1.0 / 64.0, &mxfp4x2);
    // The second digit in 32nds, which reaches all there is.
    let v1 = [(1.75, 7.0, 0.0), (0.875, 4.0, -4.0), (0.125, 0.0, 4.0), (0.3, 1.0, 2.0), (0.015625, 0.0, 0.0)];
    assert_digits(Scheme::Mxfp4x2V1, 1.0 / 32.0, &v1);
    // From 1.75 on the unit is twice as large, where the last version still clips.
    let above = 1.75f32.next_up();
    assert_digits(Scheme::Mxfp4x2V2, 1.0 / 64.0, &[(1.75, 7.0, 0.0), (0.875, 4.0, -7.0), (1.8 - 0.08, 7.0, -2.0)]);
    assert_digits(Scheme::Mxfp4x2V2, 1.0 / 32.0, &[(above, 4.0, -7.0), (1.0, 2.0, 0.0), (0.6, 1.0, 3.0)]);
    assert_digits(Scheme::Mxfp4x2, 1.0 / 64.0, &[(above, 7.0, 0.0), (-above, -7.0, 0.0)]);
    // Halves 0, 1, 2, 3, 4, 6, 8, 12, and sixteenths of a half.
    let e2m1 = [
        (4.5, 8.0, 8.0),    // 4, then 0.5 * 8 = 4
        (2.5, 4.0, 8.0),    // a tie to 2
        (3.5, 8.0, -8.0),   // a tie to 4
        (2.3125, 4.0, 4.0), // 2, then 2.5, a tie to 2
        (0.25, 0.0, 4.0),   // a tie to 0
        (0.75, 2.0, -4.0),  // a tie to 1
        (1.25, 2.0, 4.0),   // a tie to 1
        (-1.3, -3.0, 3.0),  // -1.5, then 1.6
    ];
    assert_digits(Scheme::Mxfp4x2E2m1, 1.0 / 16.0, &e2m1);
    // Values of E4M3: from 256 on by 32, from 128 by 16.
    let fp8x2 = [
        (448.0, 448.0, 0.0),
        (440.0, 448.0, -128.0),
        (433.0, 448.0, -240.0),
        (432.0, 448.0, -256.0),               // a tie to the even 448
        (264.5, 256.0, 128.0),                // then 136, a tie to 128
        (3.3, 3.25, 0.8125),                  //
        (2f32.powi(-10), 0.0, 2f32.powi(-6)), // half the smallest, a tie to 0
        (-2f32.powi(-15), 0.0, 0.0),
    ];
    assert_digits(Scheme::Fp8x2, 1.0 / 16.0, &fp8x2);
}

/// The paper's Algorithm 1 as it stands, in numbers: `a`, and both digits of each element. Nothing of
/// it is shared with what it is compared to.
fn algorithm_1(block: &[f32], limit: f64, ratio: f64) -> (f64, Vec<(f64, f64)>) {
    const E1M2: [f64; 8] = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75];
    let nearest = |x: f64| {
        let best = (0..8).min_by(|i: &usize, j: &usize| {
            let distance = |i: usize| (E1M2[i] - x.abs()).abs();
            // Of two as near, the even code.
            distance(*i).total_cmp(&distance(*j)).then((i % 2).cmp(&(j % 2)))
        });
        E1M2[best.unwrap_or(0)].copysign(x)
    };
    let mb = block.iter().fold(0.0, |m: f64, x| m.max(x.abs() as f64));
    let mut a = 1.0;
    while mb > limit * a {
        a *= 2.0;
    }
    while mb <= limit * a / 2.0 {
        a /= 2.0;
    }
    let digits = block.iter().map(|x| {
        let q1 = nearest(*x as f64 / a);
        let r = *x as f64 - a * q1;
        (q1, nearest(r / (a / ratio)))
    });
    (a, digits.collect())
}

#[test]
fn digits_are_those_of_the_papers_algorithm() {
    let versions = [(Scheme::Mxfp4x2, 1.859375, 16.0), (Scheme::Mxfp4x2V1, 1.75, 8.0), (Scheme::Mxfp4x2V2, 1.75, 16.0)];
    let assert_same = |block: &[f32]| {
        for (scheme, limit, ratio) in versions {
            let (a, digits) = algorithm_1(block, limit, ratio);
            let split = decompose_row(scheme, block);
            assert_eq!(split.scale, a * 0.25 / ratio, "{} of {block:?}", scheme.name());
            for (k, (q1, q2)) in digits.iter().enumerate() {
                let found = (split.digits[0][k] as f64 * 0.25, split.digits[1][k] as f64 * 0.25);
                assert_eq!(found, (*q1, *q2), "{} of {:e} among {block:?}", scheme.name(), block[k]);
            }
        }
        // The first digit is the same by itself.
        let (one, two) = (decompose_row(Scheme::Mxfp4x1, block), decompose_row(Scheme::Mxfp4x2, block));
        assert_eq!((&one.digits[0], one.scale), (&two.digits[0], two.scale * 16.0));
    };
    for mx in bf16_maxima() {
        assert_same(&bf16_row(mx));
    }
    let mut state = 3;
    for round in 0..100_000 {
        let block: Vec<f32> = (0..32)
            .map(|_| match round % 4 {
                // Numbers as they occur, those that are ties often among them.
                0 | 1 => (random(&mut state) as i32 >> 8) as f32 / 2f32.powi(20),
                2 => (random(&mut state) as i32 >> 22) as f32 / 128.0,
                _ => f32::from_bits(random(&mut state) & 0xBFFF_FFFF),
            })
            .collect();
        if block.iter().any(|x| *x != 0.0) {
            assert_same(&block);
        }
    }
}

/// Bounds of small floats over a fine grid of elements, for largest magnitudes all over a binade and
/// where units double: never broken, and nearly reached.
#[test]
fn bounds_of_small_floats_are_tight() {
    const STEPS: u32 = 1 << 16;
    for scheme in Scheme::ALL {
        let Family::Minifloat { limit_128ths, .. } = scheme.family() else { continue };
        let switch = limit_128ths as f32 / 256.0;
        let largest = (0..60).map(|i| switch * (1.0 + (i as f32 + 0.5) / 60.0));
        let mut worst: f64 = 0.0;
        for mx in largest.chain([switch, switch.next_up(), 2.0 * switch, 1.0]) {
            let row: Vec<f32> = (0..=STEPS).map(|i| (mx as f64 * i as f64 / STEPS as f64) as f32).collect();
            let split = decompose_row(*scheme, &row);
            let errors = row.iter().enumerate().map(|(k, x)| (*x as f64 - value(*scheme, &split, k)).abs());
            worst = errors.fold(worst, |worst, error| worst.max(error / mx as f64));
        }
        let ratio = worst / scheme.bound();
        assert!(ratio <= 1.0 && ratio > 0.9, "{}: {ratio} of its bound", scheme.name());
    }
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
