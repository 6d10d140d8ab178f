//! Typed views of slices: element type and rank are Rust's to check, sizes are checked when a view
//! is made. Owns no element and no check of its own; those are [`TensorView`]'s.

use std::fmt;

use msd_ir::diag::Diagnostic;
use msd_ir::dtype::DType;
use msd_ir::tensor::{TensorView, TensorViewMut};
use msd_jit::argument::Argument;

use crate::{Array, Element, Result};

/// A tensor of `R` axes over someone else's elements, dense or strided. Making one copies nothing.
///
/// The element at index `i` is `data[sum(i[axis] * strides[axis])]`; strides count elements.
///
/// ```
/// use msd::View;
///
/// let data = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
/// let rows = View::new(&data, [2, 3])?;
/// assert_eq!((rows.shape(), rows.strides()), ([2, 3], [3, 1]));
/// let columns = View::strided(&data, [3, 2], [1, 3])?;
/// assert_eq!(columns.get([2, 0]), Some(3.0));
/// # Ok::<(), msd::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct View<'a, T, const R: usize> {
    /// Longer than any element's offset.
    data: &'a [T],
    shape: [usize; R],
    strides: [usize; R],
}

impl<'a, T: Element, const R: usize> View<'a, T, R> {
    /// A dense row-major view of `data`, which has as many elements as `shape`.
    ///
    /// # Errors
    /// `InputShape` if it has more or fewer, `TooLarge` if their number overflows.
    ///
    /// ```
    /// assert!(msd::View::new(&[1i8, 2, 3], [3, 1]).is_ok());
    /// let fault = msd::View::new(&[1i8, 2, 3], [2, 2]).unwrap_err();
    /// assert!(fault.to_string().contains("4 elements, not the 3 given"));
    /// ```
    pub fn new(data: &'a [T], shape: [usize; R]) -> Result<View<'a, T, R>> {
        check_count(data, &shape)?;
        Ok(View { data, shape, strides: row_major(shape) })
    }

    /// A view with distances between neighbours along each axis, in elements. A stride of 0
    /// repeats; `data` may hold more than is reached.
    ///
    /// # Errors
    /// `InputShape` if an element lies beyond `data`, `TooLarge` if their number overflows.
    ///
    /// ```
    /// use msd::View;
    ///
    /// // The last two columns of rows of three, and one bias for each of four rows.
    /// let columns = View::strided(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0][1..], [2, 2], [3, 1])?;
    /// assert_eq!(columns.get([1, 1]), Some(6.0));
    /// assert!(View::strided(&[0.5f32], [4, 1], [0, 0]).is_ok());
    /// assert!(View::strided(&[0.5f32], [4, 1], [1, 0]).is_err());
    /// # Ok::<(), msd::Error>(())
    /// ```
    pub fn strided(data: &'a [T], shape: [usize; R], strides: [usize; R]) -> Result<View<'a, T, R>> {
        TensorView::strided(T::DTYPE, &shape, &strides, T::data(data))?;
        Ok(View { data, shape, strides })
    }

    /// Sizes along each axis, outermost first.
    pub fn shape(&self) -> [usize; R] {
        self.shape
    }

    /// Distances of neighbours along each axis, in elements.
    pub fn strides(&self) -> [usize; R] {
        self.strides
    }

    /// The slice as given.
    pub fn data(&self) -> &'a [T] {
        self.data
    }

    /// The element at `index`; `None` outside the shape.
    pub fn get(&self, index: [usize; R]) -> Option<T> {
        let offset = offset(index, self.shape, self.strides)?;
        self.data.get(offset).copied()
    }

    /// The same tensor with type and rank known at run time only, of element type `T::DTYPE`.
    ///
    /// ```
    /// use msd::{Argument, Kernel, Options, View};
    ///
    /// let kernel = Kernel::new("kernel sum(x: f32[N]) -> f32[1] { sum(x) }", &Options::new())?;
    /// let x = View::new(&[1.0f32, 2.0, 4.0], [3])?;
    /// assert_eq!(kernel.call(&[Argument::from(x.tensor())])?[0].to_f32(), [7.0]);
    /// # Ok::<(), msd::Error>(())
    /// ```
    pub fn tensor(&self) -> TensorView<'_> {
        let tensor = TensorView::strided(T::DTYPE, &self.shape, &self.strides, T::data(self.data));
        tensor.unwrap_or_else(|_| unreachable!("the same was accepted when the view was made"))
    }

    /// The elements as codes of `dtype`: `i4` in `i8`; `u4` or a small float in `u8`. Whether each
    /// code lies in its type is checked by the call that gets them.
    ///
    /// # Errors
    /// `InputType` if `dtype` is not stored as `T`.
    ///
    /// ```
    /// use msd::{DType, View};
    ///
    /// let codes = View::new(&[0x38u8, 0x40], [2])?;
    /// let floats = codes.codes(DType::E4M3)?;
    /// assert_eq!((floats.value(0), floats.value(1)), (1.0, 2.0));
    /// assert!(codes.codes(DType::I4).is_err());
    /// # Ok::<(), msd::Error>(())
    /// ```
    pub fn codes(&self, dtype: DType) -> Result<TensorView<'_>> {
        Ok(TensorView::strided(dtype, &self.shape, &self.strides, T::data(self.data))?)
    }
}

impl<'a, T: Element, const R: usize> From<&'a Array<T, R>> for View<'a, T, R> {
    fn from(array: &'a Array<T, R>) -> View<'a, T, R> {
        View { data: array.data(), shape: array.shape(), strides: row_major(array.shape()) }
    }
}

impl<'a, T: Element, const R: usize> From<&'a View<'_, T, R>> for Argument<'a> {
    fn from(view: &'a View<'_, T, R>) -> Argument<'a> {
        Argument::from(view.tensor())
    }
}

impl<T, const R: usize> fmt::Debug for View<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("shape", &self.shape).field("strides", &self.strides).finish_non_exhaustive()
    }
}

/// A dense row-major tensor of `R` axes over someone else's elements, to be written.
///
/// ```
/// use msd::{Argument, Kernel, Options, View, ViewMut};
///
/// let kernel = Kernel::new("kernel double(x: f32[N]) -> f32[N] { x + x }", &Options::new())?;
/// let mut y = [0.0f32; 2];
/// let x = View::new(&[1.0f32, 2.0], [2])?;
/// kernel.call_into(&[Argument::from(&x)], &mut [ViewMut::new(&mut y, [2])?.tensor_mut()])?;
/// assert_eq!(y, [2.0, 4.0]);
/// # Ok::<(), msd::Error>(())
/// ```
pub struct ViewMut<'a, T, const R: usize> {
    /// As many as `shape` has elements.
    data: &'a mut [T],
    shape: [usize; R],
}

impl<'a, T: Element, const R: usize> ViewMut<'a, T, R> {
    /// A view of `data`, which has as many elements as `shape`.
    ///
    /// # Errors
    /// `InputShape` if it has more or fewer, `TooLarge` if their number overflows.
    pub fn new(data: &'a mut [T], shape: [usize; R]) -> Result<ViewMut<'a, T, R>> {
        check_count(data, &shape)?;
        Ok(ViewMut { data, shape })
    }

    /// Sizes along each axis, outermost first.
    pub fn shape(&self) -> [usize; R] {
        self.shape
    }

    /// The elements in row-major order.
    pub fn data(&self) -> &[T] {
        self.data
    }

    /// The elements in row-major order, to be written.
    pub fn data_mut(&mut self) -> &mut [T] {
        self.data
    }

    /// The tensor to read.
    pub fn view(&self) -> View<'_, T, R> {
        View { data: self.data, shape: self.shape, strides: row_major(self.shape) }
    }

    /// The same tensor with type and rank known at run time only, of element type `T::DTYPE`.
    pub fn tensor_mut(&mut self) -> TensorViewMut<'_> {
        let tensor = TensorViewMut::new(T::DTYPE, &self.shape, T::data_mut(self.data));
        tensor.unwrap_or_else(|_| unreachable!("the same was accepted when the view was made"))
    }

    /// The elements as codes of `dtype`, as [`View::codes`].
    ///
    /// # Errors
    /// `InputType` if `dtype` is not stored as `T`.
    ///
    /// ```
    /// use msd::{DType, ViewMut};
    ///
    /// let mut codes = [0u8; 2];
    /// assert_eq!(ViewMut::new(&mut codes, [2])?.codes_mut(DType::E5M2)?.dtype(), DType::E5M2);
    /// # Ok::<(), msd::Error>(())
    /// ```
    pub fn codes_mut(&mut self, dtype: DType) -> Result<TensorViewMut<'_>> {
        Ok(TensorViewMut::new(dtype, &self.shape, T::data_mut(self.data))?)
    }
}

impl<'a, T: Element, const R: usize> From<&'a mut Array<T, R>> for ViewMut<'a, T, R> {
    fn from(array: &'a mut Array<T, R>) -> ViewMut<'a, T, R> {
        let shape = array.shape();
        ViewMut { data: array.data_mut(), shape }
    }
}

impl<T, const R: usize> fmt::Debug for ViewMut<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewMut").field("shape", &self.shape).finish_non_exhaustive()
    }
}

/// Refuses a number of elements that is not that of `shape`.
pub(crate) fn check_count<T: Element>(data: &[T], shape: &[usize]) -> Result<(), Diagnostic> {
    TensorView::new(T::DTYPE, shape, T::data(data)).map(drop)
}

/// The strides of a dense row-major tensor. Sizes that overflow have an axis of size 0 beside them,
/// so nothing is reached by what they give.
pub(crate) fn row_major<const R: usize>(shape: [usize; R]) -> [usize; R] {
    let mut strides = [1usize; R];
    for axis in (1..R).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// Where the element at `index` lies; `None` outside the shape.
pub(crate) fn offset<const R: usize>(index: [usize; R], shape: [usize; R], strides: [usize; R]) -> Option<usize> {
    if (0..R).any(|axis| index[axis] >= shape[axis]) {
        return None;
    }
    Some((0..R).map(|axis| index[axis] * strides[axis]).sum())
}

#[cfg(test)]
mod tests;
