//! What a typed function takes where its kernel declares a quantized parameter. Owns the refusal of
//! everything else at build time; what is done with it is [`Argument`]'s.

use std::sync::Arc;

use msd_ir::quant::tensor::{QuantTensor, QuantView};
use msd_jit::argument::Argument;
use msd_jit::weight::Weight;

/// The argument for a quantized parameter of a typed function: a [`Weight`], which is packed once,
/// or a [`QuantTensor`] or [`QuantView`], which are packed on every call. Activations do not become
/// one, so the compiler finds arguments in the wrong place.
///
/// ```
/// use msd::{QuantArgument, Weight, View, msd_kernel};
///
/// #[msd_kernel]
/// fn linear(w: t!(i8[N, K] scale f32[N]), x: t!(f32[M, K])) -> t!(f32[M, N]) { matmul(x, dequant(w).t()) }
///
/// /// Any function may pass them on.
/// fn twice<'a>(w: impl Into<QuantArgument<'a>>, x: View<'_, f32, 2>) -> msd::Result<Vec<f32>> {
///     Ok(linear(w, x)?.data().iter().map(|y| 2.0 * y).collect())
/// }
///
/// let w = linear::kernel()?.quantize("w", &[1.0, 1.0], &[1, 2])?;
/// let x = View::new(&[1.0, 2.0], [1, 2])?;
/// assert_eq!(twice(&w, x)?, twice(&Weight::from(w.clone()), x)?);
/// # Ok::<(), msd::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct QuantArgument<'a>(Argument<'a>);

impl<'a> From<&'a Weight> for QuantArgument<'a> {
    fn from(weight: &'a Weight) -> Self {
        QuantArgument(weight.into())
    }
}

impl<'a> From<&'a Arc<Weight>> for QuantArgument<'a> {
    fn from(weight: &'a Arc<Weight>) -> Self {
        QuantArgument(Argument::from(&**weight))
    }
}

impl<'a> From<&'a QuantTensor> for QuantArgument<'a> {
    fn from(tensor: &'a QuantTensor) -> Self {
        QuantArgument(tensor.into())
    }
}

impl<'a> From<QuantView<'a>> for QuantArgument<'a> {
    fn from(view: QuantView<'a>) -> Self {
        QuantArgument(view.into())
    }
}

impl<'a> From<QuantArgument<'a>> for Argument<'a> {
    fn from(argument: QuantArgument<'a>) -> Self {
        argument.0
    }
}
