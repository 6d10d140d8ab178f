//! The Rust types that elements of arrays have, and which element types of kernels each stores.
//! Owns that table; conversions of values belong to [`Tensor`](crate::Tensor) and to `half`.

use std::fmt::Debug;

use half::{bf16, f16};
use msd_ir::dtype::DType;

/// A Rust type that stores elements: `f32`, [`f16`](struct@f16), [`bf16`], `i32`, `i8`, `u8` or `bool`.
///
/// The element types of kernels that Rust lacks are stored as their codes, one per element: `i4`
/// in `i8`; `u4` and the small floats `e4m3`, `e5m2`, `e2m1`, `e1m2`, `e8m0` in `u8`. See
/// [`View::codes`](crate::View::codes). Sealed: code generation knows these and no others.
///
/// ```
/// use msd::{DType, Element, bf16};
///
/// assert_eq!(bf16::DTYPE, DType::BF16);
/// assert!(i8::stores(DType::I4) && u8::stores(DType::E4M3) && !u8::stores(DType::I4));
/// ```
pub trait Element: storage::Storage {
    /// The element type of the same meaning.
    const DTYPE: DType;

    /// Whether elements of type `dtype` are stored in this Rust type.
    fn stores(dtype: DType) -> bool {
        let codes: &[DType] = match Self::DTYPE {
            DType::I8 => &[DType::I4],
            DType::U8 => &[DType::U4, DType::E4M3, DType::E5M2, DType::E2M1, DType::E1M2, DType::E8M0],
            _ => &[],
        };
        dtype == Self::DTYPE || codes.contains(&dtype)
    }
}

pub(crate) mod storage {
    //! What a sealed trait needs of its types and nobody else may call.

    use half::slice::HalfFloatSliceExt;
    use half::vec::{HalfBitsVecExt, HalfFloatVecExt};
    use msd_ir::tensor::{Data, DataMut, DataRef};

    use super::{Debug, bf16, f16};

    pub trait Storage: Copy + Default + PartialEq + Debug + Send + Sync + 'static {
        fn data(elements: &[Self]) -> DataRef<'_>;
        fn data_mut(elements: &mut [Self]) -> DataMut<'_>;
        fn into_data(elements: Vec<Self>) -> Data;
        /// `None` for elements stored otherwise.
        fn from_data(data: Data) -> Option<Vec<Self>>;
    }

    macro_rules! plain {
        ($($type:ty: $variant:ident,)*) => {$(
            impl Storage for $type {
                fn data(elements: &[Self]) -> DataRef<'_> {
                    DataRef::$variant(elements)
                }

                fn data_mut(elements: &mut [Self]) -> DataMut<'_> {
                    DataMut::$variant(elements)
                }

                fn into_data(elements: Vec<Self>) -> Data {
                    Data::$variant(elements)
                }

                fn from_data(data: Data) -> Option<Vec<Self>> {
                    if let Data::$variant(elements) = data { Some(elements) } else { None }
                }
            }
        )*};
    }
    plain! { f32: F32, i32: I32, i8: I8, u8: U8, }

    macro_rules! halves {
        ($($type:ty,)*) => {$(
            impl Storage for $type {
                fn data(elements: &[Self]) -> DataRef<'_> {
                    DataRef::U16(elements.reinterpret_cast())
                }

                fn data_mut(elements: &mut [Self]) -> DataMut<'_> {
                    DataMut::U16(elements.reinterpret_cast_mut())
                }

                fn into_data(elements: Vec<Self>) -> Data {
                    Data::U16(elements.reinterpret_into())
                }

                fn from_data(data: Data) -> Option<Vec<Self>> {
                    if let Data::U16(bits) = data { Some(bits.reinterpret_into()) } else { None }
                }
            }
        )*};
    }
    halves! { f16, bf16, }

    impl Storage for bool {
        fn data(elements: &[bool]) -> DataRef<'_> {
            DataRef::Bool(elements)
        }

        fn data_mut(elements: &mut [bool]) -> DataMut<'_> {
            DataMut::Bool(elements)
        }

        fn into_data(elements: Vec<bool>) -> Data {
            Data::U8(elements.into_iter().map(u8::from).collect())
        }

        fn from_data(data: Data) -> Option<Vec<bool>> {
            if let Data::U8(codes) = data { Some(codes.into_iter().map(|c| c != 0).collect()) } else { None }
        }
    }
}

macro_rules! elements {
    ($($type:ty: $dtype:ident,)*) => {$(
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
        }
    )*};
}
elements! { f32: F32, f16: F16, bf16: BF16, i32: I32, i8: I8, u8: U8, bool: Bool, }
