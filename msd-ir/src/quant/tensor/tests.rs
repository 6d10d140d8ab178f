//! What does not go together.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::*;
use crate::dtype::DType;

fn zeros(dtype: DType, shape: &[usize]) -> Tensor {
    Tensor::zeros(dtype, shape.to_vec()).unwrap()
}

fn fault(codes: Tensor, scale: Tensor, zero: Option<Tensor>) -> Code {
    let fault = QuantTensor::new(codes, scale, zero).unwrap_err();
    assert!(fault.help.is_some(), "{fault}");
    fault.code
}

#[test]
fn parts_lie_over_their_codes() {
    let codes = || zeros(DType::U4, &[6, 8]);
    let fits = |scale: &[usize]| QuantTensor::new(codes(), zeros(DType::F32, scale), None).is_ok();
    for shape in [&[6, 2][..], &[3, 1], &[1, 8], &[6, 8], &[6], &[4], &[1], &[]] {
        assert!(fits(shape), "{shape:?}");
    }
    for shape in [&[6, 3][..], &[4, 8], &[12, 8], &[0, 8], &[5], &[6, 8, 7]] {
        assert!(!fits(shape), "{shape:?}");
    }
    assert!(QuantTensor::new(zeros(DType::I8, &[0, 8]), zeros(DType::F32, &[0, 2]), None).is_ok());
    assert_eq!(fault(codes(), zeros(DType::F32, &[6]), Some(zeros(DType::U8, &[7]))), Code::InputShape);
}

#[test]
fn element_types_and_values() {
    let one = |dtype| zeros(dtype, &[1]);
    assert_eq!(fault(one(DType::F32), one(DType::F32), None), Code::ScaleUnexpected);
    assert_eq!(fault(one(DType::I8), one(DType::I8), None), Code::ScaleType);
    assert_eq!(fault(one(DType::I8), one(DType::F32), Some(one(DType::Bool))), Code::ScaleType);
    assert_eq!(fault(one(DType::E4M3), one(DType::F32), Some(one(DType::F32))), Code::ScaleUnexpected);
    let nan = || Tensor::from_f32(DType::F32, vec![1], &[f32::NAN]).unwrap();
    assert_eq!(fault(one(DType::I8), nan(), None), Code::ScaleNotFinite);
    assert_eq!(fault(one(DType::I8), one(DType::F32), Some(nan())), Code::ScaleNotFinite);
    // The codes of e8m0 and e4m3 that are no number.
    for (dtype, code) in [(DType::E8M0, 0xFF), (DType::E4M3, 0x7F), (DType::E4M3, 0xFF)] {
        let scale = Tensor::from_codes(dtype, vec![1], [code].into_iter()).unwrap();
        assert_eq!(fault(one(DType::E2M1), scale, None), Code::ScaleNotFinite);
    }
    // Weights may hold them, and dequantize to NaN.
    let nan = Tensor::from_codes(DType::E4M3, vec![1], [0x7F].into_iter()).unwrap();
    assert!(QuantTensor::new(nan, one(DType::F32), None).is_ok());
    let whole = QuantTensor::new(one(DType::I8), one(DType::F16), Some(one(DType::I32))).unwrap();
    assert_eq!((whole.shape(), whole.view().scale.dtype()), (&[1][..], DType::F16));
    assert_eq!(whole.view().zero.unwrap().dtype(), DType::I32);
}
