//! Owned arrays whose element type and rank Rust knows: what typed kernels return. Owns elements
//! and shape; arrays known at run time only are [`Tensor`]s.

use std::fmt;
use std::ops::Index;

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::tensor::Tensor;
use msd_jit::argument::Argument;

use crate::view::{check_count, offset, row_major};
use crate::{Element, Error, Result, View, ViewMut};

/// A dense row-major array of `R` axes.
///
/// ```
/// use msd::Array;
///
/// let mut y = Array::new(vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3])?;
/// assert_eq!((y.shape(), y[[1, 0]]), ([2, 3], 4.0));
/// y.data_mut()[0] = -1.0;
/// assert_eq!(y.into_vec(), [-1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
/// # Ok::<(), msd::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Array<T, const R: usize> {
    shape: [usize; R],
    /// As many as `shape` has elements.
    data: Vec<T>,
}

impl<T: Element, const R: usize> fmt::Debug for Array<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Tensor::from(self.clone()), f)
    }
}

impl<T: Element, const R: usize> Array<T, R> {
    /// An array of these elements, row-major.
    ///
    /// # Errors
    /// `InputShape` if there are more or fewer than `shape` has, `TooLarge` if their number overflows.
    pub fn new(data: Vec<T>, shape: [usize; R]) -> Result<Array<T, R>> {
        check_count(&data, &shape)?;
        Ok(Array { shape, data })
    }

    /// All zeros (`false`; code 0), to be written by a kernel.
    ///
    /// # Errors
    /// `TooLarge` if the memory cannot be had.
    ///
    /// ```
    /// use msd::{Array, bf16};
    ///
    /// assert_eq!(Array::<bf16, 2>::zeros([2, 3])?.data(), [bf16::ZERO; 6]);
    /// assert!(Array::<f32, 2>::zeros([usize::MAX, 2]).is_err());
    /// # Ok::<(), msd::Error>(())
    /// ```
    pub fn zeros(shape: [usize; R]) -> Result<Array<T, R>> {
        Array::try_from(Tensor::zeros(T::DTYPE, shape.to_vec())?)
    }

    /// Sizes along each axis, outermost first.
    pub fn shape(&self) -> [usize; R] {
        self.shape
    }

    /// The elements in row-major order.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// The elements in row-major order, to be written.
    pub fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    /// The elements in row-major order, without a copy.
    pub fn into_vec(self) -> Vec<T> {
        self.data
    }

    /// The element at `index`; `None` outside the shape.
    pub fn get(&self, index: [usize; R]) -> Option<&T> {
        self.data.get(offset(index, self.shape, row_major(self.shape))?)
    }

    /// The array to read.
    pub fn view(&self) -> View<'_, T, R> {
        View::from(self)
    }

    /// The array to be written.
    pub fn view_mut(&mut self) -> ViewMut<'_, T, R> {
        ViewMut::from(self)
    }
}

impl<T: Element, const R: usize> Index<[usize; R]> for Array<T, R> {
    type Output = T;

    /// # Panics
    /// If `index` lies outside the shape, as slices do; see [`Array::get`].
    #[allow(clippy::panic, reason = "indexing a slice out of bounds panics too")]
    fn index(&self, index: [usize; R]) -> &T {
        self.get(index).unwrap_or_else(|| panic!("index {index:?} lies outside the shape {:?}", self.shape))
    }
}

impl<T: Element, const R: usize> TryFrom<Tensor> for Array<T, R> {
    type Error = Error;

    /// Takes the elements without a copy (`bool` aside), `i4` and the small floats as their codes.
    ///
    /// # Errors
    /// `InputType` if they are not stored as `T`, `InputShape` if there are not `R` axes.
    fn try_from(tensor: Tensor) -> Result<Array<T, R>> {
        let dtype = tensor.dtype();
        let shape: [usize; R] = tensor.shape().try_into().map_err(|_| {
            let message = format!("a tensor of shape {:?} has {} axes, not {R}", tensor.shape(), tensor.shape().len());
            Diagnostic::new(Code::InputShape, message).help("choose the array's rank, or reshape the tensor")
        })?;
        let data = if T::stores(dtype) { T::from_data(tensor.into_data()) } else { None };
        let data = data.ok_or_else(|| {
            let message = format!("a tensor of `{}` is no array of `{}`", dtype.name(), T::DTYPE.name());
            Diagnostic::new(Code::InputType, message).help("choose the array's element type, or convert the values")
        })?;
        Ok(Array { shape, data })
    }
}

impl<T: Element, const R: usize> From<Array<T, R>> for Tensor {
    /// The tensor of element type `T::DTYPE`, without a copy (`bool` aside).
    fn from(array: Array<T, R>) -> Tensor {
        let tensor = Tensor::new(T::DTYPE, array.shape.to_vec(), T::into_data(array.data));
        tensor.unwrap_or_else(|_| unreachable!("as many elements as the array's shape says"))
    }
}

impl<'a, T: Element, const R: usize> From<&'a Array<T, R>> for Argument<'a> {
    fn from(array: &'a Array<T, R>) -> Argument<'a> {
        let data = msd_ir::tensor::TensorView::new(T::DTYPE, &array.shape, T::data(&array.data));
        Argument::from(data.unwrap_or_else(|_| unreachable!("as many elements as the array's shape says")))
    }
}

#[cfg(test)]
mod tests;
