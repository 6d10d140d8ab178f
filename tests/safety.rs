//! What safe callers could get wrong: the handle refuses it, whatever the release profile checks.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::sync::Arc;

use msd::ir::diag::Code;
use msd::ir::dim::Sizes;
use msd::ir::dtype::DType;
use msd::ir::graph::{Kernel, Lowering};
use msd::ir::input::Input;
use msd::ir::quant::scheme::Scheme;
use msd::ir::tensor::DataRef;
use msd::jit::bound::Bound;
use msd::jit::isa::{Isa, Level};
use msd::jit::kernel::{CompiledKernel, Workspace, compile};
use msd::jit::pool::Pool;
use msd::{Argument, Options, QuantTensor, QuantView, Rewritten, Source, Tensor, TensorView, Weight};

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
    tensor(shape, 1.0).into()
}

/// What one call needs, for as many rows of `x` as it has.
struct Call<'a> {
    code: &'a CompiledKernel,
    bound: Bound,
}

impl<'a> Call<'a> {
    fn new(code: &'a CompiledKernel, arguments: &[Argument<'_>]) -> Call<'a> {
        Call { code, bound: code.bind(arguments).unwrap() }
    }

    fn run(&self, arguments: &[Argument<'_>], y: &mut Tensor) -> Result<(), Code> {
        let (mut workspace, pool) = (Workspace::default(), Pool::new(1));
        let outputs = &mut [y.view_mut()];
        self.code.run(&self.bound, arguments, outputs, &mut workspace, &pool).map_err(|d| d.code)
    }
}

fn run(code: &CompiledKernel, inputs: &[Input]) -> Result<Vec<Tensor>, Code> {
    let arguments: Vec<Argument<'_>> = inputs.iter().map(Argument::from).collect();
    let bound = code.bind(&arguments).map_err(|d| d.code)?;
    let results = bound.outputs().iter().map(|(dtype, shape)| Tensor::zeros(*dtype, shape.clone()));
    let mut results = results.collect::<Result<Vec<_>, _>>().map_err(|d| d.code)?;
    Call { code, bound }.run(&arguments, results.first_mut().unwrap())?;
    Ok(results)
}

fn tensor(shape: &[usize], value: f32) -> Tensor {
    Tensor::from_f32(DType::F32, shape.to_vec(), &vec![value; shape.iter().product()]).unwrap()
}

#[test]
fn a_weight_serves_every_window_kernels_look_through() {
    let text = "kernel f(X: f32[P, M], W: f32[T, N]) -> f32[P, N] { X @ slice(W, 0, 0, M) }";
    let code = compile(&kernel(text), &sizes(&[("N", 24)]), &host(), false).unwrap();
    let weight = Weight::from(tensor(&[4000, 24], 1.0));
    // More windows than a weight keeps forms of.
    for m in (1..4000).step_by(333) {
        let x = tensor(&[1, m], 1.0);
        let (arguments, mut y) = ([Argument::from(&x), Argument::from(&weight)], tensor(&[1, 24], 0.0));
        Call::new(&code, &arguments).run(&arguments, &mut y).unwrap();
        assert_eq!(y.to_f32(), vec![m as f32; 24]);
    }
    let kept = weight.packed_bytes();
    assert!(kept < 9 * 4000 * 24 * 4, "{kept}");
}

#[test]
fn groups_of_k_read_the_packed_form_of_whole_rows() {
    let text = "kernel f(X: f32[M, K], W: i8[N, K] scale f32[N, K/4]) -> (f32[M, N], f32[M, N]) {
        let (d, g) = msd.decompose(X, \"int8x2-radix\");
        let rows = transpose(reshape(d, [2*M, K/4, 4]), [1, 0, 2]);
        let codes = transpose(reshape(msd.codes(W), [N, K/4, 4]), [1, 2, 0]);
        let s = transpose(reshape(msd.scale(W), [N, K/4, 1]), [1, 2, 0]);
        let p = msd.combine(msd.dot(rows, codes), \"int8x2-radix\");
        (msd.combine(msd.dot(d, msd.codes(W).T), \"int8x2-radix\"), msd.accumulate(p, s, 1))
    }";
    let code = compile(&kernel(text), &sizes(&[("N", 5), ("K", 64)]), &host(), false).unwrap();
    let quant = QuantTensor::new(Tensor::zeros(DType::I8, vec![5, 64]).unwrap(), tensor(&[5, 16], 1.0), None);
    let (weight, x) = (Weight::from(quant.unwrap()), tensor(&[1, 64], 1.0));
    let arguments = [Argument::from(&x), Argument::from(&weight)];
    code.prepare(&code.bind(&arguments).unwrap(), &arguments, &Pool::new(1)).unwrap();
    // One block of codes, a panel of sixteen channels, and the scales of its groups.
    assert_eq!(weight.packed_bytes(), 16 * 64 + 16 * 16 * 4);
}

#[test]
fn arguments_of_other_shapes_or_types_than_bound_are_refused() {
    let text = "kernel f(X: f32[M, K], W: i8[N, K] scale f32[N]) -> f32[M, N] { X @ dequant(W).T }";
    let code = compile(&kernel(text), &sizes(&[("N", 3), ("K", 2)]), &host(), false).unwrap();
    let scale = |values: &[f32]| Tensor::from_f32(DType::F32, vec![values.len()], values).unwrap();
    let codes = |shape: &[usize]| Tensor::zeros(DType::I8, shape.to_vec()).unwrap();
    let w = QuantTensor::new(codes(&[3, 2]), scale(&[1.0; 3]), None).unwrap();
    let x = tensor(&[1, 2], 1.0);
    let (good, mut y) = ([Argument::from(&x), Argument::from(&w)], tensor(&[1, 3], f32::NAN));
    let call = Call::new(&code, &good);
    assert_eq!(call.run(&good, &mut y), Ok(()));
    assert_eq!(y.to_f32(), [0.0; 3]);

    let (longer, half) = (tensor(&[4, 2], 1.0), Tensor::zeros(DType::BF16, vec![1, 2]).unwrap());
    let more = QuantTensor::new(codes(&[4, 2]), scale(&[1.0; 4]), None).unwrap();
    let bad_scale = scale(&[1.0, f32::INFINITY, 1.0]);
    let bad = QuantView { codes: w.codes().view(), scale: bad_scale.view(), zero: None };
    for (arguments, code) in [
        ([Argument::from(&longer), good[1]], Code::InputShape),
        ([Argument::from(&half), good[1]], Code::InputType),
        ([good[0], Argument::from(&more)], Code::DimensionConflict),
        ([good[0], Argument::from(w.codes())], Code::MissingInput),
        ([Argument::from(&w), good[1]], Code::UnknownInput),
        ([good[0], Argument::from(bad)], Code::ScaleNotFinite),
    ] {
        assert_eq!(call.run(&arguments, &mut y), Err(code));
    }
    assert_eq!(call.run(&good[..1], &mut y), Err(Code::MissingInput));
}

#[test]
fn outputs_of_another_shape_or_type_are_refused() {
    let code = compile(&kernel("kernel f(x: f32[N]) -> f32[N] { x + 1 }"), &Sizes::new(), &host(), false).unwrap();
    let x = tensor(&[5], 1.0);
    let arguments = [Argument::from(&x)];
    let call = Call::new(&code, &arguments);
    for mut y in [tensor(&[4], 0.0), tensor(&[1, 5], 0.0), Tensor::zeros(DType::BF16, vec![5]).unwrap()] {
        assert_eq!(call.run(&arguments, &mut y), Err(Code::OutputMismatch));
    }
    let (mut workspace, pool) = (Workspace::default(), Pool::new(1));
    let none = code.run(&call.bound, &arguments, &mut [], &mut workspace, &pool);
    assert_eq!(none.map_err(|d| d.code), Err(Code::OutputMismatch));
}

#[test]
fn shapes_bound_by_another_kernel_are_refused() {
    let [one, other] = [0, 1]
        .map(|_| compile(&kernel("kernel f(x: f32[N]) -> f32[N] { x + 1 }"), &Sizes::new(), &host(), false).unwrap());
    let x = tensor(&[5], 1.0);
    let arguments = [Argument::from(&x)];
    let call = Call { code: &other, bound: one.bind(&arguments).unwrap() };
    assert_eq!(call.run(&arguments, &mut tensor(&[5], 0.0)), Err(Code::InputShape));
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
fn copies_and_packed_arguments_count_as_memory() {
    let long = 1 << 35;
    let (data, shape, strides) = ([1.0f32], [long], [0]);
    let repeated = TensorView::strided(DType::F32, &shape, &strides, DataRef::F32(&data)).unwrap();
    let sum = compile(&kernel("kernel f(x: f32[N]) -> f32[1] { sum(x) }"), &Sizes::new(), &host(), false).unwrap();
    assert_eq!(sum.bind(&[Argument::from(repeated)]).err().map(|d| d.code), Some(Code::TooLarge));

    let text = "kernel f(x: f32[M, K], w: f32[K, N]) -> f32[M, N] { x @ w }";
    let product = compile(&kernel(text), &sizes(&[("N", 1)]), &host(), false).unwrap();
    let (rows, columns, step) = ([0, 1 << 30], [1 << 30, 1], [0, 0]);
    let x = TensorView::new(DType::F32, &rows, DataRef::F32(&[])).unwrap();
    let w = TensorView::strided(DType::F32, &columns, &step, DataRef::F32(&data)).unwrap();
    let refused = product.bind(&[Argument::from(x), Argument::from(w)]).err();
    assert_eq!(refused.map(|d| d.code), Some(Code::TooLarge));
}

/// Written out, the products of all groups would take 32 GiB and more: they are added up as they are made.
#[test]
fn products_of_groups_are_never_all_in_memory() {
    let (m, n, k) = (1 << 14, 1 << 13, 4096);
    let (x, code, one, exponent) = ([0u16], [0u8], [1.0f32], [127u8]);
    let (x_shape, w_shape) = ([m, k], [n, k]);
    let x = TensorView::strided(DType::BF16, &x_shape, &[0, 0], DataRef::U16(&x)).unwrap();
    let codes = TensorView::strided(DType::E4M3, &w_shape, &[0, 0], DataRef::U8(&code)).unwrap();
    let blocks = (DType::F32, [n / 128, k / 128], DataRef::F32(&one));
    let mxfp8 = (DType::E8M0, [n, k / 32], DataRef::U8(&exponent));
    let checked = Source::new("fp8.msd", include_str!("../kernels/fp8.msd")).check().unwrap();
    for (name, (dtype, shape, data)) in [("fp8_blocks", blocks), ("mxfp8", mxfp8)] {
        for scheme in ["int8x2-pow2", "fp8x2", "mxfp8x1"] {
            let options = Options::new().lowering(Lowering::Msd).scheme(Scheme::from_name(scheme).unwrap());
            let fixed = sizes(&[("N", n as u64), ("K", k as u64)]);
            let rewritten = Rewritten::new(checked.kernel(Some(name)).unwrap(), &fixed, &options).unwrap();
            let scale = TensorView::strided(dtype, &shape, &[0, 0], data).unwrap();
            let arguments = [Argument::from(QuantView { codes, scale, zero: None }), Argument::from(x)];
            let bound = compile(&rewritten.kernel, &fixed, &host(), false).unwrap().bind(&arguments);
            assert!(bound.is_ok(), "{name} with {scheme}: {:?}", bound.err());
        }
    }
}

#[test]
fn nothing_to_write_takes_no_time() {
    let rows = compile(&kernel("kernel f(x: f32[M, K]) -> f32[M, K] { x + 1 }"), &Sizes::new(), &host(), false);
    assert!(run(&rows.unwrap(), &[ones(&[1 << 40, 0])]).unwrap()[0].is_empty());
    let text = "kernel f(a: f32[B, M, K], w: f32[B, K, N]) -> f32[B, M, N] { a @ w }";
    let code = compile(&kernel(text), &sizes(&[("N", 24)]), &host(), false).unwrap();
    assert!(run(&code, &[ones(&[3_000_000_000, 0, 0]), ones(&[3_000_000_000, 0, 24])]).unwrap()[0].is_empty());
}
