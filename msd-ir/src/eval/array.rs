//! Arrays as the evaluator holds them, and the conversions between what is declared and what is
//! computed in.

use std::borrow::Cow;

use crate::diag::Diagnostic;
use crate::dtype::{Class, DType};
use crate::tensor::{Data, Tensor};

/// What a computation is carried out in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Single,
    Double,
    /// Integers and truth values.
    Integer,
}

/// How floats are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    /// As the op table says: F32, or F64 where an operand is.
    Declared,
    /// Everything in F64, nothing rounded: the yardstick of error measurements.
    Double,
}

impl Precision {
    /// What values of that type are computed in.
    pub(super) fn kind(self, dtype: DType) -> Kind {
        match (dtype.class(), self) {
            (Class::Int | Class::Bool, _) => Kind::Integer,
            (Class::Float, Precision::Double) => Kind::Double,
            (Class::Float, Precision::Declared) if dtype == DType::F64 => Kind::Double,
            (Class::Float, Precision::Declared) => Kind::Single,
        }
    }

    /// F32 values as floats of this precision; exact.
    pub(super) fn float(self, values: Vec<f32>) -> Elements {
        Elements::Single(values).into_kind(self.kind(DType::F32))
    }

    /// F64 values rounded once to F32, or kept.
    pub(super) fn rounded(self, values: Vec<f64>) -> Elements {
        Elements::Double(values).into_kind(self.kind(DType::F32))
    }
}

/// Elements in row-major order.
#[derive(Clone, Debug)]
pub(super) enum Elements {
    Single(Vec<f32>),
    Double(Vec<f64>),
    Integer(Vec<i64>),
}

impl Elements {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Elements::Single(_) => Kind::Single,
            Elements::Double(_) => Kind::Double,
            Elements::Integer(_) => Kind::Integer,
        }
    }

    /// As F32: nearest even where they are wider.
    pub(super) fn single(&self) -> Cow<'_, [f32]> {
        match self {
            Elements::Single(v) => Cow::Borrowed(v),
            Elements::Double(v) => v.iter().map(|x| *x as f32).collect(),
            Elements::Integer(v) => v.iter().map(|x| *x as f32).collect(),
        }
    }

    /// As F64: exact, but for integers beyond 2^53.
    pub(super) fn double(&self) -> Cow<'_, [f64]> {
        match self {
            Elements::Single(v) => v.iter().map(|x| *x as f64).collect(),
            Elements::Double(v) => Cow::Borrowed(v),
            Elements::Integer(v) => v.iter().map(|x| *x as f64).collect(),
        }
    }

    /// As integers: floats to nearest even, saturating, NaN to 0.
    pub(super) fn integer(&self) -> Cow<'_, [i64]> {
        match self {
            // `as` saturates and takes NaN to 0.
            Elements::Single(v) => v.iter().map(|x| x.round_ties_even() as i64).collect(),
            Elements::Double(v) => v.iter().map(|x| x.round_ties_even() as i64).collect(),
            Elements::Integer(v) => Cow::Borrowed(v),
        }
    }

    pub(super) fn into_kind(self, kind: Kind) -> Elements {
        match kind {
            same if same == self.kind() => self,
            Kind::Single => Elements::Single(self.single().into_owned()),
            Kind::Double => Elements::Double(self.double().into_owned()),
            Kind::Integer => Elements::Integer(self.integer().into_owned()),
        }
    }

    /// The elements at these positions.
    pub(super) fn gather(&self, positions: &[usize]) -> Elements {
        match self {
            Elements::Single(v) => Elements::Single(positions.iter().map(|i| v[*i]).collect()),
            Elements::Double(v) => Elements::Double(positions.iter().map(|i| v[*i]).collect()),
            Elements::Integer(v) => Elements::Integer(positions.iter().map(|i| v[*i]).collect()),
        }
    }

    /// Integers modulo 2^32 where the type is `i32`; all else as it is.
    pub(super) fn wrapped(self, dtype: DType) -> Elements {
        match self {
            Elements::Integer(v) if dtype == DType::I32 => {
                Elements::Integer(v.into_iter().map(|x| x as i32 as i64).collect())
            }
            other => other,
        }
    }
}

/// A value of the graph.
#[derive(Clone, Debug)]
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) elements: Elements,
}

impl Array {
    pub(super) fn new(shape: Vec<usize>, elements: Elements) -> Array {
        Array { shape, elements }
    }

    /// A tensor's exact values.
    pub(super) fn load(tensor: &Tensor, precision: Precision) -> Array {
        let elements = match (precision.kind(tensor.dtype()), tensor.data()) {
            (Kind::Double, Data::F64(v)) => Elements::Double(v.clone()),
            (Kind::Integer, _) => Elements::Integer((0..tensor.len()).filter_map(|i| tensor.int(i)).collect()),
            (kind, _) => Elements::Single(tensor.to_f32()).into_kind(kind),
        };
        Array::new(tensor.shape().to_vec(), elements)
    }

    /// The tensor of a declared type.
    pub(super) fn into_tensor(self, dtype: DType) -> Result<Tensor, Diagnostic> {
        match (dtype.class(), dtype) {
            (Class::Int | Class::Bool, _) => {
                Tensor::from_codes(dtype, self.shape, self.elements.integer().iter().copied())
            }
            (Class::Float, DType::F64) => {
                let canonical = |x: &f64| if x.is_nan() { f64::NAN } else { *x };
                Tensor::new(dtype, self.shape, Data::F64(self.elements.double().iter().map(canonical).collect()))
            }
            (Class::Float, _) => {
                let canonical = |x: &f32| if x.is_nan() { f32::from_bits(0x7FC0_0000) } else { *x };
                let values: Vec<f32> = self.elements.single().iter().map(canonical).collect();
                match dtype.minifloat() {
                    // Values of that type already: nothing is left to saturate.
                    Some(format) => {
                        let codes = values.iter().map(|x| format.exact_code(*x) as i64);
                        Tensor::from_codes(dtype, self.shape, codes)
                    }
                    None => Tensor::from_f32(dtype, self.shape, &values),
                }
            }
        }
    }

    /// Rows along the last axis.
    pub(super) fn row_count(&self) -> usize {
        self.shape.split_last().map_or(1, |(_, outer)| outer.iter().product())
    }

    /// (rows, columns) of the last two axes and the outer axes.
    pub(super) fn matrices(&self) -> (&[usize], usize, usize) {
        let (outer, inner) = self.shape.split_at(self.shape.len().saturating_sub(2));
        match inner {
            [rows, columns] => (outer, *rows, *columns),
            _ => (&[], 1, self.shape.iter().product()),
        }
    }
}
