//! Quantized tensors against their definition: the evaluator's dequantization is near the values,
//! no other code is nearer, and scales are as large as they must be and no larger.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use proptest::prelude::*;

use super::*;
use crate::builder::Builder;
use crate::dim::{Dim, Sizes};
use crate::eval::evaluate_f64;
use crate::graph::Attributes;
use crate::input::Input;
use crate::span::Span;
use crate::types::Type;

const CODES: [DType; 8] =
    [DType::I8, DType::U8, DType::I4, DType::U4, DType::E4M3, DType::E5M2, DType::E2M1, DType::E1M2];
const SCALES: [DType; 5] = [DType::F32, DType::F16, DType::BF16, DType::E8M0, DType::E4M3];
const ZEROS: [DType; 8] = [DType::I32, DType::I8, DType::U8, DType::I4, DType::U4, DType::F32, DType::F16, DType::BF16];

fn dim(text: &str) -> Dim {
    match text.split_once('/') {
        Some((name, n)) => Dim::name(name).div(&dim(n)).unwrap(),
        None => text.parse().map_or_else(|_| Dim::name(text), Dim::constant),
    }
}

/// `codes[N, K]` with those parts.
fn quant(codes: DType, scale: (DType, &[&str]), zero: Option<(DType, &[&str])>) -> QuantType {
    let ty = |dtype, dims: &[&str]| TensorType::new(dtype, dims.iter().map(|d| dim(d)).collect());
    QuantType::new(ty(codes, &["N", "K"]), ty(scale.0, scale.1), zero.map(|(dtype, dims)| ty(dtype, dims))).unwrap()
}

/// What the evaluator makes of it, exactly.
fn dequantized(ty: &QuantType, tensor: &QuantTensor) -> Vec<f64> {
    let (mut b, span) = (Builder::new(), Span::new(0, 0));
    let w = b.param("W", Type::Quant(ty.clone().into()), span);
    let w = b.dequant(w, span).unwrap();
    let kernel = b.finish("k", vec![w], Attributes::default(), span);
    evaluate_f64(&kernel, &Sizes::new(), &[Input::from(tensor.clone())]).unwrap().remove(0)
}

/// Deterministic values of no particular pattern, both signs.
fn values(n: usize, low: f32, high: f32) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..n).map(|_| low + (high - low) * next()).collect()
}

/// Every value a code in use stands for, in steps of the scale from the zero point.
fn steps(ty: &QuantType, zero: f64) -> Vec<f64> {
    match (ty.codes.dtype.minifloat(), ty.codes.dtype.int_range()) {
        (Some(f), _) => (0..=u8::MAX).map(|c| f.decode(c) as f64).filter(|v| v.is_finite()).collect(),
        (None, Some((low, high))) => {
            let low = if ty.zero.is_some() { low } else { low.max(-high) };
            (low..=high).map(|c| c as f64 - zero).collect()
        }
        (None, None) => panic!("no codes"),
    }
}

/// Checks a tensor with one scale and zero point. `bound`: half a step.
fn check_one(ty: &QuantType, values: &[f32]) {
    let name = Type::Quant(ty.clone().into()).to_string();
    let tensor = quantize(ty, values, &[1, values.len()]).unwrap_or_else(|d| panic!("{name}: {d}"));
    let (scale, zero) = (tensor.scale().value(0), tensor.zero().map_or(0.0, |z| z.value(0)));
    assert!(scale > 0.0 && zero.fract() == 0.0, "{name}");
    let steps = steps(ty, zero);
    for (value, found) in values.iter().zip(dequantized(ty, &tensor)) {
        let value = *value as f64;
        let error = (value - found).abs();
        let least = steps.iter().map(|s| (value - s * scale).abs()).fold(f64::INFINITY, f64::min);
        assert!(error <= least * (1.0 + 1e-6), "{name}: {found} for {value}, scale {scale}, zero {zero}");
        if ty.codes.dtype.is_int() {
            assert!(error <= scale / 2.0 * (1.0 + 1e-12), "{name}: {found} for {value}, scale {scale}, zero {zero}");
        }
        assert!(value != 0.0 || found == 0.0, "{name}: 0 became {found}");
    }
}

fn every_type(mut check: impl FnMut(&QuantType)) {
    for codes in CODES {
        for scale in SCALES {
            check(&quant(codes, (scale, &["1"]), None));
            for zero in ZEROS.iter().filter(|_| codes.is_int()) {
                check(&quant(codes, (scale, &["1"]), Some((*zero, &["1"]))));
            }
        }
    }
}

#[test]
fn no_code_is_nearer_in_any_format() {
    every_type(|ty| {
        let low = if ty.codes.dtype.int_range().is_some_and(|r| r.0 == 0) && ty.zero.is_none() { 0.0 } else { -1.7 };
        for (low, high) in [(low, 2.9), (0.0, 2.9), (low / 100.0, 2.9), (low, 0.01), (low, 0.0)] {
            let mut values = values(64, low, high);
            values.extend([0.0, low, high]);
            check_one(ty, &values);
        }
        check_one(ty, &[0.0; 5]);
    });
}

#[test]
fn scales_by_hand() {
    let scale = |codes, scale, zero, values: &[f32]| {
        let ty = quant(codes, (scale, &["1"]), zero);
        let tensor = quantize(&ty, values, &[1, values.len()]).unwrap();
        let codes = (0..values.len()).map(|i| tensor.codes().value(i)).collect::<Vec<_>>();
        (codes, tensor.scale().value(0), tensor.zero().map(|z| z.value(0)))
    };
    // 254 / 127 = 2, and ties go to even.
    assert_eq!(scale(DType::I8, DType::F32, None, &[-254.0, 1.0, 3.0, 5.0]), (vec![-127.0, 0.0, 2.0, 2.0], 2.0, None));
    assert_eq!(scale(DType::I4, DType::F32, None, &[3.5, -3.5]), (vec![7.0, -7.0], 0.5, None));
    assert_eq!(scale(DType::U4, DType::F32, None, &[30.0, 0.0]), (vec![15.0, 0.0], 2.0, None));
    // [-1, 2] in 15 steps of 0.2; 0 lies 5 above the lowest.
    let u8 = Some((DType::U8, &["1"][..]));
    let (codes, step, zero) = scale(DType::U4, DType::F32, u8, &[-1.0, 2.0, 0.0]);
    assert_eq!((codes, step, zero), (vec![0.0, 15.0, 5.0], 0.2f32 as f64, Some(5.0)));
    // The range includes 0.
    assert_eq!(scale(DType::U8, DType::F32, u8, &[510.0, 255.0]).2, Some(0.0));
    // Largest finite: 448 and 6.
    assert_eq!(scale(DType::E4M3, DType::F32, None, &[896.0, -4.0]), (vec![448.0, -2.0], 2.0, None));
    assert_eq!(scale(DType::E2M1, DType::E4M3, None, &[-12.0, 3.0]), (vec![-6.0, 1.5], 2.0, None));
    // 7 / 6 needs 2; 6 / 6 needs just 1.
    assert_eq!(scale(DType::E2M1, DType::E8M0, None, &[7.0, 6.0]), (vec![4.0, 3.0], 2.0, None));
    assert_eq!(scale(DType::E2M1, DType::E8M0, None, &[6.0]), (vec![6.0], 1.0, None));
    for dtype in SCALES {
        assert_eq!(scale(DType::I8, dtype, None, &[0.0, -0.0]), (vec![0.0, 0.0], 1.0, None));
    }
}

/// Both rules against a search through all powers: the smallest that is no clip, and the one whose
/// largest code has the exponent of the largest value.
#[test]
fn powers_of_two_by_either_rule() {
    for (dtype, largest, emax) in
        [(DType::E2M1, 6.0, 2), (DType::E4M3, 448.0, 8), (DType::E5M2, 57344.0, 15), (DType::E1M2, 1.75, 0)]
    {
        let ty = quant(dtype, (DType::E8M0, &["1"]), None);
        let powers = (-127..=127).map(|e| 2f64.powi(e));
        let mut clipped = 0;
        for most in values(200, 0.5, 40.0).into_iter().flat_map(|v| [v, v * 1e-30, v * 1e30, v.round(), 448.0, 6.0]) {
            let with = |rule| quantize_with(&ty, &[-most, 0.0, most / 2.0], &[1, 3], rule).unwrap();
            let (no_clip, ocp) = (with(PowerRule::NoClip), with(PowerRule::Ocp));
            let most = most as f64;
            let smallest = powers.clone().find(|p| largest * p >= most).unwrap();
            assert_eq!(no_clip.scale().value(0), smallest, "{} {most}", dtype.name());
            let same_exponent = powers.clone().rfind(|p| p * 2f64.powi(emax) <= most).unwrap_or(2f64.powi(-127));
            assert_eq!(ocp.scale().value(0), same_exponent, "{} {most}", dtype.name());
            // One clips where the other doubles the scale.
            let clips = most > largest * same_exponent;
            assert_eq!(smallest, same_exponent * if clips { 2.0 } else { 1.0 }, "{} {most}", dtype.name());
            assert!(!clips || ocp.codes().value(0) == -largest, "{} {most}", dtype.name());
            clipped += clips as u32;
        }
        assert!((100..600).contains(&clipped), "{} {clipped}", dtype.name());
    }
}

#[test]
fn powers_of_two_end_where_e8m0_does() {
    let scale = |dtype, zero, value: f32, rule| {
        let tensor = quantize_with(&quant(dtype, (DType::E8M0, &["1"]), zero), &[value], &[1, 1], rule)?;
        Ok::<f64, Diagnostic>(tensor.scale().value(0))
    };
    for rule in [PowerRule::NoClip, PowerRule::Ocp] {
        for tiny in [f32::from_bits(1), f32::MIN_POSITIVE] {
            assert_eq!(scale(DType::E4M3, None, tiny, rule).unwrap(), 2f64.powi(-127));
        }
        assert_eq!(scale(DType::E4M3, None, 0.0, rule).unwrap(), 1.0);
        // With a zero point both take the same.
        assert_eq!(scale(DType::U8, Some((DType::U8, &["1"])), 255.0, rule).unwrap(), 1.0);
    }
    assert_eq!(scale(DType::I8, None, 127.5, PowerRule::Ocp).unwrap(), 1.0);
    assert_eq!(scale(DType::E1M2, None, f32::MAX, PowerRule::Ocp).unwrap(), 2f64.powi(127));
    let fault = scale(DType::E1M2, None, f32::MAX, PowerRule::NoClip).unwrap_err();
    assert_eq!(fault.code, Code::ScaleNotFinite);
}

#[test]
fn narrow_scales_do_not_clip() {
    // 127 * 1.03: the nearest e4m3 is 1, which would clip 130.8 by 3.8 steps.
    let coarse = quant(DType::I8, (DType::E4M3, &["1"]), None);
    assert_eq!(quantize(&coarse, &[130.81], &[1, 1]).unwrap().scale().value(0), 1.125);
    // Below f16's subnormal numbers, the smallest of them.
    let tiny = quant(DType::I8, (DType::F16, &["1"]), None);
    assert_eq!(quantize(&tiny, &[1e-9], &[1, 1]).unwrap().scale().value(0), 2f64.powi(-24));
    for scale in SCALES {
        for value in [f32::from_bits(1), f32::MIN_POSITIVE, 1e-30, 1e-3] {
            check_one(&quant(DType::I8, (scale, &["1"]), None), &[value, -value / 3.0, 0.0]);
        }
    }
    check_one(&quant(DType::I8, (DType::F32, &["1"]), None), &[f32::MAX, -f32::MAX, 1.0]);
}

#[test]
fn each_value_takes_the_scale_that_lies_over_it() {
    type Case = (&'static [&'static str], fn(usize, usize) -> usize);
    let cases: [Case; 9] = [
        (&["1"], |_, _| 0),
        (&[], |_, _| 0),
        (&["N"], |n, _| n),
        (&["K"], |_, k| k),
        (&["N", "K/4"], |n, k| n * 2 + k / 4),
        (&["K/4", "1", "N"], |n, k| k / 4 * 6 + n),
        (&["N/3", "K/4"], |n, k| n / 3 * 2 + k / 4),
        (&["N/2", "1"], |n, _| n / 2),
        (&["N", "K"], |n, k| n * 8 + k),
    ];
    let values = values(48, -3.0, 2.0);
    for (scale, scale_at) in cases {
        for zero in [None].into_iter().chain(cases.map(Some)) {
            let ty = quant(DType::U8, (DType::F32, scale), zero.map(|(dims, _)| (DType::I32, dims)));
            let shifted: Vec<f32> = values.iter().map(|v| if zero.is_none() { v + 3.0 } else { *v }).collect();
            let tensor = quantize(&ty, &shifted, &[6, 8]).unwrap();
            let value = |n: usize, k: usize| {
                let zero = zero.map_or(0.0, |(_, at)| tensor.zero().unwrap().value(at(n, k)));
                let step = tensor.scale().value(scale_at(n, k));
                (step * (tensor.codes().value(n * 8 + k) - zero), step)
            };
            let evaluated = dequantized(&ty, &tensor);
            let mut largest = vec![0f64; tensor.scale().len()];
            for (i, wanted) in shifted.iter().enumerate() {
                let (found, step) = value(i / 8, i % 8);
                assert_eq!(found, evaluated[i], "{}", Type::Quant(ty.clone().into()));
                assert!((found - *wanted as f64).abs() <= step / 2.0 * (1.0 + 1e-12), "{scale:?} {i}");
                let largest = &mut largest[scale_at(i / 8, i % 8)];
                *largest = largest.max(*wanted as f64);
            }
            if zero.is_none() {
                let wanted = largest.iter().map(|l| (l / 255.0) as f32).collect::<Vec<_>>();
                assert_eq!(tensor.scale().to_f32(), wanted, "{scale:?}");
            }
        }
    }
}

#[test]
fn empty_tensors_have_scales_of_1() {
    let ty = quant(DType::I4, (DType::F16, &["N"]), None);
    let tensor = quantize(&ty, &[], &[3, 0]).unwrap();
    assert_eq!((tensor.scale().to_f32(), tensor.shape()), (vec![1.0; 3], &[3, 0][..]));
    let grouped = quant(DType::U4, (DType::F16, &["N", "K/4"]), Some((DType::U4, &["N"])));
    assert_eq!(quantize(&grouped, &[], &[0, 8]).unwrap().scale().shape(), [0, 2]);
}

#[test]
fn refusals() {
    #[track_caller]
    fn refuses(ty: &QuantType, values: &[f32], shape: &[usize], code: Code, text: &str) {
        let fault = quantize(ty, values, shape).unwrap_err();
        assert_eq!(fault.code, code, "{fault}");
        assert!(fault.message.contains(text) && fault.help.is_some() && fault.span.is_none(), "{fault}");
    }
    let grouped = quant(DType::I8, (DType::F32, &["N", "K/4"]), None);
    refuses(&grouped, &[0.0; 6], &[6], Code::InputShape, "1 dimensions [6], not 2");
    refuses(&grouped, &[0.0; 7], &[1, 8], Code::InputShape, "8 elements, not the 7");
    refuses(&grouped, &[0.0; 6], &[1, 6], Code::Indivisible, "`K` = 6");
    refuses(&grouped, &[0.0, 1.0, f32::NAN, 0.0], &[1, 4], Code::ValueNotFinite, "element 2 of the values is NaN");
    refuses(&grouped, &[f32::INFINITY; 4], &[1, 4], Code::ValueNotFinite, "inf");
    let unsigned = quant(DType::U8, (DType::F32, &["1"]), None);
    refuses(&unsigned, &[0.0, -0.5], &[1, 2], Code::CodeOutOfRange, "element 1 of the values is -0.5");
    let square = TensorType::new(DType::I8, vec![dim("N"), dim("N")]);
    let square = QuantType::new(square, TensorType::new(DType::F32, vec![]), None).unwrap();
    refuses(&square, &[0.0; 6], &[2, 3], Code::DimensionConflict, "`N`");
    for (scale, value) in [(DType::F16, 1e10), (DType::E4M3, 6e4)] {
        let narrow = quant(DType::I8, (scale, &["1"]), None);
        refuses(&narrow, &[value], &[1, 1], Code::ScaleNotFinite, scale.name());
    }
}

#[test]
fn scales_beyond_memory_are_refused() {
    let ty = quant(DType::I8, (DType::F32, &["K"]), None);
    assert_eq!(quantize(&ty, &[], &[0, 1 << 47]).unwrap_err().code, Code::TooLarge);
}

proptest! {
    #[test]
    fn any_values_of_any_format(
        bits in proptest::collection::vec(any::<u32>(), 1..40),
        codes in 0..CODES.len(),
        scale in 0..SCALES.len(),
        zero in proptest::option::of(0..ZEROS.len()),
    ) {
        // Any exponent that no scale is too narrow for, any mantissa.
        let finite = |b: &u32| f32::from_bits(b & 0x807F_FFFF | (64 + (b >> 23) % 64) << 23);
        let codes = CODES[codes];
        let zero = zero.filter(|_| codes.is_int()).map(|z| (ZEROS[z], &["1"][..]));
        let unsigned = codes.int_range().is_some_and(|r| r.0 == 0) && zero.is_none();
        let values: Vec<f32> = bits.iter().map(|b| if unsigned { finite(b).abs() } else { finite(b) }).collect();
        check_one(&quant(codes, (SCALES[scale], &["1"]), zero), &values);
    }
}
