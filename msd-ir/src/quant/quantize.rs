//! temporary
use crate::{diag::Diagnostic, types::QuantType, quant::tensor::QuantTensor, tensor::Tensor, dtype::DType};
/// temporary
pub fn quantize(_: &QuantType, v: &[f32], shape: &[usize]) -> Result<QuantTensor, Diagnostic> {
    let k = shape[1];
    let s: Vec<f32> = v.chunks(k).map(|r| r.iter().fold(0f32, |a, x| a.max(x.abs())) / 127.0).collect();
    let c = v.iter().enumerate().map(|(i, x)| (x / s[i / k]).round_ties_even() as i64);
    QuantTensor::new(Tensor::from_codes(DType::I8, shape.to_vec(), c)?, Tensor::from_f32(DType::F32, vec![shape[0]], &s)?, None)
}
