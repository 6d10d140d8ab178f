//! What one parameter of a call is given: borrowed arrays, or a weight that is packed already.
//! Owns the choice between the two and nothing of what they hold.

use msd_ir::input::{Input, InputView};
use msd_ir::quant::tensor::{QuantTensor, QuantView};
use msd_ir::tensor::{Tensor, TensorView};

use crate::schedule::PartName;
use crate::weight::Weight;

/// The argument for one parameter of a kernel.
///
/// Arrays are borrowed for the call. Where a kernel wants them in another layout they are copied
/// into its scratch memory on every call, which costs a pass over them: right for activations and
/// for a cache that grows with each token. What stays the same between calls belongs into a
/// [`Weight`].
#[derive(Clone, Copy, Debug)]
pub enum Argument<'a> {
    /// A plain tensor.
    Tensor(TensorView<'a>),
    /// Codes with their scale and zero point, checked and packed on every call.
    Quant(QuantView<'a>),
    /// A weight, quantized or plain, checked when it was made and packed once.
    Weight(&'a Weight),
}

impl<'a> Argument<'a> {
    /// The arrays: the tensor or the codes, the scale, the zero point.
    pub fn arrays(&self) -> [Option<TensorView<'a>>; 3] {
        let InputView { tensor, scale, zero } = self.view();
        [Some(tensor), scale, zero]
    }

    /// The arrays by name.
    pub fn view(&self) -> InputView<'a> {
        match self {
            Argument::Tensor(tensor) => InputView::from(*tensor),
            Argument::Quant(quant) => InputView::from(*quant),
            Argument::Weight(weight) => weight.view(),
        }
    }

    /// One of the arrays.
    pub(crate) fn part(&self, part: PartName) -> Option<TensorView<'a>> {
        self.arrays()[part as usize]
    }

    /// Whether codes lie in their types, and scales and zero points are finite. Weights were
    /// checked when they were made.
    pub(crate) fn has_sound_values(&self) -> bool {
        match self {
            Argument::Weight(_) => true,
            Argument::Tensor(tensor) => tensor.check_codes().is_ok(),
            Argument::Quant(QuantView { codes, scale, zero }) => {
                let parts = [Some(scale), zero.as_ref()];
                codes.check_codes().is_ok()
                    && parts.into_iter().flatten().all(|p| p.check_codes().is_ok() && p.first_not_finite().is_none())
            }
        }
    }

    /// The weight, if it is one.
    pub fn weight(&self) -> Option<&'a Weight> {
        match self {
            Argument::Weight(weight) => Some(weight),
            Argument::Tensor(_) | Argument::Quant(_) => None,
        }
    }
}

impl<'a> From<TensorView<'a>> for Argument<'a> {
    fn from(tensor: TensorView<'a>) -> Self {
        Argument::Tensor(tensor)
    }
}

impl<'a> From<&'a Tensor> for Argument<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Argument::Tensor(tensor.view())
    }
}

impl<'a> From<QuantView<'a>> for Argument<'a> {
    fn from(quant: QuantView<'a>) -> Self {
        Argument::Quant(quant)
    }
}

impl<'a> From<&'a QuantTensor> for Argument<'a> {
    fn from(quant: &'a QuantTensor) -> Self {
        Argument::Quant(quant.view())
    }
}

impl<'a> From<&'a Weight> for Argument<'a> {
    fn from(weight: &'a Weight) -> Self {
        Argument::Weight(weight)
    }
}

impl<'a> From<&'a Input> for Argument<'a> {
    fn from(input: &'a Input) -> Self {
        let tensor = input.tensor.view();
        match &input.scale {
            None => Argument::Tensor(tensor),
            Some(scale) => {
                let zero = input.zero.as_ref().map(Tensor::view);
                Argument::Quant(QuantView { codes: tensor, scale: scale.view(), zero })
            }
        }
    }
}
