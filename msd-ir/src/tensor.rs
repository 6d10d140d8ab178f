//! Arrays on the host: what files are read into, kernels are called with and the evaluator
//! returns. Row-major, 4-bit types one value per byte. Owns storage and element access, no IO.

use crate::dtype::{DType, bf16_to_f32, e8m0_code, e8m0_value, f16_to_f32, f32_to_bf16, f32_to_f16};

/// Elements as stored, one vector per width.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// `f32`
    F32(Vec<f32>),
    /// `f64`
    F64(Vec<f64>),
    /// `f16` and `bf16` bits
    U16(Vec<u16>),
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
        match self {
            Data::F32(v) => v.len(),
            Data::F64(v) => v.len(),
            Data::U16(v) => v.len(),
            Data::I32(v) => v.len(),
            Data::I64(v) => v.len(),
            Data::I8(v) => v.len(),
            Data::U8(v) => v.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Address of the first element.
    pub fn as_ptr(&self) -> *const u8 {
        match self {
            Data::F32(v) => v.as_ptr().cast(),
            Data::F64(v) => v.as_ptr().cast(),
            Data::U16(v) => v.as_ptr().cast(),
            Data::I32(v) => v.as_ptr().cast(),
            Data::I64(v) => v.as_ptr().cast(),
            Data::I8(v) => v.as_ptr().cast(),
            Data::U8(v) => v.as_ptr().cast(),
        }
    }

    /// Address of the first element, to write.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        match self {
            Data::F32(v) => v.as_mut_ptr().cast(),
            Data::F64(v) => v.as_mut_ptr().cast(),
            Data::U16(v) => v.as_mut_ptr().cast(),
            Data::I32(v) => v.as_mut_ptr().cast(),
            Data::I64(v) => v.as_mut_ptr().cast(),
            Data::I8(v) => v.as_mut_ptr().cast(),
            Data::U8(v) => v.as_mut_ptr().cast(),
        }
    }
}

/// A dense row-major array.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Data,
}

/// Product of the sizes, if it does not overflow.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, s| n.checked_mul(*s))
}

impl Tensor {
    /// Wraps elements; `None` if their number or storage does not fit `dtype` and `shape`, or if
    /// an integer lies outside its type (`i4`: -8..=7).
    pub fn new(dtype: DType, shape: Vec<usize>, data: Data) -> Option<Tensor> {
        let matches =
            matches!(
                (dtype, &data),
                (DType::F32, Data::F32(_))
                    | (DType::F64, Data::F64(_))
                    | (DType::F16 | DType::BF16, Data::U16(_))
                    | (DType::I32, Data::I32(_))
                    | (DType::I64, Data::I64(_))
                    | (DType::I8 | DType::I4, Data::I8(_))
            ) || (matches!(data, Data::U8(_)) && dtype.host_bytes() == 1 && !matches!(dtype, DType::I8 | DType::I4));
        let in_range = match (&data, dtype) {
            (Data::I8(v), DType::I4) => v.iter().all(|x| (-8..=7).contains(x)),
            (Data::U8(v), DType::Bool) => v.iter().all(|x| *x <= 1),
            (Data::U8(v), d) if d.bits() == 4 => v.iter().all(|x| *x <= 15),
            _ => true,
        };
        (matches && in_range && element_count(&shape) == Some(data.len())).then_some(Tensor { dtype, shape, data })
    }

    /// All zeros (code 0 for the small floats); `None` if the memory cannot be had.
    pub fn zeros(dtype: DType, shape: Vec<usize>) -> Option<Tensor> {
        fn zeros<T: Clone + Default>(n: usize) -> Option<Vec<T>> {
            let mut values = Vec::new();
            values.try_reserve_exact(n).ok()?;
            values.resize(n, T::default());
            Some(values)
        }
        let n = element_count(&shape)?;
        let data = match dtype {
            DType::F32 => Data::F32(zeros(n)?),
            DType::F64 => Data::F64(zeros(n)?),
            DType::F16 | DType::BF16 => Data::U16(zeros(n)?),
            DType::I32 => Data::I32(zeros(n)?),
            DType::I64 => Data::I64(zeros(n)?),
            DType::I8 | DType::I4 => Data::I8(zeros(n)?),
            _ => Data::U8(zeros(n)?),
        };
        Some(Tensor { dtype, shape, data })
    }

    /// Converts F32 values to `dtype`: nearest even, saturating for integers and small floats.
    pub fn from_f32(dtype: DType, shape: Vec<usize>, values: &[f32]) -> Option<Tensor> {
        let data = match dtype {
            DType::F32 => Data::F32(values.to_vec()),
            DType::F64 => Data::F64(values.iter().map(|v| *v as f64).collect()),
            DType::F16 => Data::U16(values.iter().map(|v| f32_to_f16(*v)).collect()),
            DType::BF16 => Data::U16(values.iter().map(|v| f32_to_bf16(*v)).collect()),
            _ => return Tensor::from_codes(dtype, shape, values.iter().map(|v| encode(dtype, *v))),
        };
        Tensor::new(dtype, shape, data)
    }

    /// Builds an integer, `bool` or small-float tensor from integer values or codes that lie in
    /// the type's range.
    pub fn from_codes(dtype: DType, shape: Vec<usize>, codes: impl Iterator<Item = i64>) -> Option<Tensor> {
        let data = match dtype {
            DType::I64 => Data::I64(codes.collect()),
            DType::I32 => Data::I32(codes.map(|c| c as i32).collect()),
            DType::I8 | DType::I4 => Data::I8(codes.map(|c| c as i8).collect()),
            DType::F32 | DType::F64 | DType::F16 | DType::BF16 => return None,
            _ => Data::U8(codes.map(|c| c as u8).collect()),
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

    /// Address of the first element, for code that fills the tensor. Element type, number of
    /// elements and, for `i4`, `u4` and `bool`, their range are the writer's to keep.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.data.as_mut_ptr()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The same elements under another shape of the same size.
    pub fn reshaped(mut self, shape: Vec<usize>) -> Option<Tensor> {
        (element_count(&shape) == Some(self.len())).then(|| {
            self.shape = shape;
            self
        })
    }

    /// Element `i` in row-major order as a float; exact for every type up to 32 bits but `i32`
    /// beyond 2^24, which rounds.
    pub fn value(&self, i: usize) -> f64 {
        match &self.data {
            Data::F32(v) => v[i] as f64,
            Data::F64(v) => v[i],
            Data::U16(v) if self.dtype == DType::F16 => f16_to_f32(v[i]) as f64,
            Data::U16(v) => bf16_to_f32(v[i]) as f64,
            Data::I32(v) => v[i] as f64,
            Data::I64(v) => v[i] as f64,
            Data::I8(v) => v[i] as f64,
            Data::U8(v) => match (self.dtype.minifloat(), self.dtype) {
                (Some(f), _) => f.decode(v[i]) as f64,
                (None, DType::E8M0) => e8m0_value(v[i]) as f64,
                (None, _) => v[i] as f64,
            },
        }
    }

    /// Element `i` as an integer; `None` for floats.
    pub fn int(&self, i: usize) -> Option<i64> {
        match &self.data {
            Data::I32(v) => Some(v[i] as i64),
            Data::I64(v) => Some(v[i]),
            Data::I8(v) => Some(v[i] as i64),
            Data::U8(v) if !self.dtype.is_float() => Some(v[i] as i64),
            _ => None,
        }
    }

    /// Every element as F32, rounded to nearest even where the type is wider.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.data {
            Data::F32(v) => v.clone(),
            Data::I32(v) => v.iter().map(|x| *x as f32).collect(),
            Data::I64(v) => v.iter().map(|x| *x as f32).collect(),
            _ => (0..self.len()).map(|i| self.value(i) as f32).collect(),
        }
    }
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
