//! Tensors that belong to someone else. Owns the proof that every element a shape and strides can
//! reach lies in the slice, and questions asked of all elements at once; refuses meaning: whether
//! a view fits a kernel is for [`crate::input`] to say.

use super::{Data, Tensor, count, element_fault, storage};
use crate::diag::{Code, Diagnostic};
use crate::dtype::{DType, bf16_to_f32, e8m0_value, f16_to_f32};

/// Elements as stored, borrowed. As [`Data`], and truth values as Rust has them.
#[derive(Clone, Copy, Debug)]
pub enum DataRef<'a> {
    /// `f32`
    F32(&'a [f32]),
    /// `f64`
    F64(&'a [f64]),
    /// `f16` and `bf16` bits
    U16(&'a [u16]),
    /// `i16`
    I16(&'a [i16]),
    /// `i32`
    I32(&'a [i32]),
    /// `i64`
    I64(&'a [i64]),
    /// `i8` and `i4` values
    I8(&'a [i8]),
    /// `u8` and `u4` values, codes of the small floats, `bool` as 0 and 1
    U8(&'a [u8]),
    /// `bool`
    Bool(&'a [bool]),
}

/// Elements as stored, to be written.
#[derive(Debug)]
pub enum DataMut<'a> {
    /// `f32`
    F32(&'a mut [f32]),
    /// `f64`
    F64(&'a mut [f64]),
    /// `f16` and `bf16` bits
    U16(&'a mut [u16]),
    /// `i16`
    I16(&'a mut [i16]),
    /// `i32`
    I32(&'a mut [i32]),
    /// `i64`
    I64(&'a mut [i64]),
    /// `i8` and `i4` values
    I8(&'a mut [i8]),
    /// `u8` and `u4` values, codes of the small floats, `bool` as 0 and 1
    U8(&'a mut [u8]),
    /// `bool`
    Bool(&'a mut [bool]),
}

/// One expression for whichever slice it is; `as` wraps the result in the same variant of another.
macro_rules! each {
    ($data:expr, $kind:ident, $v:ident => $body:expr) => {
        match $data {
            $kind::F32($v) => $body,
            $kind::F64($v) => $body,
            $kind::U16($v) => $body,
            $kind::I16($v) => $body,
            $kind::I32($v) => $body,
            $kind::I64($v) => $body,
            $kind::I8($v) => $body,
            $kind::U8($v) => $body,
            $kind::Bool($v) => $body,
        }
    };
    ($data:expr, $v:ident as $to:ident => $body:expr) => {
        match $data {
            DataRef::F32($v) => $to::F32($body),
            DataRef::F64($v) => $to::F64($body),
            DataRef::U16($v) => $to::U16($body),
            DataRef::I16($v) => $to::I16($body),
            DataRef::I32($v) => $to::I32($body),
            DataRef::I64($v) => $to::I64($body),
            DataRef::I8($v) => $to::I8($body),
            DataRef::U8($v) => $to::U8($body),
            DataRef::Bool($v) => $to::Bool($body),
        }
    };
}

impl<'a> DataRef<'a> {
    /// Number of elements.
    pub fn len(self) -> usize {
        each!(self, DataRef, v => v.len())
    }

    /// Whether there is no element.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Address of the first element.
    pub fn as_ptr(self) -> *const u8 {
        each!(self, DataRef, v => v.as_ptr().cast())
    }

    /// The first `n` elements.
    fn first(self, n: usize) -> DataRef<'a> {
        each!(self, v as DataRef => &v[..n])
    }

    /// The Rust type of the elements.
    fn storage(self) -> &'static str {
        match self {
            DataRef::F32(_) => "f32",
            DataRef::F64(_) => "f64",
            DataRef::U16(_) => "u16",
            DataRef::I16(_) => "i16",
            DataRef::I32(_) => "i32",
            DataRef::I64(_) => "i64",
            DataRef::I8(_) => "i8",
            DataRef::U8(_) => "u8",
            DataRef::Bool(_) => "bool",
        }
    }

    /// Refuses elements that are not stored as `dtype` is.
    pub(super) fn check_storage(self, dtype: DType) -> Result<(), Diagnostic> {
        let (found, wanted) = (self.storage(), storage(dtype));
        if found == wanted || (found, dtype) == ("bool", DType::Bool) {
            return Ok(());
        }
        let message = format!("`{}` elements are stored as {wanted}, not {found}", dtype.name());
        Err(Diagnostic::new(Code::InputType, message).help("convert the values, or name the type they have"))
    }

    /// The value of the element stored at `i`; see [`Tensor::value`].
    pub(super) fn value(self, dtype: DType, i: usize) -> f64 {
        match self {
            DataRef::F32(v) => v[i] as f64,
            DataRef::F64(v) => v[i],
            DataRef::U16(v) if dtype == DType::F16 => f16_to_f32(v[i]) as f64,
            DataRef::U16(v) => bf16_to_f32(v[i]) as f64,
            DataRef::I16(v) => v[i] as f64,
            DataRef::I32(v) => v[i] as f64,
            DataRef::I64(v) => v[i] as f64,
            DataRef::I8(v) => v[i] as f64,
            DataRef::U8(v) => match (dtype.minifloat(), dtype) {
                (Some(f), _) => f.decode(v[i]) as f64,
                (None, DType::E8M0) => e8m0_value(v[i]) as f64,
                (None, _) => v[i] as f64,
            },
            DataRef::Bool(v) => v[i] as u8 as f64,
        }
    }

    /// The integer stored at `i`; `None` for floats.
    pub(super) fn int(self, dtype: DType, i: usize) -> Option<i64> {
        match self {
            DataRef::I16(v) => Some(v[i] as i64),
            DataRef::I32(v) => Some(v[i] as i64),
            DataRef::I64(v) => Some(v[i]),
            DataRef::I8(v) => Some(v[i] as i64),
            DataRef::U8(v) if !dtype.is_float() => Some(v[i] as i64),
            DataRef::Bool(v) => Some(v[i] as i64),
            _ => None,
        }
    }
}

impl DataMut<'_> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        each!(self, DataMut, v => v.len())
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Address of the first element, to write.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        each!(self, DataMut, v => v.as_mut_ptr().cast())
    }

    /// The same elements to read.
    fn view(&self) -> DataRef<'_> {
        match self {
            DataMut::F32(v) => DataRef::F32(v),
            DataMut::F64(v) => DataRef::F64(v),
            DataMut::U16(v) => DataRef::U16(v),
            DataMut::I16(v) => DataRef::I16(v),
            DataMut::I32(v) => DataRef::I32(v),
            DataMut::I64(v) => DataRef::I64(v),
            DataMut::I8(v) => DataRef::I8(v),
            DataMut::U8(v) => DataRef::U8(v),
            DataMut::Bool(v) => DataRef::Bool(v),
        }
    }
}

/// A tensor over borrowed elements, dense or strided. Every element that an index within `shape`
/// names lies in the slice. Codes of 4-bit types and `bool` may still be out of range; see
/// [`TensorView::check_codes`].
///
/// ```
/// use msd_ir::dtype::DType;
/// use msd_ir::tensor::{DataRef, TensorView};
///
/// // The transpose of a matrix of 2 rows and 3 columns.
/// let data = DataRef::F32(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
/// let transpose = TensorView::strided(DType::F32, &[3, 2], &[1, 3], data)?;
/// assert_eq!(transpose.to_tensor()?.to_f32(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
/// # Ok::<(), msd_ir::diag::Diagnostic>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    dtype: DType,
    shape: &'a [usize],
    /// In elements; `None` where the elements lie densely, row-major, and `data` is exactly they.
    strides: Option<&'a [usize]>,
    data: DataRef<'a>,
    /// Product of the sizes.
    len: usize,
    /// Whether whoever made the view vouches for the codes.
    is_checked: bool,
}

impl<'a> TensorView<'a> {
    /// A dense row-major tensor of `dtype` over `data`, one storage element per element (4-bit
    /// types too).
    ///
    /// # Errors
    /// `InputType` if `dtype` is not stored so; `InputShape` if `data` has another number of
    /// elements than `shape`.
    pub fn new(dtype: DType, shape: &'a [usize], data: DataRef<'a>) -> Result<TensorView<'a>, Diagnostic> {
        data.check_storage(dtype)?;
        let len = count(shape, data.len())?;
        Ok(TensorView { dtype, shape, strides: None, data, len, is_checked: false })
    }

    /// A tensor whose element at index `i` is `data[sum(i[axis] * strides[axis])]`. `data` may hold
    /// more than is reached; a stride of 0 repeats. Strides that describe a dense tensor are
    /// dropped.
    ///
    /// # Errors
    /// `InputType` if `dtype` is not stored so; `InputShape` if there is not a stride per axis or
    /// an element lies beyond `data`; `TooLarge` if the number of elements overflows.
    pub fn strided(
        dtype: DType,
        shape: &'a [usize],
        strides: &'a [usize],
        data: DataRef<'a>,
    ) -> Result<TensorView<'a>, Diagnostic> {
        data.check_storage(dtype)?;
        if strides.len() != shape.len() {
            let message = format!("{} strides for the {} axes of {shape:?}", strides.len(), shape.len());
            return Err(Diagnostic::new(Code::InputShape, message).help("give one stride per axis"));
        }
        let len = super::checked_count(shape)?;
        let last = || shape.iter().zip(strides).try_fold(0usize, |at, (n, s)| at.checked_add((n - 1).checked_mul(*s)?));
        if len > 0 && last().is_none_or(|last| last >= data.len()) {
            let found = data.len();
            let message = format!("shape {shape:?} with strides {strides:?} reaches beyond the {found} elements given");
            return Err(Diagnostic::new(Code::InputShape, message).help("strides count elements, not bytes"));
        }
        let (strides, data) = if is_dense(shape, strides) { (None, data.first(len)) } else { (Some(strides), data) };
        Ok(TensorView { dtype, shape, strides, data, len, is_checked: false })
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes along each axis.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// Distance of neighbours along each axis in elements; `None` if the tensor is dense.
    pub fn strides(&self) -> Option<&'a [usize]> {
        self.strides
    }

    /// The storage; exactly the elements in row-major order if the tensor is dense.
    pub fn data(&self) -> DataRef<'a> {
        self.data
    }

    /// Number of elements, which for a strided tensor is not that of the storage.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the elements lie one after the other in row-major order.
    pub fn is_dense(&self) -> bool {
        self.strides.is_none()
    }

    /// Element `i` in row-major order as a float; see [`Tensor::value`].
    ///
    /// # Panics
    /// If there are fewer elements.
    pub fn value(&self, i: usize) -> f64 {
        self.data.value(self.dtype, self.offset(i))
    }

    /// Element `i` in row-major order as an integer; `None` for floats.
    ///
    /// # Panics
    /// If there are fewer elements.
    pub fn int(&self, i: usize) -> Option<i64> {
        self.data.int(self.dtype, self.offset(i))
    }

    /// Refuses codes outside the element type, naming the first: `i4` -8..=7, `u4` and the 4-bit
    /// floats 0..=15, `bool` 0 and 1. Free for types of which every stored value is an element,
    /// and for views of a [`Tensor`], which has checked its own.
    ///
    /// # Errors
    /// `CodeOutOfRange`.
    pub fn check_codes(&self) -> Result<(), Diagnostic> {
        if self.is_checked {
            return Ok(());
        }
        let bad = match (self.data, self.dtype.code_range()) {
            (DataRef::I8(v), Some((low, high))) if low > i8::MIN as i64 => {
                let (low, high) = (low as i8, high as i8);
                self.first(v, |x| (x < low) | (x > high))
            }
            (DataRef::U8(v), Some((_, high))) if high < u8::MAX as i64 => {
                let high = high as u8;
                self.first(v, |x| x > high)
            }
            _ => None,
        };
        let code = |i: usize| match self.data {
            DataRef::U8(v) => v[self.offset(i)] as i64,
            data => data.int(self.dtype, self.offset(i)).unwrap_or_default(),
        };
        bad.map_or(Ok(()), |i| Err(element_fault(self.dtype, i, code(i))))
    }

    /// Whether every element is a finite number. Integers and truth values are.
    pub fn all_finite(&self) -> bool {
        self.first_not_finite().is_none()
    }

    /// The first element, in row-major order, that is NaN or infinite.
    pub fn first_not_finite(&self) -> Option<usize> {
        /// All ones in the exponent: infinity or NaN.
        fn lacks(bits: u32, exponent: u32) -> bool {
            bits & exponent == exponent
        }
        match (self.data, self.dtype) {
            (DataRef::F32(v), _) => self.first(v, |x| lacks(x.to_bits(), 0x7F80_0000)),
            (DataRef::F64(v), _) => self.first(v, |x| !x.is_finite()),
            (DataRef::U16(v), DType::F16) => self.first(v, |x| lacks(x as u32, 0x7C00)),
            (DataRef::U16(v), _) => self.first(v, |x| lacks(x as u32, 0x7F80)),
            (DataRef::U8(v), DType::E8M0) => self.first(v, |x| x == 0xFF),
            (DataRef::U8(v), dtype) => dtype.minifloat().and_then(|format| {
                let (mask, largest) = (format.magnitude_mask(), format.largest_code());
                self.first(v, |x| x & mask > largest)
            }),
            _ => None,
        }
    }

    /// An owned dense copy.
    ///
    /// # Errors
    /// `CodeOutOfRange` as [`TensorView::check_codes`]; `TooLarge` if the memory cannot be had.
    pub fn to_tensor(&self) -> Result<Tensor, Diagnostic> {
        self.check_codes()?;
        let data = match self.data {
            DataRef::F32(v) => Data::F32(self.copy(v)?),
            DataRef::F64(v) => Data::F64(self.copy(v)?),
            DataRef::U16(v) => Data::U16(self.copy(v)?),
            DataRef::I16(v) => Data::I16(self.copy(v)?),
            DataRef::I32(v) => Data::I32(self.copy(v)?),
            DataRef::I64(v) => Data::I64(self.copy(v)?),
            DataRef::I8(v) => Data::I8(self.copy(v)?),
            DataRef::U8(v) => Data::U8(self.copy(v)?),
            DataRef::Bool(v) => Data::U8(self.copy(v)?.into_iter().map(u8::from).collect()),
        };
        Ok(Tensor { dtype: self.dtype, shape: self.shape.to_vec(), data })
    }

    fn copy<T: Copy>(&self, data: &[T]) -> Result<Vec<T>, Diagnostic> {
        let mut copy = Vec::new();
        copy.try_reserve_exact(self.len).map_err(|_| super::no_memory(self.dtype, self.shape))?;
        let Some((columns, strides)) = self.rows() else {
            copy.extend_from_slice(data);
            return Ok(copy);
        };
        let step = strides.last().copied().unwrap_or(0);
        for row in 0..self.len / columns {
            let start = self.offset(row * columns);
            copy.extend((0..columns).map(|i| data[start + i * step]));
        }
        Ok(copy)
    }

    /// Length of a row and the strides of a strided view, which is never empty.
    fn rows(&self) -> Option<(usize, &'a [usize])> {
        self.strides.map(|strides| (self.shape.last().copied().unwrap_or(1), strides))
    }

    /// Where in the storage element `i` in row-major order lies.
    fn offset(&self, i: usize) -> usize {
        let Some(strides) = self.strides else { return i };
        assert!(i < self.len(), "element {i} of {}", self.len());
        let (mut rest, mut at) = (i, 0);
        for (size, stride) in self.shape.iter().zip(strides).rev() {
            at += rest % size * stride;
            rest /= size;
        }
        at
    }

    /// The first element in row-major order for which `is_bad` holds.
    fn first<T: Copy>(&self, data: &[T], is_bad: impl Fn(T) -> bool) -> Option<usize> {
        let Some((columns, strides)) = self.rows() else {
            // No branch within a block, so that the loop runs in vector registers.
            const BLOCK: usize = 1 << 12;
            let block = data.chunks(BLOCK).position(|c| c.iter().fold(false, |bad, x| bad | is_bad(*x)))?;
            let start = block * BLOCK;
            return data[start..].iter().position(|x| is_bad(*x)).map(|i| start + i);
        };
        let step = strides.last().copied().unwrap_or(0);
        let columns = if step == 0 { 1 } else { columns };
        let distinct: usize = self.shape.iter().zip(strides).map(|(size, stride)| extent(*size, *stride)).product();
        (0..distinct / columns).find_map(|row| {
            let (start, index) = self.place(row * columns);
            (0..columns).find(|i| is_bad(data[start + i * step])).map(|i| index + i)
        })
    }

    /// Of the elements that differ in more than axes of stride 0, where the `i`-th lies in the
    /// storage, and its first index in row-major order.
    fn place(&self, i: usize) -> (usize, usize) {
        let (mut rest, mut at, mut index, mut apart) = (i, 0, 0, 1);
        for (size, stride) in self.shape.iter().zip(self.strides.unwrap_or_default()).rev() {
            let extent = extent(*size, *stride);
            at += rest % extent * stride;
            index += rest % extent * apart;
            rest /= extent;
            apart *= size;
        }
        (at, index)
    }
}

/// How many elements along an axis are not repetitions.
fn extent(size: usize, stride: usize) -> usize {
    if stride == 0 { 1 } else { size }
}

/// Whether these strides are those of a dense row-major tensor. Axes of size 1 never step.
fn is_dense(shape: &[usize], strides: &[usize]) -> bool {
    let mut wanted = 1;
    shape.contains(&0)
        || shape.iter().zip(strides).rev().all(|(size, stride)| {
            let fits = *size == 1 || *stride == wanted;
            wanted *= size;
            fits
        })
}

/// A dense row-major tensor over borrowed elements, to be written.
///
/// ```
/// use msd_ir::dtype::DType;
/// use msd_ir::tensor::{DataMut, TensorViewMut};
///
/// let mut y = [0.0; 6];
/// assert_eq!(TensorViewMut::new(DType::F32, &[2, 3], DataMut::F32(&mut y))?.len(), 6);
/// # Ok::<(), msd_ir::diag::Diagnostic>(())
/// ```
#[derive(Debug)]
pub struct TensorViewMut<'a> {
    dtype: DType,
    shape: &'a [usize],
    data: DataMut<'a>,
}

impl<'a> TensorViewMut<'a> {
    /// A tensor of `dtype` over `data`.
    ///
    /// # Errors
    /// As [`TensorView::new`].
    pub fn new(dtype: DType, shape: &'a [usize], data: DataMut<'a>) -> Result<TensorViewMut<'a>, Diagnostic> {
        data.view().check_storage(dtype)?;
        count(shape, data.len())?;
        Ok(TensorViewMut { dtype, shape, data })
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes along each axis.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Address of the first element, for code that fills the tensor; see [`Tensor::as_mut_ptr`].
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.data.as_mut_ptr()
    }

    /// The same tensor to read.
    pub fn view(&self) -> TensorView<'_> {
        let data = self.data.view();
        TensorView { dtype: self.dtype, shape: self.shape, strides: None, data, len: data.len(), is_checked: false }
    }
}

impl Tensor {
    /// The tensor to read.
    pub fn view(&self) -> TensorView<'_> {
        let data = self.data.view();
        TensorView { dtype: self.dtype, shape: &self.shape, strides: None, data, len: data.len(), is_checked: true }
    }

    /// The tensor to write. Codes are the writer's to keep in range.
    pub fn view_mut(&mut self) -> TensorViewMut<'_> {
        TensorViewMut { dtype: self.dtype, shape: &self.shape, data: self.data.view_mut() }
    }
}

impl<'a> From<&'a Tensor> for TensorView<'a> {
    fn from(tensor: &'a Tensor) -> TensorView<'a> {
        tensor.view()
    }
}
