//! `ndarray` and back (feature `ndarray`). Owns the conversions and nothing else; no other module
//! names the crate.

use ::ndarray::{ArrayBase, Data, DataMut, Dim, Dimension, IntoDimension, Ix, OwnedRepr};
use msd_ir::diag::{Code, Diagnostic};

use crate::{Array, Element, Error, Result, View, ViewMut};

impl<'a, T, S, const R: usize> TryFrom<&'a ArrayBase<S, Dim<[Ix; R]>>> for View<'a, T, R>
where
    T: Element,
    S: Data<Elem = T>,
    Dim<[Ix; R]>: Dimension,
{
    type Error = Error;

    /// Views the elements where they are, with the axes in any order in memory (a transpose is
    /// free).
    ///
    /// # Errors
    /// `InputShape` if elements run backwards along an axis or have others between them, because
    /// safe code cannot see their memory as one slice; [`View::strided`] takes the slice itself.
    ///
    /// ```
    /// use msd::View;
    /// use ndarray::array;
    ///
    /// let w = array![[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]];
    /// let transposed = w.t();
    /// let view = View::try_from(&transposed)?;
    /// assert_eq!((view.shape(), view.get([2, 1])), ([3, 2], Some(6.0)));
    /// # Ok::<(), msd::Error>(())
    /// ```
    fn try_from(array: &'a ArrayBase<S, Dim<[Ix; R]>>) -> Result<View<'a, T, R>> {
        // An axis of one element never steps.
        let steps: [isize; R] = std::array::from_fn(|i| if array.shape()[i] == 1 { 0 } else { array.strides()[i] });
        if array.is_empty() {
            return View::new(&[], shape(array));
        }
        let data = array.as_slice_memory_order().filter(|_| steps.iter().all(|s| *s >= 0));
        let data = data.ok_or_else(|| scattered(array.shape(), array.strides()))?;
        View::strided(data, shape(array), steps.map(isize::unsigned_abs))
    }
}

impl<'a, T, S, const R: usize> TryFrom<&'a mut ArrayBase<S, Dim<[Ix; R]>>> for ViewMut<'a, T, R>
where
    T: Element,
    S: DataMut<Elem = T>,
    Dim<[Ix; R]>: Dimension,
{
    type Error = Error;

    /// Views the elements where they are.
    ///
    /// # Errors
    /// `InputShape` unless they lie densely in row-major order.
    ///
    /// ```
    /// use msd::ViewMut;
    ///
    /// let mut y = ndarray::Array2::<f32>::zeros([2, 3]);
    /// ViewMut::try_from(&mut y)?.data_mut()[5] = 1.0;
    /// assert_eq!(y[[1, 2]], 1.0);
    /// # Ok::<(), msd::Error>(())
    /// ```
    fn try_from(array: &'a mut ArrayBase<S, Dim<[Ix; R]>>) -> Result<ViewMut<'a, T, R>> {
        let (shape, strides) = (shape(array), array.strides().to_vec());
        let slice = array.as_slice_mut().ok_or_else(|| {
            let message =
                format!("an output of shape {shape:?} with strides {strides:?} is not dense in row-major order");
            let fault = Diagnostic::new(Code::InputShape, message);
            fault.help("let the kernel write a row-major array, and assign that; or transpose the kernel's result")
        })?;
        ViewMut::new(slice, shape)
    }
}

impl<T, const R: usize> TryFrom<Array<T, R>> for ArrayBase<OwnedRepr<T>, Dim<[Ix; R]>>
where
    T: Element,
    [Ix; R]: IntoDimension<Dim = Dim<[Ix; R]>>,
    Dim<[Ix; R]>: Dimension,
{
    type Error = Error;

    /// Hands over the elements without a copy.
    ///
    /// # Errors
    /// `TooLarge` for an empty array of sizes whose product `ndarray` cannot hold.
    ///
    /// ```
    /// let y = msd::Array::new(vec![1.0f32, 2.0], [2, 1])?;
    /// assert_eq!(ndarray::Array2::try_from(y)?, ndarray::array![[1.0], [2.0]]);
    /// # Ok::<(), msd::Error>(())
    /// ```
    fn try_from(array: Array<T, R>) -> Result<Self> {
        let shape = array.shape();
        ArrayBase::from_shape_vec(shape.into_dimension(), array.into_vec()).map_err(|_| {
            let message = format!("shape {shape:?} is beyond what `ndarray` holds");
            Diagnostic::new(Code::TooLarge, message).help("choose smaller sizes").into()
        })
    }
}

fn shape<S, T, const R: usize>(array: &ArrayBase<S, Dim<[Ix; R]>>) -> [usize; R]
where
    S: Data<Elem = T>,
    Dim<[Ix; R]>: Dimension,
{
    std::array::from_fn(|i| array.shape()[i])
}

fn scattered(shape: &[usize], strides: &[isize]) -> Diagnostic {
    let message = format!("an array of shape {shape:?} with strides {strides:?} is not one slice of its elements");
    Diagnostic::new(Code::InputShape, message)
        .help("copy it with `as_standard_layout`, or view the slice it lies in with `View::strided`")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use ::ndarray::{Array1, Array2, Array3, Axis, Slice};

    use super::*;

    #[test]
    fn any_order_of_axes_and_no_gaps() {
        let array = Array3::from_shape_fn([2, 3, 4], |(i, j, k)| (i * 12 + j * 4 + k) as i32);
        let view = View::try_from(&array).unwrap();
        assert!(view.tensor().is_dense());
        let turned = array.view().permuted_axes([2, 0, 1]);
        let view = View::try_from(&turned).unwrap();
        assert_eq!((view.shape(), view.strides(), view.get([3, 1, 2])), ([4, 2, 3], [1, 12, 4], Some(23)));
        assert_eq!(view.tensor().to_tensor().unwrap().to_f32(), turned.iter().map(|x| *x as f32).collect::<Vec<_>>());
        let rows = array.slice_axis(Axis(0), Slice::from(1..));
        assert_eq!(View::try_from(&rows).unwrap().get([0, 0, 0]), Some(12));
        let gaps = array.slice_axis(Axis(2), Slice::from(..2));
        assert_eq!(View::try_from(&gaps).unwrap_err().code(), Code::InputShape);
        let mut backwards = array.clone();
        backwards.invert_axis(Axis(2));
        assert_eq!(View::try_from(&backwards).unwrap_err().code(), Code::InputShape);
    }

    #[test]
    fn empty_and_single_axes() {
        let empty = Array2::<f32>::zeros([0, 3]);
        assert_eq!(View::try_from(&empty).unwrap().shape(), [0, 3]);
        let mut one = Array2::<f32>::ones([1, 3]);
        one.invert_axis(Axis(0));
        assert_eq!(View::try_from(&one).unwrap().get([0, 2]), Some(1.0));
        let mut transposed = Array2::<f32>::zeros([2, 3]).reversed_axes();
        assert_eq!(ViewMut::try_from(&mut transposed).unwrap_err().code(), Code::InputShape);
        assert!(Array2::try_from(Array::<f32, 2>::zeros([0, 1 << 63]).unwrap()).is_err());
        assert!(Array1::try_from(Array::new(vec![true], [1]).unwrap()).unwrap()[0]);
    }
}
