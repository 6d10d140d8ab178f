//! Arrays on the host: what files are read into, kernels are called with and the evaluator
//! returns. Row-major, 4-bit types one value per byte. Owns storage and element access, no IO.

mod view;

use std::fmt;

use half::vec::HalfFloatVecExt;
use half::{bf16, f16};

use crate::diag::{Code, Diagnostic};
use crate::dtype::{DType, e8m0_code, f32_to_bf16, f32_to_f16};

pub use view::{DataMut, DataRef, TensorView, TensorViewMut};

/// Elements as stored, one vector per width.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// `f32`
    F32(Vec<f32>),
    /// `f64`
    F64(Vec<f64>),
    /// `f16` and `bf16` bits
    U16(Vec<u16>),
    /// `i16`
    I16(Vec<i16>),
    /// `i32`
    I32(Vec<i32>),
    /// `i64`
    I64(Vec<i64>),
    /// `i8` and `i4` values
    I8(Vec<i8>),
    /// `u8` and `u4` values, codes of the small floats, `bool` as 0 and 1
    U8(Vec<u8>),
}

impl Data {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Address of the first element.
    pub fn as_ptr(&self) -> *const u8 {
        self.view().as_ptr()
    }

    /// The elements to read.
    pub fn view(&self) -> DataRef<'_> {
        match self {
            Data::F32(v) => DataRef::F32(v),
            Data::F64(v) => DataRef::F64(v),
            Data::U16(v) => DataRef::U16(v),
            Data::I16(v) => DataRef::I16(v),
            Data::I32(v) => DataRef::I32(v),
            Data::I64(v) => DataRef::I64(v),
            Data::I8(v) => DataRef::I8(v),
            Data::U8(v) => DataRef::U8(v),
        }
    }

    /// The elements to write.
    pub fn view_mut(&mut self) -> DataMut<'_> {
        match self {
            Data::F32(v) => DataMut::F32(v),
            Data::F64(v) => DataMut::F64(v),
            Data::U16(v) => DataMut::U16(v),
            Data::I16(v) => DataMut::I16(v),
            Data::I32(v) => DataMut::I32(v),
            Data::I64(v) => DataMut::I64(v),
            Data::I8(v) => DataMut::I8(v),
            Data::U8(v) => DataMut::U8(v),
        }
    }
}

/// A dense row-major array, element type and rank known at run time.
///
/// ```
/// use msd_ir::dtype::DType;
/// use msd_ir::tensor::Tensor;
///
/// let halves = Tensor::from_f32(DType::BF16, vec![2, 2], &[1.0, 2.0, 3.0, 0.1])?;
/// assert_eq!(halves.value(3), 0.10009765625);
/// let codes = Tensor::from(vec![-3i8, 7]).reshaped(vec![2, 1])?;
/// assert_eq!((codes.dtype(), codes.shape(), codes.int(0)), (DType::I8, &[2, 1][..], Some(-3)));
/// # Ok::<(), msd_ir::diag::Diagnostic>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Data,
}

/// Elements that `Debug` shows: weights have millions.
const SHOWN: usize = 16;

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?} [", self.dtype.name(), self.shape)?;
        for i in 0..self.len().min(SHOWN) {
            write!(f, "{}{}", if i > 0 { ", " } else { "" }, self.value(i))?;
        }
        f.write_str(if self.len() > SHOWN { ", ..]" } else { "]" })
    }
}

/// Product of the sizes, if it does not overflow.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, s| n.checked_mul(*s))
}

/// The same, or the reason why not.
fn checked_count(shape: &[usize]) -> Result<usize, Diagnostic> {
    element_count(shape).ok_or_else(|| {
        let message = format!("the number of elements of shape {shape:?} overflows");
        Diagnostic::new(Code::TooLarge, message).help("choose smaller sizes")
    })
}

/// Number of elements of `shape`, which must be `found`.
fn count(shape: &[usize], found: usize) -> Result<usize, Diagnostic> {
    let wanted = checked_count(shape)?;
    if wanted == found {
        return Ok(wanted);
    }
    let message = format!("shape {shape:?} has {wanted} elements, not the {found} given");
    Err(Diagnostic::new(Code::InputShape, message).help("change the shape, or give an element for each index"))
}

/// The Rust type that elements are stored as.
fn storage(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "f32",
        DType::F64 => "f64",
        DType::F16 | DType::BF16 => "u16",
        DType::I16 => "i16",
        DType::I32 => "i32",
        DType::I64 => "i64",
        DType::I8 | DType::I4 => "i8",
        DType::U8 | DType::U4 | DType::Bool | DType::E8M0 => "u8",
        DType::E4M3 | DType::E5M2 | DType::E2M1 | DType::E1M2 => "u8",
    }
}

fn element_fault(dtype: DType, i: usize, code: i64) -> Diagnostic {
    let (low, high) = dtype.code_range().unwrap_or_default();
    Diagnostic::new(Code::CodeOutOfRange, format!("element {i} is {code}, which is no `{}`", dtype.name()))
        .help(format!("`{}` is stored as {low} to {high}, one element a byte", dtype.name()))
}

fn no_memory(dtype: DType, shape: &[usize]) -> Diagnostic {
    let message = format!("no memory for a `{}` tensor of shape {shape:?}", dtype.name());
    Diagnostic::new(Code::TooLarge, message).help("choose smaller sizes")
}

impl Tensor {
    /// Wraps elements.
    ///
    /// # Errors
    /// `InputType` if `dtype` is not stored so; `InputShape` if `data` has another number of
    /// elements than `shape`; `CodeOutOfRange` if one lies outside its type (`i4`: -8..=7).
    pub fn new(dtype: DType, shape: Vec<usize>, data: Data) -> Result<Tensor, Diagnostic> {
        TensorView::new(dtype, &shape, data.view())?.check_codes()?;
        Ok(Tensor { dtype, shape, data })
    }

    /// All zeros (code 0 for the small floats).
    ///
    /// # Errors
    /// `TooLarge` if the memory cannot be had.
    pub fn zeros(dtype: DType, shape: Vec<usize>) -> Result<Tensor, Diagnostic> {
        fn zeros<T: Clone + Default>(n: usize) -> Option<Vec<T>> {
            let mut values = Vec::new();
            values.try_reserve_exact(n).ok()?;
            values.resize(n, T::default());
            Some(values)
        }
        let n = checked_count(&shape)?;
        let data = match dtype {
            DType::F32 => zeros(n).map(Data::F32),
            DType::F64 => zeros(n).map(Data::F64),
            DType::F16 | DType::BF16 => zeros(n).map(Data::U16),
            DType::I16 => zeros(n).map(Data::I16),
            DType::I32 => zeros(n).map(Data::I32),
            DType::I64 => zeros(n).map(Data::I64),
            DType::I8 | DType::I4 => zeros(n).map(Data::I8),
            _ => zeros(n).map(Data::U8),
        };
        let data = data.ok_or_else(|| no_memory(dtype, &shape))?;
        Ok(Tensor { dtype, shape, data })
    }

    /// Converts F32 values to `dtype`: nearest even, saturating for integers and small floats.
    ///
    /// # Errors
    /// `InputShape` if there are more or fewer values than `shape` has elements.
    pub fn from_f32(dtype: DType, shape: Vec<usize>, values: &[f32]) -> Result<Tensor, Diagnostic> {
        let data = match dtype {
            DType::F32 => Data::F32(values.to_vec()),
            DType::F64 => Data::F64(values.iter().map(|v| *v as f64).collect()),
            DType::F16 => Data::U16(values.iter().map(|v| f32_to_f16(*v)).collect()),
            DType::BF16 => Data::U16(values.iter().map(|v| f32_to_bf16(*v)).collect()),
            _ => return Tensor::from_codes(dtype, shape, values.iter().map(|v| encode(dtype, *v))),
        };
        Tensor::new(dtype, shape, data)
    }

    /// Builds an integer, `bool` or small-float tensor from integer values or codes.
    ///
    /// # Errors
    /// As [`Tensor::new`]; `InputType` for floats of 16 bits or more, which have no codes.
    pub fn from_codes(dtype: DType, shape: Vec<usize>, codes: impl Iterator<Item = i64>) -> Result<Tensor, Diagnostic> {
        /// Whatever fits the storage; the range of 4-bit types is checked with the rest.
        fn narrow<T: TryFrom<i64>>(dtype: DType, codes: impl Iterator<Item = i64>) -> Result<Vec<T>, Diagnostic> {
            let mut narrowed = Vec::with_capacity(codes.size_hint().0);
            for (i, code) in codes.enumerate() {
                narrowed.push(T::try_from(code).map_err(|_| element_fault(dtype, i, code))?);
            }
            Ok(narrowed)
        }
        let data = match dtype {
            DType::I64 => Data::I64(codes.collect()),
            DType::I16 => Data::I16(narrow(dtype, codes)?),
            DType::I32 => Data::I32(narrow(dtype, codes)?),
            DType::I8 | DType::I4 => Data::I8(narrow(dtype, codes)?),
            DType::F32 | DType::F64 | DType::F16 | DType::BF16 => {
                let message = format!("`{}` elements are given by value, not by code", dtype.name());
                return Err(Diagnostic::new(Code::InputType, message).help("use `Tensor::from_f32`"));
            }
            _ => Data::U8(narrow(dtype, codes)?),
        };
        Tensor::new(dtype, shape, data)
    }

    /// Builds a tensor of 4-bit elements from two to a byte, the low half first, as most files pack
    /// them. The last axis is even.
    ///
    /// # Errors
    /// `InputType` if `dtype` does not have 4 bits; `InputShape` if `shape` has another number of
    /// elements than `bytes` has halves, or an odd last axis.
    ///
    /// ```
    /// use msd_ir::dtype::DType;
    /// use msd_ir::tensor::Tensor;
    ///
    /// let codes = Tensor::from_nibbles(DType::U4, vec![1, 4], &[0x21, 0xF3])?;
    /// assert_eq!(codes.to_f32(), [1.0, 2.0, 3.0, 15.0]);
    /// assert_eq!(Tensor::from_nibbles(DType::I4, vec![2], &[0xF8])?.to_f32(), [-8.0, -1.0]);
    /// # Ok::<(), msd_ir::diag::Diagnostic>(())
    /// ```
    pub fn from_nibbles(dtype: DType, shape: Vec<usize>, bytes: &[u8]) -> Result<Tensor, Diagnostic> {
        if dtype.bits() != 4 {
            let message = format!("`{}` elements are not packed two to a byte", dtype.name());
            return Err(Diagnostic::new(Code::InputType, message).help("4-bit types are `i4`, `u4`, `e2m1` and `e1m2`"));
        }
        if shape.last().is_some_and(|last| last % 2 != 0) {
            let message = format!("rows of {shape:?} do not fill their last byte");
            return Err(Diagnostic::new(Code::InputShape, message).help("give an even number of columns"));
        }
        let halves = bytes.iter().flat_map(|b| [b & 15, b >> 4]);
        let data = match dtype {
            DType::I4 => Data::I8(halves.map(|h| ((h << 4) as i8) >> 4).collect()),
            _ => Data::U8(halves.collect()),
        };
        Tensor::new(dtype, shape, data)
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Sizes along each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements as stored.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The elements as stored, without a copy.
    pub fn into_data(self) -> Data {
        self.data
    }

    /// Address of the first element, for code that fills the tensor. Element type, number of
    /// elements and, for `i4`, `u4` and `bool`, their range are the writer's to keep.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.data.view_mut().as_mut_ptr()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The same elements under another shape.
    ///
    /// # Errors
    /// `InputShape` if it has another number of elements.
    pub fn reshaped(mut self, shape: Vec<usize>) -> Result<Tensor, Diagnostic> {
        count(&shape, self.len())?;
        self.shape = shape;
        Ok(self)
    }

    /// Element `i` in row-major order as a float; exact for every type up to 32 bits but `i32`
    /// beyond 2^24, which rounds.
    pub fn value(&self, i: usize) -> f64 {
        self.data.view().value(self.dtype, i)
    }

    /// Element `i` in row-major order as an integer; `None` for floats.
    pub fn int(&self, i: usize) -> Option<i64> {
        self.data.view().int(self.dtype, i)
    }

    /// Every element as F32, rounded to nearest even where the type is wider.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.data {
            Data::F32(v) => v.clone(),
            Data::I16(v) => v.iter().map(|x| *x as f32).collect(),
            Data::I32(v) => v.iter().map(|x| *x as f32).collect(),
            Data::I64(v) => v.iter().map(|x| *x as f32).collect(),
            _ => (0..self.len()).map(|i| self.value(i) as f32).collect(),
        }
    }
}

/// One axis of the vector's length.
macro_rules! from_vec {
    ($($type:ty: $dtype:ident, $values:ident => $data:expr;)*) => {$(
        impl From<Vec<$type>> for Tensor {
            /// A tensor of one axis, without a copy (`bool` aside).
            fn from($values: Vec<$type>) -> Tensor {
                Tensor { dtype: DType::$dtype, shape: vec![$values.len()], data: $data }
            }
        }
    )*};
}
from_vec! {
    f32: F32, v => Data::F32(v);
    f64: F64, v => Data::F64(v);
    f16: F16, v => Data::U16(v.reinterpret_into());
    bf16: BF16, v => Data::U16(v.reinterpret_into());
    i32: I32, v => Data::I32(v);
    i64: I64, v => Data::I64(v);
    i8: I8, v => Data::I8(v);
    u8: U8, v => Data::U8(v);
    bool: Bool, v => Data::U8(v.into_iter().map(u8::from).collect());
}

/// The code of `value` in a type of 32 bits or fewer that is not f32, f16 or bf16.
/// Integers round to nearest even and saturate, NaN becomes 0; `bool` is `value != 0`.
pub fn encode(dtype: DType, value: f32) -> i64 {
    if let Some(f) = dtype.minifloat() {
        return f.encode(value) as i64;
    }
    match (dtype, dtype.int_range()) {
        (DType::E8M0, _) => e8m0_code(value) as i64,
        (DType::Bool, _) => (value != 0.0) as i64,
        // `as` saturates, and takes NaN to 0.
        (_, Some((low, high))) => (value.round_ties_even() as i64).clamp(low, high),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
