//! Tensors that no file holds: drawn values, constants, and random quantized weights. Owns which
//! values a parameter gets; the caller has checked that the tensor is not too large.
//!
//! A random quantized weight has codes uniform over the symmetric range of their type (`i8`
//! -127..=127, `u8` 0..=255, `i4` -7..=7, `u4` 0..=15, small floats every finite code), a zero
//! point in the middle of that range, and scales uniform over `STD [0.5, 1.5) / (c sqrt(K))`, where
//! `c` is the largest distance of a code from its zero point and `K` the last dimension: its
//! product with standard normal activations is of order `STD`. Scales that are powers of two
//! (`e8m0`) spread over five of them, `2^-3 .. 2^1` times the middle of that range; those of a type
//! that has no normal numbers so small are drawn over `[1, 3)` times the smallest normal one.

use msd::ir::diag::{Code, Diagnostic};
use msd::ir::dtype::DType;
use msd::ir::tensor::{Tensor, element_count};

use super::random::Stream;
use super::syntax::Values;

/// What to make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Recipe {
    /// Values, rounded to the element type; random truth values are even odds.
    Values(Values),
    /// The codes of a random weight.
    Codes {
        /// Which sequence.
        seed: u64,
    },
    /// The scales of a random weight.
    Scales {
        /// Which sequence.
        seed: u64,
        /// Standard deviation of its products.
        std: f64,
        /// Element type of the codes.
        codes: DType,
    },
    /// The zero points of a random weight.
    Zeros {
        /// Element type of the codes.
        codes: DType,
    },
}

/// Streams of one seed, so that no two tensors of a parameter are drawn alike.
const VALUE_STREAM: u64 = 0;
const SCALE_STREAM: u64 = 1;

/// What `e8m0` scales are multiplied by: their mean square is near 1, as that of `[0.5, 1.5)`.
const SPREAD: [f64; 5] = [0.125, 0.25, 0.5, 1.0, 2.0];

/// The tensor of that recipe. `row` is the size of the last axis of the parameter's codes.
///
/// # Errors
/// `CodeOutOfRange` if a constant or a bound is no value of the type.
pub(super) fn generate(recipe: Recipe, dtype: DType, shape: Vec<usize>, row: usize) -> Result<Tensor, Diagnostic> {
    let overflow = || Diagnostic::new(Code::TooLarge, "the number of elements overflows");
    let n = element_count(&shape).ok_or_else(overflow)? as u64;
    let floats = |shape, value: &dyn Fn(u64) -> f64| {
        let values: Vec<f32> = (0..n).map(|i| value(i) as f32).collect();
        Tensor::from_f32(dtype, shape, &values)
    };
    match recipe {
        Recipe::Values(Values::Constant(value)) => {
            check_value(dtype, value)?;
            match dtype.int_range() {
                // Exact, where an F32 is not.
                Some(_) => Tensor::from_codes(dtype, shape, (0..n).map(|_| value as i64)),
                None => floats(shape, &|_| value),
            }
        }
        Recipe::Values(Values::Normal { seed, .. } | Values::Uniform { seed, bounds: None })
            if dtype == DType::Bool =>
        {
            let stream = Stream::new(seed, VALUE_STREAM);
            Tensor::from_codes(dtype, shape, (0..n).map(|i| stream.integer(i, 0, 1)))
        }
        Recipe::Values(Values::Normal { seed, std }) => {
            let stream = Stream::new(seed, VALUE_STREAM);
            // A power of two has no sign.
            let sign = |v: f64| if dtype == DType::E8M0 { v.abs() } else { v };
            floats(shape, &|i| sign(std * stream.normal(i)))
        }
        Recipe::Values(Values::Uniform { seed, bounds }) => {
            let (low, high) = bounds.unwrap_or((0.0, 1.0));
            check_value(dtype, low).and_then(|()| check_value(dtype, high))?;
            let stream = Stream::new(seed, VALUE_STREAM);
            floats(shape, &|i| low + (high - low) * stream.unit(i))
        }
        Recipe::Codes { seed } => codes(Stream::new(seed, VALUE_STREAM), dtype, shape, n),
        Recipe::Scales { seed, std, codes } => {
            let stream = Stream::new(seed, SCALE_STREAM);
            let unit = std / (largest_distance(codes) * (row.max(1) as f64).sqrt());
            // Below its normal numbers a narrow type would lose the scale, or round it to zero.
            let unit = if std > 0.0 { unit.max(2.0 * smallest_normal(dtype)) } else { 0.0 };
            match dtype {
                DType::E8M0 => floats(shape, &|i| unit * SPREAD[stream.integer(i, 0, 4) as usize]),
                _ => floats(shape, &|i| unit * (0.5 + stream.unit(i))),
            }
        }
        Recipe::Zeros { codes } => floats(shape, &|_| middle(codes)),
    }
}

/// Whether `value` is within reach of `dtype`: an integer type needs the integer itself.
fn check_value(dtype: DType, value: f64) -> Result<(), Diagnostic> {
    let name = dtype.name();
    let problem = match (dtype.int_range(), dtype) {
        (Some((low, high)), _) if value.fract() != 0.0 || value < low as f64 || value > high as f64 => {
            format!("`{name}` holds whole numbers from {low} to {high}")
        }
        (None, DType::Bool) if value != 0.0 && value != 1.0 => "`bool` is 0 or 1".into(),
        (None, DType::E8M0) if value < 0.0 => "`e8m0` holds powers of two, which are positive".into(),
        (None, d) if value.abs() > largest_finite(d) => format!("`{name}` ends at {}", largest_finite(d)),
        _ => return Ok(()),
    };
    Err(Diagnostic::new(Code::CodeOutOfRange, format!("{value} is no `{name}`")).help(problem))
}

fn codes(stream: Stream, dtype: DType, shape: Vec<usize>, n: u64) -> Result<Tensor, Diagnostic> {
    if let Some(float) = dtype.minifloat() {
        // Sign and magnitude as one number, which skips the codes that are not numbers.
        let magnitudes = float.largest_code() as i64 + 1;
        let sign = 1i64 << (float.exp_bits + float.man_bits);
        let code = |i| match stream.integer(i, 0, 2 * magnitudes - 1) {
            c if c < magnitudes => c,
            c => sign | (c - magnitudes),
        };
        return Tensor::from_codes(dtype, shape, (0..n).map(code));
    }
    let (low, high) = symmetric_range(dtype).unwrap_or((0, 0));
    Tensor::from_codes(dtype, shape, (0..n).map(|i| stream.integer(i, low, high)))
}

/// The range of an integer type without the most negative number, which has no opposite.
fn symmetric_range(dtype: DType) -> Option<(i64, i64)> {
    dtype.int_range().map(|(low, high)| (if low < 0 { -high } else { low }, high))
}

/// The zero point in the middle of the codes; of an even number of codes, the upper one.
fn middle(codes: DType) -> f64 {
    symmetric_range(codes).map_or(0.0, |(low, high)| ((low + high + 1) / 2) as f64)
}

/// The largest distance of a code from [`middle`].
fn largest_distance(codes: DType) -> f64 {
    match symmetric_range(codes) {
        Some((low, high)) => (high as f64 - middle(codes)).max(middle(codes) - low as f64),
        None => largest_finite(codes),
    }
}

fn largest_finite(dtype: DType) -> f64 {
    match (dtype.minifloat(), dtype) {
        (Some(float), _) => float.decode(float.largest_code()) as f64,
        (None, DType::F16) => 65504.0,
        // The first that rounds to infinity lies half a step above the largest.
        (None, DType::BF16) => f32::from_bits(0x7F7F_0000) as f64,
        (None, DType::E8M0) => 2f64.powi(127),
        (None, DType::F64) => f64::MAX,
        _ => f32::MAX as f64,
    }
}

fn smallest_normal(dtype: DType) -> f64 {
    match (dtype.minifloat(), dtype) {
        (Some(float), _) => 2f64.powi(1 - float.bias),
        (None, DType::F16) => 2f64.powi(-14),
        _ => f32::MIN_POSITIVE as f64,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn values(tensor: &Tensor) -> Vec<f64> {
        (0..tensor.len()).map(|i| tensor.value(i)).collect()
    }

    fn range(recipe: Recipe, dtype: DType) -> (f64, f64) {
        let all = values(&generate(recipe, dtype, vec![100, 100], 100).unwrap());
        assert!(all.iter().all(|v| v.is_finite()));
        (all.iter().copied().fold(f64::INFINITY, f64::min), all.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    }

    #[test]
    fn random_codes_fill_the_symmetric_range() {
        for (dtype, low, high) in [
            (DType::I8, -127.0, 127.0),
            (DType::U8, 0.0, 255.0),
            (DType::I4, -7.0, 7.0),
            (DType::U4, 0.0, 15.0),
            (DType::E4M3, -448.0, 448.0),
            (DType::E5M2, -57344.0, 57344.0),
            (DType::E2M1, -6.0, 6.0),
            (DType::E1M2, -1.75, 1.75),
        ] {
            assert_eq!(range(Recipe::Codes { seed: 1 }, dtype), (low, high), "{}", dtype.name());
        }
    }

    #[test]
    fn zero_points_stand_in_the_middle() {
        let zero = |codes, dtype| generate(Recipe::Zeros { codes }, dtype, vec![1], 1).unwrap().value(0);
        assert_eq!(zero(DType::U8, DType::U8), 128.0);
        assert_eq!(zero(DType::U4, DType::F16), 8.0);
        assert_eq!(zero(DType::I8, DType::I8), 0.0);
        assert_eq!(zero(DType::I4, DType::I4), 0.0);
    }

    /// Every code type with every scale type: products of random weights and normal activations
    /// are of the order of STD, except where the scale's type has no scale that small.
    #[test]
    fn products_are_of_order_one() {
        const ROW: usize = 256;
        for codes in [DType::I8, DType::U8, DType::I4, DType::U4, DType::E4M3, DType::E2M1, DType::E1M2] {
            for scale in [DType::F32, DType::F16, DType::BF16, DType::E8M0] {
                let recipe = Recipe::Scales { seed: 3, std: 1.0, codes };
                let scales = values(&generate(recipe, scale, vec![64], ROW).unwrap());
                let weights = values(&generate(Recipe::Codes { seed: 3 }, codes, vec![64, ROW], ROW).unwrap());
                let x = values(
                    &generate(Recipe::Values(Values::Normal { seed: 9, std: 1.0 }), DType::F32, vec![ROW], ROW)
                        .unwrap(),
                );
                let dot = |row: &[f64]| row.iter().zip(&x).map(|(w, x)| (w - middle(codes)) * x).sum::<f64>();
                let squares: f64 = weights.chunks(ROW).zip(&scales).map(|(row, s)| (s * dot(row)).powi(2)).sum();
                let rms = (squares / 64.0).sqrt();
                assert!((0.1..3.0).contains(&rms), "{} {} {rms}", codes.name(), scale.name());
            }
        }
    }

    #[test]
    fn scales_of_narrow_types_differ() {
        let scales = |codes, scale, row| {
            let recipe = Recipe::Scales { seed: 3, std: 1.0, codes };
            let mut scales = values(&generate(recipe, scale, vec![256], row).unwrap());
            scales.sort_by(f64::total_cmp);
            scales.dedup();
            scales
        };
        let powers = |most: i32| (0..5).rev().map(|e| 2f64.powi(most - e)).collect::<Vec<f64>>();
        // 1 / (6 * 16) lies nearest to 2^-7, 1 / (448 * 64) to 2^-15.
        assert_eq!(scales(DType::E2M1, DType::E8M0, 256), powers(-6));
        assert_eq!(scales(DType::E4M3, DType::E8M0, 4096), powers(-14));
        // 1 / (6 * 64) lies below 2^-6, the smallest normal e4m3.
        let fp8 = scales(DType::E2M1, DType::E4M3, 4096);
        assert!(fp8.len() > 10 && fp8[0] == 2f64.powi(-6) && fp8[fp8.len() - 1] == 3.0 * 2f64.powi(-6), "{fp8:?}");
    }

    #[test]
    fn a_scale_is_never_rounded_to_zero() {
        for scale in [DType::E4M3, DType::F16, DType::E8M0] {
            let recipe = Recipe::Scales { seed: 3, std: 1.0, codes: DType::I8 };
            assert!(
                values(&generate(recipe, scale, vec![64], 1 << 24).unwrap()).iter().all(|s| *s > 0.0 && s.is_finite())
            );
        }
    }

    #[test]
    fn plain_values() {
        let uniform = |bounds| Recipe::Values(Values::Uniform { seed: 5, bounds });
        let (low, high) = range(uniform(None), DType::F32);
        assert!((0.0..0.01).contains(&low) && (0.99..=1.0).contains(&high));
        assert_eq!(range(uniform(Some((-2.0, 3.0))), DType::I8), (-2.0, 3.0));
        assert_eq!(range(uniform(None), DType::Bool), (0.0, 1.0));
        assert_eq!(range(Recipe::Values(Values::Constant(0.5)), DType::BF16), (0.5, 0.5));
        let (low, high) = range(Recipe::Values(Values::Normal { seed: 5, std: 2.0 }), DType::BF16);
        assert!((-12.0..-5.0).contains(&low) && (5.0..12.0).contains(&high));
        assert!(range(Recipe::Values(Values::Normal { seed: 5, std: 1.0 }), DType::E8M0).0 > 0.0);
    }

    #[test]
    fn a_constant_must_be_a_value_of_its_type() {
        let refused = |dtype, v| generate(Recipe::Values(Values::Constant(v)), dtype, vec![1], 1).is_err();
        assert!(refused(DType::I8, 128.0) && refused(DType::I8, 0.5) && refused(DType::U4, -1.0));
        assert!(refused(DType::F16, 1e6) && refused(DType::E4M3, 449.0) && refused(DType::F32, 1e39));
        assert!(refused(DType::E8M0, -1.0) && refused(DType::Bool, 2.0));
        assert!(!refused(DType::I8, -128.0) && !refused(DType::F16, 65504.0) && !refused(DType::E4M3, -448.0));
    }

    /// The same bits on every machine; a change of these values changes every recorded run.
    #[test]
    fn draws_are_pinned() {
        let normal = generate(Recipe::Values(Values::Normal { seed: 1, std: 1.0 }), DType::F32, vec![4], 1).unwrap();
        let codes = generate(Recipe::Codes { seed: 1 }, DType::I8, vec![8], 1).unwrap();
        insta::assert_snapshot!(format!("{:?}\n{:?}", normal.data(), codes.data()), @r"
        F32([-1.1575494, 1.1961, 1.0296952, -0.30536115])
        I8([64, -33, -16, 116, -76, 24, -11, -80])
        ");
    }
}
