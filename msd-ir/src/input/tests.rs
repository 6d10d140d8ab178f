//! Every fault an input can have, and that the sizes of sound ones are found.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use super::*;
use crate::builder::Builder;
use crate::dtype::DType;
use crate::graph::Attributes;
use crate::types::QuantType;

const S: Span = Span { start: 0, end: 0 };

fn name(n: &str) -> Dim {
    Dim::name(n)
}

/// `W: u4[N, K] scale f16[N, K/4] zero f32[N], X: bf16[M, K]`, and W summed with its slice.
fn grouped() -> Kernel {
    let groups = name("K").div(&Dim::constant(4)).unwrap();
    let ty = |dtype, shape: &[Dim]| TensorType::new(dtype, shape.to_vec());
    let codes = ty(DType::U4, &[name("N"), name("K")]);
    let scale = ty(DType::F16, &[name("N"), groups]);
    let q = QuantType::new(codes, scale, Some(ty(DType::F32, &[name("N")]))).unwrap();
    let mut b = Builder::new();
    let w = b.param("W", Type::Quant(q.into()), S);
    let x = b.param("X", Type::Tensor(ty(DType::BF16, &[name("M"), name("K")])), S);
    b.quotient(&name("K"), &Dim::constant(4));
    let w = b.dequant(w, S).unwrap();
    b.finish("k", vec![w, x], Attributes::default(), S)
}

fn tensor(dtype: DType, shape: &[usize]) -> Tensor {
    Tensor::zeros(dtype, shape.to_vec()).unwrap()
}

/// Sound inputs with N = 3, K = 8, M = 2.
fn sound() -> Vec<Input> {
    let w = Input {
        tensor: tensor(DType::U4, &[3, 8]),
        scale: Some(tensor(DType::F16, &[3, 2])),
        zero: Some(tensor(DType::F32, &[3])),
    };
    vec![w, tensor(DType::BF16, &[2, 8]).into()]
}

fn given(list: &[(&str, u64)]) -> Sizes {
    list.iter().map(|(n, s)| (Arc::from(*n), *s)).collect()
}

#[track_caller]
fn refuses(code: Code, texts: &[&str], change: impl FnOnce(&mut Vec<Input>)) {
    let mut inputs = sound();
    change(&mut inputs);
    let fault = bind_owned(&grouped(), &inputs, &Sizes::new()).unwrap_err();
    assert_eq!(fault.code, code, "{fault}");
    for text in texts {
        assert!(fault.message.contains(text), "{fault}");
    }
    assert!(fault.help.is_some() && fault.span.is_some());
}

#[test]
fn sizes_come_from_the_inputs() {
    assert_eq!(bind_owned(&grouped(), &sound(), &Sizes::new()), Ok(given(&[("K", 8), ("M", 2), ("N", 3)])));
    assert!(bind_owned(&grouped(), &sound(), &given(&[("K", 8)])).is_ok());
}

#[test]
fn missing_and_superfluous_inputs() {
    refuses(Code::MissingInput, &["`X`"], |i| drop(i.pop()));
    refuses(Code::MissingInput, &["`W.scale`"], |i| i[0].scale = None);
    refuses(Code::MissingInput, &["`W.zero`"], |i| i[0].zero = None);
    refuses(Code::UnknownInput, &["`X.scale`"], |i| i[1].scale = Some(tensor(DType::F32, &[1])));
    refuses(Code::UnknownInput, &["3 inputs for 2"], |i| i.push(tensor(DType::F32, &[1]).into()));
}

#[test]
fn wrong_types() {
    refuses(Code::InputType, &["`X`", "`f32`", "`bf16`"], |i| i[1] = tensor(DType::F32, &[2, 8]).into());
    refuses(Code::InputType, &["`W.zero`", "`i32`", "`f32`"], |i| i[0].zero = Some(tensor(DType::I32, &[3])));
}

#[test]
fn wrong_shapes() {
    refuses(Code::InputShape, &["`X`", "3 dimensions", "not 2"], |i| i[1] = tensor(DType::BF16, &[1, 2, 8]).into());
    refuses(Code::InputShape, &["`W.scale`", "axis 1", "size 3", "`K/4` = 2"], |i| {
        i[0].scale = Some(tensor(DType::F16, &[3, 3]));
    });
    refuses(Code::DimensionConflict, &["`K`", "8 in `W`", "9 in `X`"], |i| i[1] = tensor(DType::BF16, &[2, 9]).into());
    refuses(Code::DimensionConflict, &["`N`", "3 in `W`", "4 in `W.zero`"], |i| {
        i[0].zero = Some(tensor(DType::F32, &[4]));
    });
    let fault = bind_owned(&grouped(), &sound(), &given(&[("M", 5)])).unwrap_err();
    assert_eq!(fault.code, Code::DimensionConflict);
    assert!(fault.message.contains("given as 5 but 2 in `X`"), "{fault}");
}

#[test]
fn remainders_name_both_sides() {
    refuses(Code::Indivisible, &["`K` = 6", "4"], |i| {
        i[0].tensor = tensor(DType::U4, &[3, 6]);
        i[1] = tensor(DType::BF16, &[2, 6]).into();
    });
}

#[test]
fn scales_must_be_finite() {
    let bad = |value: f32| Tensor::from_f32(DType::F16, vec![3, 2], &[1.0, 1.0, 1.0, value, 1.0, 1.0]).ok();
    refuses(Code::ScaleNotFinite, &["element 3 of `W.scale`", "NaN"], |i| i[0].scale = bad(f32::NAN));
    refuses(Code::ScaleNotFinite, &["`W.scale`", "inf"], |i| i[0].scale = bad(f32::INFINITY));
    refuses(Code::ScaleNotFinite, &["`W.zero`"], |i| {
        i[0].zero = Tensor::from_f32(DType::F32, vec![3], &[0.0, f32::NEG_INFINITY, 0.0]).ok();
    });
    // Activations may be anything.
    let mut inputs = sound();
    inputs[1] = Tensor::from_f32(DType::BF16, vec![1, 8], &[f32::NAN; 8]).unwrap().into();
    assert!(bind_owned(&grouped(), &inputs, &Sizes::new()).is_ok());
}

/// A kernel of `X: f32[M, K]` alone.
fn of_x(build: impl FnOnce(&mut Builder, crate::graph::Value) -> crate::graph::Value) -> Kernel {
    let mut b = Builder::new();
    let x = b.param("X", Type::Tensor(TensorType::new(DType::F32, vec![name("M"), name("K")])), S);
    let result = build(&mut b, x);
    b.finish("k", vec![result], Attributes::default(), S)
}

fn fault_of_x(kernel: &Kernel, shape: &[usize]) -> Diagnostic {
    bind_owned(kernel, &[tensor(DType::F32, shape).into()], &Sizes::new()).unwrap_err()
}

#[test]
fn slices_and_sizes_of_the_graph() {
    let slice = of_x(|b, x| b.slice(x, 1, Dim::constant(2), name("M"), S).unwrap());
    assert_eq!(fault_of_x(&slice, &[5, 4]).code, Code::BadSlice);
    // Its length is -1, found before its bounds.
    assert_eq!(fault_of_x(&slice, &[1, 4]).code, Code::DimensionRange);
    assert!(bind_owned(&slice, &[tensor(DType::F32, &[4, 4]).into()], &Sizes::new()).is_ok());

    let unset = of_x(|b, _| b.size(name("Z"), S).unwrap());
    let sizes = bind_owned(&unset, &[tensor(DType::F32, &[1, 1]).into()], &Sizes::new());
    assert_eq!(sizes.unwrap_err().code, Code::DimensionUnset);
}

#[test]
fn values_too_large_to_hold() {
    // The outer sum of a column of 2^21 elements with itself.
    let product = |m: u64| {
        let mut b = Builder::new();
        let column = Type::Tensor(TensorType::new(DType::I8, vec![name("M"), Dim::constant(1)]));
        let x = b.param("X", column, S);
        let row = b.t(x, S).unwrap();
        let sum = b.add(x, row, S).unwrap();
        let kernel = b.finish("k", vec![sum], Attributes::default(), S);
        bind_owned(&kernel, &[tensor(DType::I8, &[m as usize, 1]).into()], &Sizes::new())
    };
    assert_eq!(product(1 << 21).unwrap_err().code, Code::TooLarge);
    assert!(product(1 << 10).is_ok());
    // Nothing to hold, but sizes whose product overflows.
    let huge = of_x(|_, x| x);
    let tensor = Tensor::zeros(DType::F32, vec![0, 1 << 41]).unwrap();
    assert_eq!(bind_owned(&huge, &[tensor.into()], &Sizes::new()).unwrap_err().code, Code::TooLarge);
}

#[test]
fn views_bind_like_tensors() {
    use crate::tensor::DataRef;

    // W transposed in memory, its scale repeated along N, both with the sizes of `sound`.
    let (codes, scale, zero, x) = ([3u8; 24], [0x3C00u16, 0x3C01], [0.5f32; 3], [0u16; 16]);
    let (nk, by_column, grouped_by, repeated) = ([3, 8], [1, 3], [3, 2], [0, 1]);
    let view = |codes, scale| InputView {
        tensor: TensorView::strided(DType::U4, &nk, &by_column, DataRef::U8(codes)).unwrap(),
        scale: Some(TensorView::strided(DType::F16, &grouped_by, &repeated, DataRef::U16(scale)).unwrap()),
        zero: Some(TensorView::new(DType::F32, &[3], DataRef::F32(&zero)).unwrap()),
    };
    let x = TensorView::new(DType::BF16, &[2, 8], DataRef::U16(&x)).unwrap();
    let bound = |codes, scale| bind(&grouped(), &[view(codes, scale), x.into()], &Sizes::new());
    assert_eq!(bound(&codes, &scale), Ok(given(&[("K", 8), ("M", 2), ("N", 3)])));

    let fault = bound(&codes, &[0x3C00, 0x7C00]).unwrap_err();
    assert_eq!((fault.code, &*fault.message), (Code::ScaleNotFinite, "element 1 of `W.scale` is inf"));
    let mut codes = codes;
    codes[1] = 16;
    let fault = bound(&codes, &scale).unwrap_err();
    assert_eq!(fault.code, Code::CodeOutOfRange);
    assert_eq!(fault.message, "input `W`: element 8 is 16, which is no `u4`");
    assert!(fault.span.is_some() && fault.help.is_some());
}
