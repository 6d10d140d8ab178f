//! Floats to a quantized tensor. Owns the choice of scales, zero points and codes by the range of
//! the values; refuses anything that needs data beyond the tensor itself (calibration, search).
//!
//! The declared type says everything: the element types, and through [`Part::runs`] which values
//! share a scale or a zero point. With L the largest code and [l, h] the range of the values that
//! share a scale, made to include 0:
//!
//! * Without a zero point the scale is max(-l, h) / L: 127 for `i8` and 7 for `i4`, whose most
//!   negative code stays unused; the largest finite value for floats. Unsigned codes take values of
//!   0 and above only.
//! * With one, the scale is (h - l) / (number of codes - 1). The zero point is the whole number
//!   nearest to where 0 then lies, among the codes and within its own type; a float type holds it
//!   exactly. So 0 is always represented by 0. Where one zero point serves several scales, each
//!   scale is as large as its values need with that zero point.
//! * A scale is rounded to its type before any code is chosen: to nearest even, or to the next
//!   above where that would clip a value by more than half a step. For `e8m0` there are two rules,
//!   see [`PowerRule`]. Values that are all 0 get the scale 1.
//! * A code is the nearest to value / scale (+ zero point), ties to even.
//!
//! Hence, for integer codes, |value - scale * (code - zero)| <= scale / 2 for every value, but for
//! what [`PowerRule::Ocp`] clips. Scales of two levels are [`super::nvfp4`]'s.

use std::ops::Range;

use crate::diag::{Code, Diagnostic};
use crate::dtype::{DType, Minifloat, bf16_to_f32, e8m0_code, e8m0_value, f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::input::{shape_under, solve};
use crate::quant::tensor::QuantTensor;
use crate::tensor::{DataRef, Tensor, TensorView, element_count};
use crate::types::{Part, QuantType, TensorType};

/// Which power of two an `e8m0` scale becomes, M being the largest magnitude among its values and L
/// the largest code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PowerRule {
    /// The smallest with which nothing clips: 2^ceil(log2(M / L)).
    #[default]
    NoClip,
    /// That of OCP Microscaling Formats (MX) v1.0: 2^(floor(log2 M) - floor(log2 L)), the
    /// second exponent being 2 for `e2m1`, 8 for `e4m3`, 15 for `e5m2` and 0 for `e1m2`. Values
    /// beyond L times it saturate at L: whatever lies above 7/8 of the next power of two
    /// (`e2m1`: 3/4). OCP knows no zero points; with one, `NoClip` holds.
    Ocp,
}

/// Quantizes `values`, row-major of `shape`, to the type `ty`, whose names take their sizes from
/// `shape`. The rules are those of this module, [`PowerRule::NoClip`] among them.
///
/// # Errors
/// `InputShape`, `DimensionConflict`, `DimensionUnset` or `Indivisible` if `shape` does not fit
/// `ty` or the number of `values`; `ValueNotFinite` for NaN and infinity; `CodeOutOfRange` for a
/// negative value where codes are unsigned and there is no zero point; `ScaleNotFinite` if the
/// scale's type ends below the scale needed.
///
/// ```
/// use msd_ir::dim::Dim;
/// use msd_ir::dtype::DType;
/// use msd_ir::quant::quantize::quantize;
/// use msd_ir::types::{QuantType, TensorType};
///
/// // i8[N, K] scale f32[N]
/// let (n, k) = (Dim::name("N"), Dim::name("K"));
/// let codes = TensorType::new(DType::I8, vec![n.clone(), k]);
/// let ty = QuantType::new(codes, TensorType::new(DType::F32, vec![n]), None)?;
/// let w = quantize(&ty, &[127.0, -2.0, 0.5, -0.25], &[2, 2])?;
/// assert_eq!(w.codes().to_f32(), [127.0, -2.0, 127.0, -64.0]);
/// assert_eq!(w.scale().to_f32(), [1.0, 0.5 / 127.0]);
/// # Ok::<(), msd_ir::diag::Diagnostic>(())
/// ```
pub fn quantize(ty: &QuantType, values: &[f32], shape: &[usize]) -> Result<QuantTensor, Diagnostic> {
    quantize_with(ty, values, shape, PowerRule::NoClip)
}

/// [`quantize`], with a rule for scales of type `e8m0`.
///
/// # Errors
/// As [`quantize`].
///
/// ```
/// use msd_ir::dim::Dim;
/// use msd_ir::dtype::DType;
/// use msd_ir::quant::quantize::{PowerRule, quantize_with};
/// use msd_ir::types::{QuantType, TensorType};
///
/// // e2m1[K] scale e8m0[1]
/// let codes = TensorType::new(DType::E2M1, vec![Dim::name("K")]);
/// let ty = QuantType::new(codes, TensorType::new(DType::E8M0, vec![Dim::constant(1)]), None)?;
/// // 7 lies above 6, the largest code.
/// let no_clip = quantize_with(&ty, &[7.0, 1.0], &[2], PowerRule::NoClip)?;
/// assert_eq!((no_clip.scale().to_f32(), no_clip.codes().to_f32()), (vec![2.0], vec![4.0, 0.5]));
/// let ocp = quantize_with(&ty, &[7.0, 1.0], &[2], PowerRule::Ocp)?;
/// assert_eq!((ocp.scale().to_f32(), ocp.codes().to_f32()), (vec![1.0], vec![6.0, 1.0]));
/// # Ok::<(), msd_ir::diag::Diagnostic>(())
/// ```
pub fn quantize_with(
    ty: &QuantType,
    values: &[f32],
    shape: &[usize],
    rule: PowerRule,
) -> Result<QuantTensor, Diagnostic> {
    let view = TensorView::new(DType::F32, shape, DataRef::F32(values))?;
    let sizes = solve("values", &ty.codes, view)?;
    check_finite(values)?;
    let range = CodeRange::new(ty)?;
    range.check_sign(ty, values)?;
    // Symmetric codes have the zero point 0.
    let symmetric = Part { ty: TensorType::new(DType::F32, Vec::new()), along: vec![None; ty.codes.rank()] };
    let zero_part = ty.zero.as_ref().unwrap_or(&symmetric);
    let (scale_shape, zero_shape) =
        (shape_under(&ty.scale.ty.shape, &sizes)?, shape_under(&zero_part.ty.shape, &sizes)?);
    let zeros = match &ty.zero {
        Some(part) => zero_points(&range, part, values, shape, &zero_shape)?,
        None => vec![0.0],
    };
    let runs = || joint(ty.scale.runs(shape, &scale_shape), zero_part.runs(shape, &zero_shape));

    let mut needs = filled(Need::default(), &scale_shape)?;
    for (codes, scale, zero) in runs() {
        needs[scale].extend(&range, zeros[zero], &values[codes]);
    }
    let scale =
        |(i, need): (usize, &Need)| need.scale(&range, ty.scale.ty.dtype, rule).ok_or_else(|| too_wide(ty, need, i));
    let scales = needs.iter().enumerate().map(scale).collect::<Result<Vec<f32>, _>>()?;

    let (range, scales_of, zeros_of) = (&range, &scales, &zeros);
    let codes = runs().flat_map(|(codes, scale, zero)| {
        values[codes].iter().map(move |v| range.code(*v as f64 / scales_of[scale] as f64, zeros_of[zero]))
    });
    let codes = Tensor::from_codes(ty.codes.dtype, shape.to_vec(), codes)?;
    let scale = Tensor::from_f32(ty.scale.ty.dtype, scale_shape, &scales)?;
    let zeros: Vec<f32> = zeros.iter().map(|z| *z as f32).collect();
    let zero = ty.zero.as_ref().map(|part| Tensor::from_f32(part.ty.dtype, zero_shape, &zeros)).transpose()?;
    QuantTensor::new(codes, scale, zero)
}

pub(super) fn check_finite(values: &[f32]) -> Result<(), Diagnostic> {
    values.iter().position(|v| !v.is_finite()).map_or(Ok(()), |i| {
        let message = format!("element {i} of the values is {}", values[i]);
        Err(Diagnostic::new(Code::ValueNotFinite, message).help("only finite values can be quantized"))
    })
}

/// What the codes of a type reach.
struct CodeRange {
    float: Option<Minifloat>,
    /// Values of the smallest and the largest code in use.
    low: f64,
    high: f64,
    /// Half the distance of the outermost two: how far beyond them a value still rounds to them
    /// with no more error than between them.
    margin: f64,
    is_affine: bool,
}

impl CodeRange {
    fn new(ty: &QuantType) -> Result<CodeRange, Diagnostic> {
        let (dtype, is_affine) = (ty.codes.dtype, ty.zero.is_some());
        if let Some(format) = dtype.minifloat() {
            let value = |code| format.decode(code) as f64;
            let (high, below) = (value(format.largest_code()), value(format.largest_code() - 1));
            return Ok(CodeRange { float: Some(format), low: -high, high, margin: (high - below) / 2.0, is_affine });
        }
        let (low, high) = dtype.int_range().ok_or_else(|| {
            let message = format!("`{}` elements cannot be quantized codes", dtype.name());
            Diagnostic::new(Code::ScaleUnexpected, message).help("declare integers or small floats")
        })?;
        let low = if is_affine { low } else { low.max(-high) };
        Ok(CodeRange { float: None, low: low as f64, high: high as f64, margin: 0.5, is_affine })
    }

    fn check_sign(&self, ty: &QuantType, values: &[f32]) -> Result<(), Diagnostic> {
        if self.low < 0.0 || self.is_affine {
            return Ok(());
        }
        values.iter().position(|v| *v < 0.0).map_or(Ok(()), |i| {
            let name = ty.codes.dtype.name();
            let message = format!("element {i} of the values is {}, which `{name}` codes cannot hold", values[i]);
            Err(Diagnostic::new(Code::CodeOutOfRange, message)
                .help(format!("declare a zero point, such as `zero {name}[1]`, or signed codes")))
        })
    }

    /// The code nearest to `steps` from the zero point.
    fn code(&self, steps: f64, zero: f64) -> i64 {
        match self.float {
            Some(format) => format.encode(steps as f32) as i64,
            None => (steps + zero).round_ties_even().clamp(self.low, self.high) as i64,
        }
    }
}

/// One value for each element of a part. A part may be large where the codes are none.
fn filled<T: Copy>(value: T, shape: &[usize]) -> Result<Vec<T>, Diagnostic> {
    let mut filled = Vec::new();
    let count = element_count(shape).filter(|n| filled.try_reserve_exact(*n).is_ok()).ok_or_else(|| {
        let message = format!("no memory for scales or zero points of shape {shape:?}");
        Diagnostic::new(Code::TooLarge, message).help("choose smaller sizes")
    })?;
    filled.resize(count, value);
    Ok(filled)
}

/// A zero point for each element of `part`.
fn zero_points(
    range: &CodeRange,
    part: &Part,
    values: &[f32],
    shape: &[usize],
    zero_shape: &[usize],
) -> Result<Vec<f64>, Diagnostic> {
    let mut spans = filled((0f64, 0f64), zero_shape)?;
    for (codes, zero) in part.runs(shape, zero_shape) {
        let (low, high) = span(&values[codes]);
        spans[zero] = (low.min(spans[zero].0), high.max(spans[zero].1));
    }
    let (least, most) = part
        .ty
        .dtype
        .int_range()
        .map_or((range.low, range.high), |(low, high)| (range.low.max(low as f64), range.high.min(high as f64)));
    let zero = |(low, high): (f64, f64)| {
        let at = if high > low { range.low + (range.high - range.low) * (-low / (high - low)) } else { 0.0 };
        at.round_ties_even().clamp(least, most)
    };
    Ok(spans.into_iter().map(zero).collect())
}

/// Smallest and largest of some values and 0.
fn span(values: &[f32]) -> (f64, f64) {
    let (low, high) = values.iter().fold((0f32, 0f32), |(low, high), v| (low.min(*v), high.max(*v)));
    (low as f64, high as f64)
}

/// What the values that share a scale need of it.
#[derive(Clone, Copy, Default)]
struct Need {
    /// Their range with 0.
    low: f64,
    high: f64,
    /// The smallest scale that clips none by more than half a step.
    least: f64,
}

impl Need {
    fn extend(&mut self, range: &CodeRange, zero: f64, values: &[f32]) {
        let (low, high) = span(values);
        let above = high / (range.high - zero + range.margin);
        let below = -low / (zero - range.low + range.margin);
        self.least = self.least.max(above).max(below);
        (self.low, self.high) = (self.low.min(low), self.high.max(high));
    }

    /// The scale before it is rounded.
    fn ideal(&self, range: &CodeRange) -> f64 {
        let ideal = match range.is_affine {
            true => (self.high - self.low) / (range.high - range.low),
            false => self.high.max(-self.low) / range.high,
        };
        ideal.max(self.least)
    }

    /// The scale, a value of `dtype`; nothing if that ends below it.
    fn scale(&self, range: &CodeRange, dtype: DType, rule: PowerRule) -> Option<f32> {
        let ideal = self.ideal(range);
        if ideal == 0.0 {
            return Some(1.0);
        }
        if dtype == DType::E8M0 && rule == PowerRule::Ocp && !range.is_affine {
            let exponent = floor_log2(self.high.max(-self.low)) - floor_log2(range.high);
            return Some(e8m0_value((exponent + 127).clamp(0, 254) as u8));
        }
        let least = if dtype == DType::E8M0 { ideal } else { self.least };
        let mut bits = scale_bits(dtype, ideal as f32);
        if (scale_value(dtype, bits) as f64) < least {
            bits += 1;
        }
        while dtype == DType::E8M0 && bits > 0 && scale_value(dtype, bits - 1) as f64 >= least {
            bits -= 1;
        }
        let scale = scale_value(dtype, bits);
        (scale.is_finite() && scale as f64 >= least).then_some(scale)
    }
}

/// Of a positive number that is normal in F64, as all of F32 are.
fn floor_log2(value: f64) -> i64 {
    (value.to_bits() >> 52) as i64 - 1023
}

/// The bits of the value of a scale's type nearest to `value`. As numbers they are in the order of
/// the values, none of which is negative.
fn scale_bits(dtype: DType, value: f32) -> u32 {
    match (dtype, dtype.minifloat()) {
        (_, Some(format)) => format.encode(value) as u32,
        (DType::F16, _) => f32_to_f16(value) as u32,
        (DType::BF16, _) => f32_to_bf16(value) as u32,
        (DType::E8M0, _) => e8m0_code(value) as u32,
        _ => value.to_bits(),
    }
}

fn scale_value(dtype: DType, bits: u32) -> f32 {
    match (dtype, dtype.minifloat()) {
        (_, Some(format)) => format.decode(bits as u8),
        (DType::F16, _) => f16_to_f32(bits as u16),
        (DType::BF16, _) => bf16_to_f32(bits as u16),
        (DType::E8M0, _) => e8m0_value(bits as u8),
        _ => f32::from_bits(bits),
    }
}

fn too_wide(ty: &QuantType, need: &Need, i: usize) -> Diagnostic {
    let (most, name) = (need.high.max(-need.low), ty.scale.ty.dtype.name());
    Diagnostic::new(Code::ScaleNotFinite, format!("element {i} of the scale, for values up to {most}, is no `{name}`"))
        .help("declare a wider type for the scale, such as `f32`, or scale the values down")
}

/// Runs of codes that share scale and zero point, with the positions of both.
fn joint(
    scales: impl Iterator<Item = (Range<usize>, usize)>,
    zeros: impl Iterator<Item = (Range<usize>, usize)>,
) -> impl Iterator<Item = (Range<usize>, usize, usize)> {
    let (mut scales, mut zeros) = (scales.peekable(), zeros.peekable());
    let mut start = 0;
    std::iter::from_fn(move || {
        let ((scale_end, scale), (zero_end, zero)) =
            (scales.peek().map(|(r, at)| (r.end, *at))?, zeros.peek().map(|(r, at)| (r.end, *at))?);
        let end = scale_end.min(zero_end);
        scales.next_if(|(r, _)| r.end == end);
        zeros.next_if(|(r, _)| r.end == end);
        let codes = start..end;
        start = end;
        Some((codes, scale, zero))
    })
}

#[cfg(test)]
mod tests;
