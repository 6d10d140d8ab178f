//! A sound kernel, broken in one place each time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::sync::Arc;

use super::*;
use crate::builder::Builder;
use crate::graph::Attributes;
use crate::span::Span;
use crate::types::Along;

const S: Span = Span { start: 0, end: 0 };

/// `(X @ dequant(W).T, 1)`; nodes: W, X, dequant, transpose, matmul, literal.
fn sound() -> Kernel {
    let dims = |names: &[&str]| -> Vec<Dim> { names.iter().map(|n| Dim::name(n)).collect() };
    let codes = TensorType::new(DType::I8, dims(&["N", "K"]));
    let q = QuantType::new(codes, TensorType::new(DType::F32, dims(&["N"])), None).unwrap();
    let mut b = Builder::new();
    let w = b.param("W", Type::Quant(Arc::new(q)), S);
    let x = b.param("X", Type::Tensor(TensorType::new(DType::F32, dims(&["M", "K"]))), S);
    let dequantized = b.dequant(w, S).unwrap();
    let columns = b.t(dequantized, S).unwrap();
    let y = b.matmul(x, columns, S).unwrap();
    let one = b.constant(1.0, S);
    b.finish("k", vec![y, one], Attributes::default(), S)
}

#[track_caller]
fn finds(text: &str, break_it: impl FnOnce(&mut Kernel)) {
    let mut kernel = sound();
    break_it(&mut kernel);
    let fault = verify(&kernel).unwrap_err();
    assert_eq!(fault.code, Code::Internal);
    assert!(fault.message.contains(text), "{}", fault.message);
}

#[test]
fn a_sound_kernel_passes() {
    assert_eq!(verify(&sound()), Ok(()));
}

#[test]
fn operands() {
    finds("does not stand before", |k| k.nodes[2].operands[0].node = 2);
    finds("does not stand before", |k| k.nodes[2].operands[0].node = 99);
    finds("has no result 1", |k| k.nodes[3].operands[0].result = 1);
    finds("has 1 operands, not 2", |k| k.nodes[4].operands.truncate(1));
    finds("has 1 operands, not 0", |k| k.nodes[5].operands.push(Value { node: 0, result: 0 }));
}

#[test]
fn types() {
    let wrong = Type::Tensor(TensorType::new(DType::F64, vec![Dim::name("M"), Dim::name("N")]));
    finds("its rule gives", |k| k.nodes[4].types[0] = wrong.clone());
    finds("its rule gives", |k| k.nodes[5].types[0] = wrong.clone());
    finds("its rule gives", |k| k.nodes[1].types[0] = wrong.clone());
    finds("1 names", |k| k.nodes[4].types.push(wrong.clone()));
    finds("its rule gives", |k| {
        k.nodes[4].types.push(wrong.clone());
        k.nodes[4].names.push(None);
    });
    finds("does not take its operands", |k| k.nodes[4].operands.swap(0, 1));
    finds("does not take its operands", |k| k.nodes[3].op = Op::Transpose { axes: vec![0, 7] });
}

#[test]
fn parameters() {
    finds("no parameter 7", |k| k.nodes[1].op = Op::Param { index: 7 });
    finds("declared twice", |k| k.params[1].name = "W".into());
    finds("misaligned", |k| {
        let Type::Quant(q) = &mut k.params[0].ty else { panic!("W is quantized") };
        Arc::make_mut(q).scale.along[0] = Some(Along { part_axis: 5, group: 1 });
    });
}

#[test]
fn results() {
    finds("no node 42", |k| k.results[0].node = 42);
    finds("has no result 3", |k| k.results[0].result = 3);
    finds("result 1 is quantized", |k| k.results[1] = Value { node: 0, result: 0 });
}

#[test]
fn dimensions() {
    let z = Dim::name("Z");
    finds("dimension `Z`", |k| k.quotients.push((Dim::name("K"), z.clone())));
    finds("dimension `Z`", |k| k.nodes[5] = Node { op: Op::Size { dim: z.clone() }, ..k.nodes[5].clone() });
    // A name that appears in expressions only has no size.
    finds("dimension `Z`", |k| {
        let double = z.mul(&Dim::constant(2)).unwrap();
        let ty = Type::Tensor(TensorType::new(DType::F32, vec![double, Dim::name("K")]));
        k.params.push(Param { name: "Y".into(), ty, span: S });
    });
}
