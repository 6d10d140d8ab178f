//! The value of a quantized tensor.

use crate::input::Input;
use crate::tensor::Tensor;
use crate::types::{Part, QuantType};

/// `scale * (code - zero)` in F64, for codes of `shape`.
pub(super) fn dequant(ty: &QuantType, input: &Input, shape: &[usize]) -> Vec<f64> {
    let zeros = match (&ty.zero, &input.zero) {
        (Some(part), Some(tensor)) => Some(spread(part, tensor, shape)),
        _ => None,
    };
    let scales = input.scale.as_ref().map(|tensor| spread(&ty.scale, tensor, shape));
    let value = |i: usize| {
        let zero = zeros.as_ref().map_or(0.0, |z| z[i]);
        let scale = scales.as_ref().map_or(1.0, |s| s[i]);
        scale * (input.tensor.value(i) - zero)
    };
    (0..input.tensor.len()).map(value).collect()
}

/// The value of a scale or zero point that belongs to each code.
fn spread(part: &Part, tensor: &Tensor, shape: &[usize]) -> Vec<f64> {
    part.runs(shape, tensor.shape())
        .flat_map(|(codes, at)| std::iter::repeat_n(tensor.value(at), codes.len()))
        .collect()
}
