//! Floats to NVFP4: blocks of 16 `e2m1` codes with an `e4m3` scale each, and one F32 for the whole
//! tensor. Owns how those two levels of scales are chosen; formats of one level are
//! [`super::quantize`]'s.
//!
//! The rules are those of NVIDIA's Model Optimizer (`NVFP4QTensor`, in its
//! `modelopt/torch/quantization/qtensor/nvfp4_tensor.py`), with M the largest magnitude of the
//! tensor and m that of a block:
//!
//! * the tensor's factor is t = M / (6 * 448), so that the largest block's scale is the largest
//!   `e4m3`;
//! * a block's scale is the `e4m3` nearest to m / (6 t), and 1 for a block of zeros;
//! * a code is the nearest to value / (t * scale), ties to even, saturating.
//!
//! Rounded down, a normal scale brings the largest of its block to at most 6 * 17/16 steps, whose nearest
//! code is still 6. Two things NVIDIA leaves open: a scale is at least 2^-9, the smallest positive
//! `e4m3`, where to nearest it would be 0 and the block be lost; t is at least the smallest normal
//! F32, and 1 for a tensor of zeros. Arithmetic is in F64, theirs in F32, so that a value beside a
//! tie may get the other code.

use super::format::BlockFormat;
use super::quantize::check_finite;
use super::tensor::QuantTensor;
use crate::diag::{Code, Diagnostic};
use crate::dtype::{DType, Minifloat};
use crate::tensor::{DataRef, Tensor, TensorView};

/// Quantizes `values`, row-major of `shape`, to `nvfp4`: codes and scales, and the factor of the
/// whole tensor, so that values are about `factor * dequant(codes, scales)`. A kernel takes the
/// factor as a parameter: `X @ (dequant(W) * s).T` with `W: nvfp4[N, K]` and `s: f32[1]`.
///
/// # Errors
/// `InputShape` if `shape` is empty or not that of the `values`; `Indivisible` unless 16 divides
/// the last dimension; `ValueNotFinite` for NaN and infinity.
///
/// ```
/// use msd_ir::quant::nvfp4::quantize_nvfp4;
///
/// // Two blocks: the first holds the largest value of the tensor.
/// let values = [[2688.0; 16], [3.0; 16]].concat();
/// let (w, factor) = quantize_nvfp4(&values, &[1, 32])?;
/// assert_eq!(factor, 1.0);
/// assert_eq!(w.scale().to_f32(), [448.0, 0.5]);
/// assert_eq!(w.codes().to_f32(), [6.0; 32]);
/// # Ok::<(), msd_ir::diag::Diagnostic>(())
/// ```
pub fn quantize_nvfp4(values: &[f32], shape: &[usize]) -> Result<(QuantTensor, f32), Diagnostic> {
    const FORMAT: BlockFormat = BlockFormat::NVFP4;
    let block = FORMAT.block as usize;
    TensorView::new(DType::F32, shape, DataRef::F32(values))?;
    check_finite(values)?;
    let scale_shape = scale_shape(shape, block)?;
    let (codes_of, scales_of) = (Minifloat::E2M1, Minifloat::E4M3);
    let largest_code = largest(codes_of);

    let most = magnitude(values);
    let factor = match most {
        0.0 => 1.0,
        _ => ((most / (largest_code * largest(scales_of))) as f32).max(f32::MIN_POSITIVE),
    };
    let scale = |block: &[f32]| match magnitude(block) {
        0.0 => 1.0,
        m => {
            let code = scales_of.encode((m / (largest_code * factor as f64)) as f32);
            scales_of.decode(code.max(1))
        }
    };
    let scales: Vec<f32> = values.chunks(block).map(scale).collect();
    let code = |(i, value): (usize, &f32)| {
        let step = factor as f64 * scales[i / block] as f64;
        codes_of.encode((*value as f64 / step) as f32) as i64
    };
    let codes = Tensor::from_codes(FORMAT.codes, shape.to_vec(), values.iter().enumerate().map(code))?;
    let scale = Tensor::from_f32(FORMAT.scale, scale_shape, &scales)?;
    Ok((QuantTensor::new(codes, scale, None)?, factor))
}

/// `shape` with blocks in place of elements along its last axis.
fn scale_shape(shape: &[usize], block: usize) -> Result<Vec<usize>, Diagnostic> {
    let mut shape = shape.to_vec();
    let Some(last) = shape.last_mut() else {
        let message = "a tensor without dimensions has no blocks";
        return Err(Diagnostic::new(Code::InputShape, message).help("give it at least one dimension"));
    };
    if !last.is_multiple_of(block) {
        let message = format!("the last dimension, {last}, is not divisible by {block}");
        return Err(Diagnostic::new(Code::Indivisible, message).help("pad it with zeros"));
    }
    *last /= block;
    Ok(shape)
}

fn largest(format: Minifloat) -> f64 {
    format.decode(format.largest_code()) as f64
}

fn magnitude(values: &[f32]) -> f64 {
    values.iter().fold(0f32, |most, v| most.max(v.abs())) as f64
}

#[cfg(test)]
mod tests;
