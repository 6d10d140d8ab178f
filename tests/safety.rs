//! What safe callers could get wrong: the handle refuses it, whatever the release profile checks.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::sync::Arc;

use msd::Source;
use msd::ir::diag::Code;
use msd::ir::dim::Sizes;
use msd::ir::dtype::DType;
use msd::ir::graph::Kernel;
use msd::ir::input::Input;
use msd::ir::tensor::Tensor;
use msd::jit::isa::{Isa, Level};
use msd::jit::kernel::{CompiledKernel, Workspace, compile};
use msd::jit::pool::Pool;

fn kernel(text: &str) -> Kernel {
    Source::new("test.msd", text).check().unwrap().kernel(None).unwrap().clone()
}

fn sizes(list: &[(&str, u64)]) -> Sizes {
    list.iter().map(|(n, s)| (Arc::from(*n), *s)).collect()
}

fn host() -> Isa {
    Isa::host(Level::Native).unwrap()
}

fn ones(shape: &[usize]) -> Input {
    Tensor::from_f32(DType::F32, shape.to_vec(), &vec![1.0; shape.iter().product()]).unwrap().into()
}

fn run(code: &CompiledKernel, inputs: &[Input]) -> Result<Vec<Tensor>, Code> {
    code.run(inputs, &[], &Sizes::new(), &mut Workspace::default(), &Pool::new(1)).map_err(|d| d.code)
}

#[test]
fn packed_weights_serve_only_the_sizes_they_were_packed_for() {
    let text = "kernel f(X: f32[P, M], W: f32[T, N]) -> f32[P, N] { X @ slice(W, 0, 0, M) }";
    let code = compile(&kernel(text), &sizes(&[("N", 24)]), &host(), false).unwrap();
    let (short, long, w) = (ones(&[1, 1]), ones(&[1, 4000]), ones(&[4000, 24]));
    let packed = code.pack(1, &[short.clone(), w.clone()], &Sizes::new()).unwrap();
    let call = |x: &Input| {
        let inputs = [x.clone(), w.clone()];
        code.run(&inputs, std::slice::from_ref(&packed), &Sizes::new(), &mut Workspace::default(), &Pool::new(1))
    };
    assert_eq!(call(&short).unwrap()[0].to_f32(), vec![1.0; 24]);
    assert_eq!(call(&long).unwrap_err().code, Code::InputShape);
    assert_eq!(run(&code, &[long, w]).unwrap()[0].to_f32(), vec![4000.0; 24]);
}

#[test]
fn packed_weights_serve_only_their_kernel() {
    let text = "kernel f(X: f32[M, K], W: f32[K, N]) -> f32[M, N] { X @ W }";
    let [one, other] = [0, 1].map(|_| compile(&kernel(text), &sizes(&[("N", 3)]), &host(), false).unwrap());
    let inputs = [ones(&[1, 2]), ones(&[2, 3])];
    let packed = one.pack(1, &inputs, &Sizes::new()).unwrap();
    let result = other.run(&inputs, &[packed], &Sizes::new(), &mut Workspace::default(), &Pool::new(1));
    assert_eq!(result.unwrap_err().code, Code::InputShape);
    assert_eq!(one.pack(9, &inputs, &Sizes::new()).err().map(|d| d.code), Some(Code::UnknownInput));
}

#[test]
fn code_of_another_machine_is_not_made_to_run() {
    let foreign = Isa::foreign("aarch64-unknown-linux-gnu", &[]).unwrap();
    let refused = compile(&kernel("kernel f(x: f32[N]) -> f32[N] { x + 1 }"), &Sizes::new(), &foreign, false);
    assert_eq!(refused.err().map(|d| d.code), Some(Code::IsaUnavailable));
}

#[test]
fn a_kernel_with_broken_types_is_not_compiled() {
    let mut broken = kernel("kernel f(x: f32[N]) -> f32[N] { x + 1 }");
    broken.params[0].ty = kernel("kernel g(x: f32[2]) -> f32[2] { x }").params[0].ty.clone();
    assert_eq!(compile(&broken, &Sizes::new(), &host(), false).err().map(|d| d.code), Some(Code::Internal));
}

#[test]
fn a_call_too_large_for_memory_is_refused_before_it_starts() {
    let text = "kernel f(x: f32[M, 1], y: f32[1, N]) -> f32[M, N] { x + y }";
    let code = compile(&kernel(text), &Sizes::new(), &host(), false).unwrap();
    assert_eq!(run(&code, &[ones(&[100_000, 1]), ones(&[1, 100_000])]).unwrap_err(), Code::TooLarge);
}

#[test]
fn nothing_to_write_takes_no_time() {
    let rows = compile(&kernel("kernel f(x: f32[M, K]) -> f32[M, K] { x + 1 }"), &Sizes::new(), &host(), false);
    assert!(run(&rows.unwrap(), &[ones(&[1 << 40, 0])]).unwrap()[0].is_empty());
    let text = "kernel f(a: f32[B, M, K], w: f32[B, K, N]) -> f32[B, M, N] { a @ w }";
    let code = compile(&kernel(text), &sizes(&[("N", 24)]), &host(), false).unwrap();
    assert!(run(&code, &[ones(&[3_000_000_000, 0, 0]), ones(&[3_000_000_000, 0, 24])]).unwrap()[0].is_empty());
}
