//! Views of every element type reach the kernel's side unchanged.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use half::{bf16, f16};
use msd_ir::diag::Code;

use super::*;

fn as_tensor<T: Element>(data: &[T]) -> (DType, Vec<f32>) {
    let view = View::new(data, [1, data.len()]).unwrap();
    let tensor = view.tensor().to_tensor().unwrap();
    assert_eq!(tensor.shape(), [1, data.len()]);
    (tensor.dtype(), tensor.to_f32())
}

#[test]
fn every_element_type() {
    assert_eq!(as_tensor(&[1.5f32]), (DType::F32, vec![1.5]));
    assert_eq!(as_tensor(&[f16::from_f32(1.5), f16::NEG_ONE]), (DType::F16, vec![1.5, -1.0]));
    assert_eq!(as_tensor(&[bf16::from_f32(1.5)]), (DType::BF16, vec![1.5]));
    assert_eq!(as_tensor(&[-7i32]), (DType::I32, vec![-7.0]));
    assert_eq!(as_tensor(&[-128i8]), (DType::I8, vec![-128.0]));
    assert_eq!(as_tensor(&[255u8]), (DType::U8, vec![255.0]));
    assert_eq!(as_tensor(&[true, false]), (DType::Bool, vec![1.0, 0.0]));
}

#[test]
fn strides_of_a_view() {
    let data = [0, 1, 2, 3, 4, 5];
    let transposed = View::strided(&data, [3, 2], [1, 3]).unwrap();
    assert_eq!(transposed.tensor().to_tensor().unwrap().to_f32(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert_eq!((transposed.get([2, 1]), transposed.get([3, 0]), transposed.get([0, 2])), (Some(5), None, None));
    let dense = View::strided(&data, [2, 3], [3, 1]).unwrap();
    assert!(dense.tensor().is_dense() && !transposed.tensor().is_dense());
    assert_eq!(View::strided(&data, [2, 3], [4, 1]).unwrap_err().code(), Code::InputShape);
    assert_eq!(View::new(&data, []).unwrap_err().code(), Code::InputShape);
    assert_eq!(View::new(&data, [usize::MAX, 2]).unwrap_err().code(), Code::TooLarge);
    let scalar = View::new(&data[4..5], []).unwrap();
    assert_eq!((scalar.get([]), scalar.tensor().len()), (Some(4), 1));
    let nothing = View::new(&[0u8; 0], [0, usize::MAX, 1]).unwrap();
    assert!(nothing.tensor().is_empty() && nothing.get([0, 0, 0]).is_none());
}

#[test]
fn codes_keep_their_storage() {
    let codes = View::new(&[-8i8, 7], [2]).unwrap();
    assert_eq!(codes.codes(DType::I4).unwrap().value(0), -8.0);
    assert_eq!(codes.codes(DType::U4).unwrap_err().code(), Code::InputType);
    let mut bytes = [15u8, 16];
    assert!(View::new(&bytes, [2]).unwrap().codes(DType::E2M1).unwrap().check_codes().is_err());
    let mut view = ViewMut::new(&mut bytes, [2, 1]).unwrap();
    assert_eq!(view.codes_mut(DType::E2M1).unwrap().shape(), [2, 1]);
    assert_eq!(view.codes_mut(DType::I4).unwrap_err().code(), Code::InputType);
    assert_eq!((view.tensor_mut().dtype(), view.view().get([1, 0])), (DType::U8, Some(16)));
    assert_eq!(ViewMut::new(&mut bytes, [3]).unwrap_err().code(), Code::InputShape);
}

#[test]
fn an_index_past_an_empty_axis_is_outside() {
    let empty: [f32; 0] = [];
    let view = View::strided(&empty, [5, 0], [usize::MAX, 1]).unwrap();
    assert_eq!(view.get([4, 0]), None);
}
