//! Arrays become tensors and return as what they were.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use half::{bf16, f16};
use msd_ir::dtype::DType;

use super::*;

fn returns<T: Element>(data: &[T]) {
    let array = Array::new(data.to_vec(), [data.len(), 1]).unwrap();
    let tensor = Tensor::from(array.clone());
    assert_eq!((tensor.dtype(), tensor.shape()), (T::DTYPE, &[data.len(), 1][..]));
    assert_eq!(Array::try_from(tensor).unwrap(), array);
    assert_eq!(array.view().tensor().to_tensor().unwrap(), Tensor::from(array));
}

#[test]
fn every_element_type_returns() {
    returns(&[1.5f32, -0.0]);
    returns(&[f16::ONE]);
    returns(&[bf16::ONE, bf16::MAX]);
    returns(&[i32::MIN]);
    returns(&[-128i8, 127]);
    returns(&[255u8]);
    returns(&[true, false]);
}

#[test]
fn codes_of_small_types_return_in_their_storage() {
    let codes = |dtype| Tensor::from_codes(dtype, vec![2], [1, 7].into_iter()).unwrap();
    assert_eq!(Array::<i8, 1>::try_from(codes(DType::I4)).unwrap().data(), [1, 7]);
    for dtype in [DType::U4, DType::E4M3, DType::E5M2, DType::E2M1, DType::E1M2, DType::E8M0] {
        assert_eq!(Array::<u8, 1>::try_from(codes(dtype)).unwrap().data(), [1, 7]);
    }
    let fault = |tensor: Tensor| Array::<u8, 1>::try_from(tensor).unwrap_err().code();
    assert_eq!(fault(codes(DType::I4)), Code::InputType);
    assert_eq!(fault(Tensor::zeros(DType::Bool, vec![1]).unwrap()), Code::InputType);
    assert_eq!(fault(Tensor::zeros(DType::U8, vec![1, 1]).unwrap()), Code::InputShape);
    // The same storage, another meaning.
    assert!(Array::<f16, 1>::try_from(Tensor::zeros(DType::BF16, vec![1]).unwrap()).is_err());
}

#[test]
fn elements_by_index() {
    let mut array = Array::new((0..6).collect::<Vec<i32>>(), [2, 3]).unwrap();
    assert_eq!((array[[1, 1]], array.get([0, 2]), array.get([2, 0])), (4, Some(&2), None));
    array.view_mut().data_mut()[0] = 9;
    assert_eq!((array[[0, 0]], array.view().get([0, 0])), (9, Some(9)));
    assert_eq!(Array::new(vec![1u8], [2]).unwrap_err().code(), Code::InputShape);
    assert_eq!(Array::<bool, 1>::zeros([2]).unwrap().into_vec(), [false, false]);
}

#[test]
#[should_panic(expected = "index [0, 3] lies outside the shape [2, 3]")]
fn an_index_outside_panics() {
    let array = Array::<f32, 2>::zeros([2, 3]).unwrap();
    let _ = array[[0, 3]];
}
