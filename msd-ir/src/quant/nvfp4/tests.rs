//! NVFP4 by its definition, found by search rather than by the arithmetic of the quantizer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use proptest::prelude::*;

use super::*;

const CODES: [f64; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

/// Every positive finite `e4m3`.
fn scales() -> Vec<f64> {
    let format = DType::E4M3.minifloat().unwrap();
    (1..=format.largest_code()).map(|c| format.decode(c) as f64).collect()
}

/// Checks that no scale and no code is nearer than those chosen.
fn check(values: &[f32]) {
    let (tensor, factor) = quantize_nvfp4(values, &[1, values.len()]).unwrap();
    let factor = factor as f64;
    let most = magnitude(values);
    assert!(factor == 1.0 || (factor - most / 2688.0).abs() <= factor * 2f64.powi(-24) || factor == 2f64.powi(-126));
    for (i, block) in values.chunks(16).enumerate() {
        let (scale, wanted) = (tensor.scale().value(i), magnitude(block) / 6.0 / factor);
        let nearest = scales().iter().map(|s| (s - wanted).abs()).fold(f64::INFINITY, f64::min);
        if wanted == 0.0 {
            assert_eq!(scale, 1.0);
        } else {
            assert!((scale - wanted).abs() <= nearest * (1.0 + 1e-6), "block {i}: {scale} for {wanted}");
        }
        for (j, value) in block.iter().enumerate() {
            let (code, steps) = (tensor.codes().value(16 * i + j), *value as f64 / factor / scale);
            let nearest = CODES.iter().map(|c| (c - steps.abs()).abs()).fold(f64::INFINITY, f64::min);
            assert!((code - steps).abs() <= nearest * (1.0 + 1e-6), "{code} for {steps}");
            if scale >= 2f64.powi(-6) {
                // Rounding a scale clips nothing by more than 6/16 of a step.
                assert!(steps.abs() <= 6.375 * (1.0 + 1e-6), "{steps}");
            }
        }
    }
}

#[test]
fn by_hand() {
    // The factor is 1; blocks get 448, 1 (of zeros), 2^-9 (below what e4m3 has), and 13/6 rounded to 2.25.
    let blocks = [[2688.0; 16], [0.0; 16], [0.004; 16], [-13.0; 16]];
    let (tensor, factor) = quantize_nvfp4(&blocks.concat(), &[2, 32]).unwrap();
    assert_eq!((factor, tensor.shape(), tensor.scale().shape()), (1.0, &[2, 32][..], &[2, 2][..]));
    assert_eq!(tensor.scale().to_f32(), [448.0, 1.0, 2f32.powi(-9), 2.25]);
    let codes: Vec<f32> = tensor.codes().to_f32().chunks(16).map(|c| c[15]).collect();
    assert_eq!(codes, [6.0, 0.0, 2.0, -6.0]);
}

#[test]
fn zeros_tiny_and_huge_values() {
    check(&[0.0; 32]);
    for value in [f32::from_bits(1), f32::MIN_POSITIVE, 1e-30, f32::MAX] {
        let mut values = [value; 32];
        values[20] = -value / 3.0;
        check(&values);
    }
    let (tensor, factor) = quantize_nvfp4(&[], &[3, 0]).unwrap();
    assert_eq!((factor, tensor.scale().shape()), (1.0, &[3, 0][..]));
}

#[test]
fn refusals() {
    let code = |values: &[f32], shape: &[usize]| quantize_nvfp4(values, shape).unwrap_err().code;
    assert_eq!(code(&[0.0; 17], &[17]), Code::Indivisible);
    assert_eq!(code(&[0.0; 16], &[32]), Code::InputShape);
    assert_eq!(code(&[0.0], &[]), Code::InputShape);
    assert_eq!(code(&[f32::NAN; 16], &[16]), Code::ValueNotFinite);
}

proptest! {
    #[test]
    fn any_values(bits in proptest::collection::vec(any::<u32>(), 48)) {
        // Magnitudes within 2^16 of each other, so that scales reach below the normal ones.
        let value = |b: &u32| f32::from_bits(b & 0x807F_FFFF | (112 + (b >> 23) % 16) << 23);
        let values: Vec<f32> = bits.iter().map(value).collect();
        check(&values);
    }
}
