//! Small floats against another crate's (`microfloat`, which follows OCP and ml_dtypes), code by
//! code and value by value. `e1m2` is in no crate; its values are listed.
//!
//! Where the two differ, on purpose: `microfloat` turns what is too large into NaN or infinity and
//! knows no `e8m0` of 0 and of infinity, where we saturate; it keeps the sign of a NaN, and makes
//! -0 of one in `e2m1`, where we make 0.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use microfloat::{f4e2m1fn, f8e4m3fn, f8e5m2, f8e8m0fnu};

use super::*;

type Decode = fn(u8) -> f32;
type Encode = fn(f32) -> u8;

/// Type, number of codes, the largest finite value, and the first above it that `microfloat` does
/// not round to it.
const FORMATS: [(DType, Decode, Encode, f32, f32); 3] = [
    (DType::E4M3, |c| f8e4m3fn::from_bits(c).to_f32(), |v| f8e4m3fn::from_f32(v).to_bits(), 448.0, 464.0),
    (DType::E5M2, |c| f8e5m2::from_bits(c).to_f32(), |v| f8e5m2::from_f32(v).to_bits(), 57344.0, 61440.0),
    (DType::E2M1, |c| f4e2m1fn::from_bits(c).to_f32(), |v| f4e2m1fn::from_f32(v).to_bits(), 6.0, f32::INFINITY),
];

/// Every BF16, every F16, and of `marks` each value and the midpoint to its successor, each with
/// its neighbours in F32, and all of them negated. Without NaN.
fn values(marks: &[f32]) -> Vec<f32> {
    let halves = (0..=u16::MAX).flat_map(|bits| [bf16_to_f32(bits), f16_to_f32(bits)]);
    let midpoints = marks.windows(2).map(|pair| ((pair[0] as f64 + pair[1] as f64) / 2.0) as f32);
    let near = marks.iter().copied().chain(midpoints).flat_map(|v| [v.next_down(), v, v.next_up()]);
    halves.chain(near.flat_map(|v| [v, -v])).filter(|v| !v.is_nan()).collect()
}

/// The finite values of a format from 0 up.
fn magnitudes(format: Minifloat) -> Vec<f32> {
    (0..=format.largest_code()).map(|code| format.decode(code)).collect()
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

#[test]
fn every_code_has_the_value_it_has_elsewhere() {
    for (dtype, decode, ..) in FORMATS {
        let format = dtype.minifloat().unwrap();
        for code in 0..=dtype.code_range().unwrap().1 as u8 {
            let (ours, theirs) = (format.decode(code), decode(code));
            assert!(same(ours, theirs), "{} {code:#x}: {ours} {theirs}", dtype.name());
        }
    }
    for code in 0..=u8::MAX {
        assert!(same(e8m0_value(code), f8e8m0fnu::from_bits(code).to_f32()), "e8m0 {code:#x}");
    }
}

#[test]
fn every_half_and_every_tie_gets_the_code_it_gets_elsewhere() {
    for (dtype, _, encode, largest, beyond) in FORMATS {
        let (name, format) = (dtype.name(), dtype.minifloat().unwrap());
        assert_eq!(format.decode(format.largest_code()), largest, "{name}");
        for value in values(&magnitudes(format)) {
            let (ours, theirs) = (format.encode(value), encode(value));
            if value.abs() < beyond {
                assert_eq!(ours, theirs, "{name} {value:e}");
            } else {
                assert_eq!(format.decode(ours), largest.copysign(value), "{name} {value:e}");
            }
        }
        assert_eq!(format.decode(encode(f32::NAN)).is_nan(), dtype != DType::E2M1, "{name}");
        assert_eq!(format.decode(format.encode(-f32::NAN)).is_nan(), dtype != DType::E2M1, "{name}");
    }
}

/// OCP leaves it to the encoder whether infinity saturates; a conversion that is exact keeps it.
#[test]
fn exact_codes_give_every_value_back() {
    for dtype in [DType::E4M3, DType::E5M2, DType::E2M1, DType::E1M2] {
        let format = dtype.minifloat().unwrap();
        for code in 0..=dtype.code_range().unwrap().1 as u8 {
            let value = format.decode(code);
            let back = format.decode(format.exact_code(value));
            assert!(same(back, value), "{} {code:#x}: {value} {back}", dtype.name());
        }
    }
}

#[test]
fn every_half_and_every_tie_gets_the_power_of_two_it_gets_elsewhere() {
    let powers: Vec<f32> = (0..=254).map(e8m0_value).collect();
    for value in values(&powers) {
        let (ours, theirs) = (e8m0_code(value), f8e8m0fnu::from_f32(value).to_bits());
        match value {
            _ if value == 0.0 => assert_eq!((ours, theirs), (0, 0xFF)),
            _ if value == f32::INFINITY => assert_eq!((ours, theirs), (254, 0xFF)),
            _ => assert_eq!(ours, theirs, "{value:e}"),
        }
    }
    assert_eq!((e8m0_code(f32::NAN), e8m0_code(-1.0)), (0xFF, 0xFF));
}

/// By search through the listed values, in F64, where every difference is exact.
#[test]
fn e1m2_is_quarters_to_nearest_even() {
    let listed = [0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75];
    let format = DType::E1M2.minifloat().unwrap();
    for (code, value) in listed.iter().enumerate() {
        assert_eq!(format.decode(code as u8).to_bits(), (*value as f32).to_bits());
        assert_eq!(format.decode(code as u8 | 8).to_bits(), (-*value as f32).to_bits());
    }
    for value in values(&listed.map(|v| v as f32)) {
        let distance = |code: usize| (listed[code] - (value.abs() as f64).min(1.75)).abs();
        // Of two that are as near, the even one.
        let nearest = (0..8).min_by(|a, b| distance(*a).total_cmp(&distance(*b)).then((a & 1).cmp(&(b & 1)))).unwrap();
        let sign = if value.is_sign_negative() { 8 } else { 0 };
        assert_eq!(format.encode(value), nearest as u8 | sign, "{value:e}");
    }
    assert_eq!((format.encode(f32::NAN), format.encode(-f32::NAN)), (0, 0));
}
