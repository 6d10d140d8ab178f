//! What a tensor or a view refuses, and that strides reach the elements they name.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use super::*;

#[track_caller]
fn refuses<T: std::fmt::Debug>(result: Result<T, Diagnostic>, code: Code, text: &str) {
    let fault = result.unwrap_err();
    assert_eq!(fault.code, code, "{fault}");
    assert!(fault.message.contains(text) && fault.help.is_some(), "{fault}");
}

#[test]
fn constructors_say_what_does_not_fit() {
    let new = |dtype, shape: &[usize], data| Tensor::new(dtype, shape.to_vec(), data);
    refuses(new(DType::BF16, &[2], Data::F32(vec![1.0; 2])), Code::InputType, "`bf16` elements are stored as u16");
    refuses(new(DType::F32, &[2, 3], Data::F32(vec![1.0; 5])), Code::InputShape, "6 elements, not the 5 given");
    refuses(new(DType::I4, &[3], Data::I8(vec![7, -8, 8])), Code::CodeOutOfRange, "element 2 is 8");
    refuses(new(DType::E2M1, &[2], Data::U8(vec![15, 16])), Code::CodeOutOfRange, "no `e2m1`");
    refuses(new(DType::Bool, &[1], Data::U8(vec![2])), Code::CodeOutOfRange, "no `bool`");
    refuses(new(DType::F32, &[usize::MAX, 2], Data::F32(vec![])), Code::TooLarge, "overflows");
    let from = |dtype, codes: &[i64]| Tensor::from_codes(dtype, vec![codes.len()], codes.iter().copied());
    refuses(from(DType::I8, &[0, 128]), Code::CodeOutOfRange, "element 1 is 128");
    refuses(from(DType::U8, &[-1]), Code::CodeOutOfRange, "-1");
    refuses(from(DType::I32, &[1 << 31]), Code::CodeOutOfRange, "`i32`");
    refuses(from(DType::F32, &[1]), Code::InputType, "`f32`");
    refuses(Tensor::zeros(DType::F64, vec![usize::MAX >> 3]), Code::TooLarge, "no memory");
    refuses(from(DType::I8, &[0; 6]).unwrap().reshaped(vec![4]), Code::InputShape, "4 elements, not the 6");
}

#[test]
fn every_type_has_zeros_that_are_finite_and_in_range() {
    for dtype in DType::ALL {
        let zeros = Tensor::zeros(*dtype, vec![2, 3]).unwrap();
        let view = TensorView::new(*dtype, zeros.shape(), zeros.data().view()).unwrap();
        assert!(view.check_codes().is_ok() && view.all_finite(), "{}", dtype.name());
        assert_eq!(view.to_tensor().unwrap(), zeros);
    }
}

#[test]
fn vectors_become_tensors_of_one_axis() {
    let tensors = [
        Tensor::from(vec![1f32, 0.0]),
        vec![1f64, 0.0].into(),
        vec![f16::ONE, f16::ZERO].into(),
        vec![bf16::ONE, bf16::ZERO].into(),
        vec![1i32, 0].into(),
        vec![1i64, 0].into(),
        vec![1i8, 0].into(),
        vec![1u8, 0].into(),
        vec![true, false].into(),
    ];
    for tensor in tensors {
        assert_eq!(tensor, Tensor::new(tensor.dtype(), vec![2], tensor.data().clone()).unwrap());
        assert_eq!(tensor.to_f32(), [1.0, 0.0], "{}", tensor.dtype().name());
    }
}

#[test]
fn finite_codes_are_those_with_a_finite_value() {
    for dtype in [DType::E4M3, DType::E5M2, DType::E2M1, DType::E1M2, DType::E8M0] {
        for code in 0..=dtype.code_range().unwrap().1 as u8 {
            let codes = [0, code];
            let view = TensorView::new(dtype, &[2], DataRef::U8(&codes)).unwrap();
            let wanted = (!view.value(1).is_finite()).then_some(1);
            assert_eq!(view.first_not_finite(), wanted, "{} {code:#x}", dtype.name());
        }
    }
    for dtype in [DType::F16, DType::BF16] {
        for bits in 0..=u16::MAX {
            let bits = [bits];
            let view = TensorView::new(dtype, &[1], DataRef::U16(&bits)).unwrap();
            assert_eq!(view.all_finite(), view.value(0).is_finite(), "{} {bits:?}", dtype.name());
        }
    }
    for at in [0, 4095, 4096, 9999] {
        let mut values = vec![f32::MAX; 10_000];
        values[at] = f32::NEG_INFINITY;
        let view = TensorView::new(DType::F32, &[100, 100], DataRef::F32(&values)).unwrap();
        assert_eq!(view.first_not_finite(), Some(at));
    }
}

#[test]
fn strides_name_elements() {
    let data: Vec<i32> = (0..24).collect();
    // A column-major window of 3 by 4 with every second column.
    let (shape, strides) = ([3, 4], [1, 6]);
    let view = TensorView::strided(DType::I32, &shape, &strides, DataRef::I32(&data)).unwrap();
    let wanted: Vec<i64> = (0..3).flat_map(|r| (0..4).map(move |c| r + 6 * c)).collect();
    assert_eq!((0..view.len()).map(|i| view.int(i).unwrap()).collect::<Vec<_>>(), wanted);
    let copy = view.to_tensor().unwrap();
    assert_eq!(copy, Tensor::from_codes(DType::I32, vec![3, 4], wanted.into_iter()).unwrap());
    assert!(!view.is_dense() && copy.view().is_dense());
}

#[test]
fn strides_stay_within_the_data() {
    let data = DataRef::F32(&[0.0; 12]);
    let strided = |shape, strides| TensorView::strided(DType::F32, shape, strides, data);
    assert!(strided(&[3, 4], &[1, 3]).is_ok());
    refuses(strided(&[3, 4], &[2, 3]), Code::InputShape, "beyond the 12 elements");
    refuses(strided(&[2], &[usize::MAX]), Code::InputShape, "beyond");
    refuses(strided(&[3, 3], &[usize::MAX, 1]), Code::InputShape, "beyond");
    refuses(strided(&[3, 4], &[1]), Code::InputShape, "1 strides for the 2 axes");
    refuses(strided(&[1 << 40, 1 << 40], &[0, 0]), Code::TooLarge, "overflows");
    // Nothing is reached, so nothing is out of reach.
    assert!(strided(&[0, 4], &[99, 99]).unwrap().is_dense());
}

#[test]
fn dense_strides_are_dropped_with_what_follows() {
    let data = [1.0; 10];
    let strided =
        |shape: &'static [usize], strides| TensorView::strided(DType::F32, shape, strides, DataRef::F32(&data));
    for (shape, strides) in [(&[2, 3][..], &[3, 1][..]), (&[2, 1, 3], &[3, 77, 1]), (&[1, 4], &[0, 1]), (&[], &[])] {
        let view = strided(shape, strides).unwrap();
        assert!(view.is_dense() && view.strides().is_none(), "{shape:?}");
        assert_eq!(view.data().len(), view.len());
    }
    assert_eq!(strided(&[2, 3], &[4, 1]).unwrap().strides(), Some(&[4, 1][..]));
}

#[test]
fn repeated_elements_are_looked_at_once() {
    // 2^50 elements, three of them different; the walk must end and name the first in row-major order.
    let data = [1.0, 2.0, f32::NAN];
    let (shape, strides) = ([1 << 24, 3, 1 << 24], [0, 1, 0]);
    let view = TensorView::strided(DType::F32, &shape, &strides, DataRef::F32(&data)).unwrap();
    assert_eq!(view.first_not_finite(), Some(2 << 24));
    let view = TensorView::strided(DType::F32, &shape, &strides, DataRef::F32(&[0.0; 3])).unwrap();
    assert!(view.all_finite());
}

#[test]
fn views_check_codes_that_tensors_guarantee() {
    let codes = [0, 7, 15, 16];
    let dense = TensorView::new(DType::U4, &[4], DataRef::U8(&codes)).unwrap();
    refuses(dense.check_codes(), Code::CodeOutOfRange, "element 3 is 16");
    refuses(dense.to_tensor(), Code::CodeOutOfRange, "element 3 is 16");
    let (shape, strides) = ([2, 2], [1, 2]);
    let strided = TensorView::strided(DType::U4, &shape, &strides, DataRef::U8(&codes)).unwrap();
    refuses(strided.check_codes(), Code::CodeOutOfRange, "element 3 is 16");
    let low = [-9i8];
    refuses(TensorView::new(DType::I4, &[1], DataRef::I8(&low)).unwrap().check_codes(), Code::CodeOutOfRange, "-9");
    let (truth, empty) = ([true, false], TensorView::new(DType::I4, &[0, 3], DataRef::I8(&[])).unwrap());
    let truth = TensorView::new(DType::Bool, &[2], DataRef::Bool(&truth)).unwrap();
    assert!(truth.check_codes().is_ok() && empty.check_codes().is_ok() && empty.is_empty());
    assert_eq!(truth.to_tensor().unwrap(), Tensor::from_codes(DType::Bool, vec![2], [1, 0].into_iter()).unwrap());
}

#[test]
fn writing_through_a_view() {
    let mut tensor = Tensor::zeros(DType::F32, vec![2, 2]).unwrap();
    assert_eq!((tensor.view_mut().len(), tensor.view_mut().shape()), (4, &[2, 2][..]));
    let mut values = [0.0; 4];
    refuses(TensorViewMut::new(DType::F32, &[3], DataMut::F32(&mut values)), Code::InputShape, "3 elements");
    refuses(TensorViewMut::new(DType::I32, &[4], DataMut::F32(&mut values)), Code::InputType, "`i32`");
    let view = TensorViewMut::new(DType::F32, &[2, 2], DataMut::F32(&mut values)).unwrap();
    assert_eq!((view.dtype(), view.view().value(3), view.is_empty()), (DType::F32, 0.0, false));
}
