//! Quantized tensors on the host: codes with their scale and zero point, owned or borrowed. Owns
//! the checks that need no declared type; how scales lie over the codes is the type's to say
//! ([`crate::types::QuantType`]), and whether a tensor fits one is for [`crate::input`].

use crate::diag::{Code, Diagnostic};
use crate::tensor::{Tensor, TensorView};
use crate::types::QuantType;

/// Codes with a scale and perhaps a zero point: `value = scale * (code - zero)`.
///
/// ```
/// use msd_ir::dtype::DType;
/// use msd_ir::quant::tensor::QuantTensor;
/// use msd_ir::tensor::Tensor;
///
/// // 2 output channels of 4 weights, packed two to a byte; scale and zero point for each half of
/// // a channel.
/// let codes = Tensor::from_nibbles(DType::U4, vec![2, 4], &[0x10, 0x32, 0x54, 0xF6])?;
/// let scale = Tensor::from_f32(DType::F16, vec![2, 2], &[0.5, 0.25, 1.0, 2.0])?;
/// let zero = Tensor::from_codes(DType::U4, vec![2, 2], [8, 8, 7, 8].into_iter())?;
/// let w = QuantTensor::new(codes, scale, Some(zero))?;
/// assert_eq!(w.shape(), [2, 4]);
/// assert!(QuantTensor::new(w.codes().clone(), Tensor::from(vec![0.5f32; 3]), None).is_err());
/// # Ok::<(), msd_ir::diag::Diagnostic>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct QuantTensor {
    codes: Tensor,
    scale: Tensor,
    zero: Option<Tensor>,
}

/// A [`QuantTensor`] that belongs to someone else. Its parts are checked by the call that gets it.
///
/// ```
/// use msd_ir::quant::tensor::QuantView;
/// use msd_ir::tensor::Tensor;
///
/// let (codes, scale) = (Tensor::from(vec![1i8, -2, 3]), Tensor::from(vec![0.5f32]));
/// let w = QuantView { codes: codes.view(), scale: scale.view(), zero: None };
/// assert_eq!(w.to_tensor()?.shape(), [3]);
/// # Ok::<(), msd_ir::diag::Diagnostic>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct QuantView<'a> {
    /// The stored codes.
    pub codes: TensorView<'a>,
    /// Their scale.
    pub scale: TensorView<'a>,
    /// Their zero point, if asymmetric.
    pub zero: Option<TensorView<'a>>,
}

impl QuantView<'_> {
    /// A copy of one's own, checked.
    ///
    /// # Errors
    /// As [`QuantTensor::new`], and `CodeOutOfRange` for codes outside their type.
    pub fn to_tensor(&self) -> Result<QuantTensor, Diagnostic> {
        let zero = self.zero.map(|zero| zero.to_tensor()).transpose()?;
        QuantTensor::new(self.codes.to_tensor()?, self.scale.to_tensor()?, zero)
    }
}

impl QuantTensor {
    /// Puts codes, scale and zero point together. A scale or zero point of the codes' rank lies
    /// over them axis by axis: each of its sizes divides theirs. One of another rank is aligned by
    /// the dimension names of the type it is used as; here each of its sizes must be 1 or divide
    /// one of theirs.
    ///
    /// # Errors
    /// `ScaleUnexpected` or `ScaleType` for element types that do not go together, `InputShape`
    /// for sizes that divide nothing, `ScaleNotFinite` for a scale or zero point that is not a
    /// finite number.
    pub fn new(codes: Tensor, scale: Tensor, zero: Option<Tensor>) -> Result<QuantTensor, Diagnostic> {
        QuantType::check_elements(codes.dtype(), scale.dtype(), zero.as_ref().map(Tensor::dtype))?;
        check_part(&codes, &scale, "scale")?;
        zero.as_ref().map_or(Ok(()), |zero| check_part(&codes, zero, "zero point"))?;
        Ok(QuantTensor { codes, scale, zero })
    }

    /// The stored codes.
    pub fn codes(&self) -> &Tensor {
        &self.codes
    }

    /// Their scale.
    pub fn scale(&self) -> &Tensor {
        &self.scale
    }

    /// Their zero point, if asymmetric.
    pub fn zero(&self) -> Option<&Tensor> {
        self.zero.as_ref()
    }

    /// Sizes of the codes.
    pub fn shape(&self) -> &[usize] {
        self.codes.shape()
    }

    /// Codes, scale and zero point.
    pub fn into_parts(self) -> (Tensor, Tensor, Option<Tensor>) {
        (self.codes, self.scale, self.zero)
    }

    /// The tensor to read.
    pub fn view(&self) -> QuantView<'_> {
        QuantView { codes: self.codes.view(), scale: self.scale.view(), zero: self.zero.as_ref().map(Tensor::view) }
    }
}

impl<'a> From<&'a QuantTensor> for QuantView<'a> {
    fn from(tensor: &'a QuantTensor) -> QuantView<'a> {
        tensor.view()
    }
}

fn check_part(codes: &Tensor, part: &Tensor, what: &str) -> Result<(), Diagnostic> {
    // No axis falls into no groups, or an empty one into some.
    let divides = |part: usize, code: usize| part == 1 || (code.is_multiple_of(part) && (code == 0) == (part == 0));
    let (outer, inner) = (codes.shape(), part.shape());
    let fits = match outer.len() == inner.len() {
        true => outer.iter().zip(inner).all(|(c, p)| divides(*p, *c)),
        false => inner.iter().all(|p| *p == 1 || outer.iter().any(|c| divides(*p, *c))),
    };
    if !fits {
        let message = format!("a {what} of shape {inner:?} does not lie over codes of shape {outer:?}");
        return Err(Diagnostic::new(Code::InputShape, message)
            .help("each of its sizes is 1, that of an axis of the codes, or divides it into groups"));
    }
    part.view().first_not_finite().map_or(Ok(()), |i| {
        let message = format!("element {i} of the {what} is {}", part.value(i));
        Err(Diagnostic::new(Code::ScaleNotFinite, message).help("scales and zero points must be finite"))
    })
}

#[cfg(test)]
mod tests;
