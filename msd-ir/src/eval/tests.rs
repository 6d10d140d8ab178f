//! Each op against its formula in the op table, on values chosen so that another reading of the
//! formula gives other bits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use super::*;
use crate::builder::Builder;
use crate::diag::Code;
use crate::dim::Dim;
use crate::dtype::{bf16_to_f32, f32_to_bf16};
use crate::graph::Attributes;
use crate::math::{Scalar, exp};
use crate::quant::scheme::Scheme;
use crate::span::Span;
use crate::tensor::Data;
use crate::types::TensorType;

const S: Span = Span { start: 0, end: 0 };

fn dims(names: &str) -> Vec<Dim> {
    names.split_whitespace().map(|n| n.parse().map_or_else(|_| Dim::name(n), Dim::constant)).collect()
}

fn ty(dtype: DType, names: &str) -> TensorType {
    TensorType::new(dtype, dims(names))
}

fn plain(dtype: DType, names: &str) -> Type {
    Type::Tensor(ty(dtype, names))
}

/// Builds a kernel from its parameters' types and runs it.
fn try_run(
    params: &[Type],
    inputs: &[Input],
    build: impl FnOnce(&mut Builder, &[Value]) -> Result<Vec<Value>, Diagnostic>,
) -> Result<Vec<Tensor>, Diagnostic> {
    let kernel = kernel(params, build);
    evaluate(&kernel, &Sizes::new(), inputs)
}

fn kernel(params: &[Type], build: impl FnOnce(&mut Builder, &[Value]) -> Result<Vec<Value>, Diagnostic>) -> Kernel {
    let mut b = Builder::new();
    let values: Vec<Value> = params.iter().enumerate().map(|(i, t)| b.param(&format!("p{i}"), t.clone(), S)).collect();
    let results = build(&mut b, &values).unwrap();
    b.finish("k", results, Attributes::default(), S)
}

/// One result of plain F32 inputs.
fn run_f32(
    inputs: &[(&[usize], &[f32])],
    build: impl FnOnce(&mut Builder, &[Value]) -> Result<Value, Diagnostic>,
) -> Tensor {
    let shape = |s: &[usize]| s.iter().map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
    let types: Vec<Type> = inputs.iter().map(|(s, _)| plain(DType::F32, &shape(s))).collect();
    let inputs: Vec<Input> = inputs.iter().map(|(s, v)| f32s(s, v)).collect();
    try_run(&types, &inputs, |b, v| Ok(vec![build(b, v)?])).unwrap().remove(0)
}

fn f32s(shape: &[usize], values: &[f32]) -> Input {
    Tensor::new(DType::F32, shape.to_vec(), Data::F32(values.to_vec())).unwrap().into()
}

fn ints(dtype: DType, shape: &[usize], values: &[i64]) -> Input {
    Tensor::from_codes(dtype, shape.to_vec(), values.iter().copied()).unwrap().into()
}

fn bits(t: &Tensor) -> Vec<u32> {
    t.to_f32().iter().map(|x| x.to_bits()).collect()
}

fn same(t: &Tensor, expected: &[f32]) {
    let expected: Vec<u32> = expected.iter().map(|x| x.to_bits()).collect();
    assert_eq!(bits(t), expected, "{:?}", t.to_f32());
}

/// Values whose sum depends on the order.
fn rough(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / 8388608.0 - 1.0
    };
    (0..n).map(|_| next() * 10f32.powf(next() * 3.0)).collect()
}

#[test]
fn minimum_and_maximum_follow_their_formulas() {
    let (a, b) = ([1.0, f32::NAN, 1.0, 0.0, -0.0], [2.0, 1.0, f32::NAN, -0.0, 0.0]);
    let io: [(&[usize], &[f32]); 2] = [(&[5], &a), (&[5], &b)];
    // Neither a < b nor a is NaN: the second, also where that is NaN or the other zero.
    same(&run_f32(&io, |g, v| g.min(v[0], v[1], S)), &[1.0, f32::NAN, f32::NAN, -0.0, 0.0]);
    same(&run_f32(&io, |g, v| g.max(v[0], v[1], S)), &[2.0, f32::NAN, f32::NAN, -0.0, 0.0]);
}

#[test]
fn integer_pairs_wrap_and_mixed_pairs_are_f32() {
    let types = [plain(DType::I32, "3"), plain(DType::I8, "3"), plain(DType::F32, "3")];
    let inputs = [
        ints(DType::I32, &[3], &[i32::MAX as i64, i32::MIN as i64, 16777217]),
        ints(DType::I8, &[3], &[1, -1, 2]),
        f32s(&[3], &[0.5, 0.5, 0.0]),
    ];
    let results = try_run(&types, &inputs, |b, v| {
        let (sum, product, negative) = (b.add(v[0], v[1], S)?, b.mul(v[0], v[1], S)?, b.neg(v[0], S)?);
        Ok(vec![sum, product, negative, b.add(v[0], v[2], S)?, b.div(v[0], v[1], S)?, b.lt(v[0], v[1], S)?])
    });
    let results = results.unwrap();
    let int = |i: usize| (0..3).map(|j| results[i].int(j).unwrap()).collect::<Vec<_>>();
    assert_eq!(int(0), [i32::MIN as i64, i32::MAX as i64, 16777219]);
    assert_eq!(int(1), [i32::MAX as i64, i32::MIN as i64, 33554434]);
    assert_eq!(int(2), [-(i32::MAX as i64), i32::MIN as i64, -16777217]);
    // 2^24 + 1 becomes even before the sum.
    same(&results[3], &[2147483648.0, -2147483648.0, 16777216.0]);
    same(&results[4], &[2147483648.0, 2147483648.0, 8388608.0]);
    assert_eq!(int(5), [0, 1, 0]);
}

#[test]
fn comparisons_with_nan_are_false_but_for_inequality() {
    let io: [(&[usize], &[f32]); 2] = [(&[3], &[1.0, f32::NAN, 0.0]), (&[3], &[1.0, f32::NAN, -0.0])];
    let holds = |build: fn(&mut Builder, Value, Value, Span) -> Result<Value, Diagnostic>| {
        let t = run_f32(&io, |b, v| build(b, v[0], v[1], S));
        (0..3).map(|i| t.int(i).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(holds(Builder::eq), [1, 0, 1]);
    assert_eq!(holds(Builder::ne), [0, 1, 0]);
    assert_eq!(holds(Builder::le), [1, 0, 1]);
    assert_eq!(holds(Builder::gt), [0, 0, 0]);
}

#[test]
fn broadcasting_repeats_axes_of_size_one() {
    let io: [(&[usize], &[f32]); 2] = [(&[2, 1], &[10.0, 20.0]), (&[3], &[1.0, 2.0, 3.0])];
    let sum = run_f32(&io, |b, v| b.add(v[0], v[1], S));
    assert_eq!(sum.shape(), [2, 3]);
    same(&sum, &[11.0, 12.0, 13.0, 21.0, 22.0, 23.0]);
}

#[test]
fn casts_round_to_even_and_saturate() {
    let x = [2.5f32, -3.5, 300.0, f32::NAN, f32::NEG_INFINITY, 1.0 + 1.0 / 256.0];
    let cast = |dtype: DType| run_f32(&[(&[6], &x)], |b, v| b.cast(v[0], dtype, S));
    let int = |dtype| (0..6).map(|i| cast(dtype).int(i).unwrap()).collect::<Vec<_>>();
    assert_eq!(int(DType::I8), [2, -4, 127, 0, -128, 1]);
    assert_eq!(int(DType::U4), [2, 0, 15, 0, 0, 1]);
    assert_eq!(int(DType::Bool), [1, 1, 1, 1, 1, 1]);
    // 1 + 2^-8 ties to even; NaN is canonical.
    assert_eq!(cast(DType::BF16).data(), &Data::U16(vec![0x4020, 0xC060, 0x4396, 0x7FC0, 0xFF80, 0x3F80]));
    assert_eq!(cast(DType::F16).data(), &Data::U16(vec![0x4100, 0xC300, 0x5CB0, 0x7E00, 0xFC00, 0x3C04]));
    same(&cast(DType::E2M1), &[2.0, -4.0, 6.0, 0.0, -6.0, 1.0]);
}

#[test]
fn results_have_one_nan() {
    let odd = f32::from_bits(0xFFC1_2345);
    let t = run_f32(&[(&[2], &[odd, f32::from_bits(0x7F80_0001)])], |_, v| Ok(v[0]));
    assert_eq!(bits(&t), [0x7FC0_0000; 2]);
    let types = [plain(DType::F16, "1"), plain(DType::BF16, "1")];
    let halves = [(DType::F16, 0xFFFF), (DType::BF16, 0xFF81)];
    let inputs = halves.map(|(d, code)| Tensor::new(d, vec![1], Data::U16(vec![code])).unwrap().into());
    let results = try_run(&types, &inputs, |_, v| Ok(v.to_vec())).unwrap();
    assert_eq!(results[0].data(), &Data::U16(vec![0x7E00]));
    assert_eq!(results[1].data(), &Data::U16(vec![0x7FC0]));
}

/// The order of sums as docs/numerics.md writes it, spelled out for rows of 35.
fn tree35(x: &[f32], f: impl Fn(f32, f32) -> f32, start: f32) -> f32 {
    let p: Vec<f32> = (0..16)
        .map(|i| {
            let first = f(f(start, x[i]), x[i + 16]);
            if i < 3 { f(first, x[i + 32]) } else { first }
        })
        .collect();
    let q: Vec<f32> = (0..8).map(|i| f(p[i], p[i + 8])).collect();
    let r: Vec<f32> = (0..4).map(|i| f(q[i], q[i + 4])).collect();
    f(f(r[0], r[2]), f(r[1], r[3]))
}

#[test]
fn sums_keep_their_order() {
    let x = rough(70, 7);
    let t = run_f32(&[(&[2, 35], &x)], |b, v| b.sum(v[0], S));
    assert_eq!(t.shape(), [2, 1]);
    let expected = [tree35(&x[..35], |a, b| a + b, 0.0), tree35(&x[35..], |a, b| a + b, 0.0)];
    same(&t, &expected);
    assert_ne!(expected[0], x[..35].iter().sum::<f32>(), "the row does not tell orders apart");
    same(&run_f32(&[(&[2, 1], &[-0.0, f32::NAN])], |b, v| b.sum(v[0], S)), &[0.0, f32::NAN]);
}

#[test]
fn maxima_keep_nan_and_start_below_everything() {
    let rows = [f32::NEG_INFINITY, f32::NEG_INFINITY, 1.0, f32::NAN, f32::NAN, 1.0, -3.0, -2.0];
    let t = run_f32(&[(&[4, 2], &rows)], |b, v| b.amax(v[0], S));
    same(&t, &[f32::NEG_INFINITY, f32::NAN, f32::NAN, -2.0]);
    let empty = run_f32(&[(&[2, 0], &[])], |b, v| b.amax(v[0], S));
    same(&empty, &[f32::NEG_INFINITY; 2]);
    same(&run_f32(&[(&[2, 0], &[])], |b, v| b.sum(v[0], S)), &[0.0; 2]);
    let input = [ints(DType::I8, &[1, 2], &[-5, -7])];
    let t = try_run(&[plain(DType::I8, "1 2")], &input, |b, v| Ok(vec![b.amax(v[0], S)?, b.sum(v[0], S)?])).unwrap();
    assert_eq!((t[0].int(0), t[1].int(0)), (Some(-5), Some(-12)));
    assert_eq!(t[0].dtype(), DType::I32);
}

#[test]
fn softmax_divides_by_the_tree_sum() {
    let x = rough(35, 3);
    let m = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let e: Vec<f32> = x.iter().map(|x| exp(&mut Scalar, *x - m)).collect();
    let total = tree35(&e, |a, b| a + b, 0.0);
    let expected: Vec<f32> = e.iter().map(|e| e / total).collect();
    same(&run_f32(&[(&[1, 35], &x)], |b, v| b.softmax(v[0], S)), &expected);

    let inf = f32::INFINITY;
    let rows = [-inf, -inf, 0.0, -inf, f32::NAN, 0.0, inf, 0.0];
    let t = run_f32(&[(&[4, 2], &rows)], |b, v| b.softmax(v[0], S));
    // Infinity minus itself is NaN, and so is its row.
    let nan = f32::NAN;
    same(&t, &[0.0, 0.0, 1.0, 0.0, nan, nan, nan, nan]);
    assert_eq!(run_f32(&[(&[3, 0], &[])], |b, v| b.softmax(v[0], S)).shape(), [3, 0]);
}

#[test]
fn causal_is_aligned_to_the_bottom_right() {
    let x = [1.0f32; 8];
    let hidden = f32::NEG_INFINITY;
    let t = run_f32(&[(&[2, 4], &x)], |b, v| b.causal(v[0], S));
    same(&t, &[1.0, 1.0, 1.0, hidden, 1.0, 1.0, 1.0, 1.0]);
    // More rows than columns: the first rows see nothing.
    let t = run_f32(&[(&[1, 4, 2], &x)], |b, v| b.causal(v[0], S));
    same(&t, &[hidden, hidden, hidden, hidden, 1.0, hidden, 1.0, 1.0]);
}

#[test]
fn movement() {
    let x: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let io: [(&[usize], &[f32]); 1] = [(&[2, 3, 4], &x)];
    let t = run_f32(&io, |b, v| b.transpose(v[0], vec![2, 0, 1], S));
    assert_eq!(t.shape(), [4, 2, 3]);
    assert_eq!(t.to_f32()[..7], [0.0, 4.0, 8.0, 12.0, 16.0, 20.0, 1.0]);
    let t = run_f32(&io, |b, v| b.slice(v[0], 1, Dim::constant(1), Dim::constant(2), S));
    same(&t, &[4.0, 5.0, 6.0, 7.0, 16.0, 17.0, 18.0, 19.0]);
    let two: [(&[usize], &[f32]); 2] = [(&[2, 1], &[1.0, 2.0]), (&[2, 2], &[3.0, 4.0, 5.0, 6.0])];
    same(&run_f32(&two, |b, v| b.concat(v[0], v[1], 1, S)), &[1.0, 3.0, 4.0, 2.0, 5.0, 6.0]);
    let t = run_f32(&io, |b, v| b.reshape(v[0], dims("6 4"), S));
    assert_eq!((t.shape(), t.to_f32()), (&[6, 4][..], x));
}

#[test]
fn float_products_fuse_with_k_ascending() {
    let (a, b) = (rough(2 * 3 * 40, 1), rough(40 * 5, 2));
    // One matrix on the right for two on the left.
    let t = run_f32(&[(&[2, 3, 40], &a), (&[40, 5], &b)], |g, v| g.matmul(v[0], v[1], S));
    assert_eq!(t.shape(), [2, 3, 5]);
    let mut expected = Vec::new();
    for row in a.chunks(40) {
        for n in 0..5 {
            expected.push((0..40).fold(0f32, |sum, k| row[k].mul_add(b[k * 5 + n], sum)));
        }
    }
    same(&t, &expected);
    let empty = run_f32(&[(&[2, 0], &[]), (&[0, 2], &[])], |g, v| g.matmul(v[0], v[1], S));
    same(&empty, &[0.0; 4]);
    assert!(run_f32(&[(&[0, 2], &[]), (&[2, 0], &[])], |g, v| g.matmul(v[0], v[1], S)).is_empty());
}

#[test]
fn integer_products_wrap_and_dots_are_exact() {
    // Beyond 2^31, and beyond one run of the evaluator's inner loop.
    let k = 140_000;
    let row = ints(DType::I8, &[1, k], &vec![-128; k]);
    let column = ints(DType::I8, &[k, 1], &vec![-128; k]);
    let types = [plain(DType::I8, "1 K"), plain(DType::I8, "K 1")];
    let kernel = kernel(&types, |b, v| {
        let exact = b.dot(v[0], v[1], S)?;
        let high = b.combine(exact, Scheme::Int8x1, S)?;
        Ok(vec![b.matmul(v[0], v[1], S)?, high])
    });
    let results = evaluate(&kernel, &Sizes::new(), &[row, column]).unwrap();
    let exact = k as i64 * 128 * 128;
    assert_eq!(results[0].int(0), Some(exact as i32 as i64));
    same(&results[1], &[exact as f32]);
}

#[test]
fn dequant_spreads_scales_and_zeros_by_group() {
    // Codes [1, 2, 4]; a scale per group of 2 columns with its axes in another order, by name;
    // a zero per row.
    let half = Dim::name("K").div(&Dim::constant(2)).unwrap();
    let scale = TensorType::new(DType::F16, vec![half, Dim::name("N")]);
    let q = QuantType::new(ty(DType::U4, "H N K"), scale, Some(ty(DType::U8, "N"))).unwrap();
    let input = Input {
        tensor: Tensor::from_codes(DType::U4, vec![1, 2, 4], 0..8).unwrap(),
        scale: Some(Tensor::from_f32(DType::F16, vec![2, 2], &[1.0, 10.0, 100.0, 1000.0]).unwrap()),
        zero: Some(Tensor::from_codes(DType::U8, vec![2], [1, 6].into_iter()).unwrap()),
    };
    let t = try_run(&[Type::Quant(q.into())], &[input], |b, v| Ok(vec![b.dequant(v[0], S)?])).unwrap();
    same(&t[0], &[-1.0, 0.0, 100.0, 200.0, -20.0, -10.0, 0.0, 1000.0]);
}

#[test]
fn dequant_rounds_once() {
    // 0.1f32 * (3 - 0.3f32) in F64, then F32; in F32 throughout it would be another number.
    let q = QuantType::new(ty(DType::I8, "1 3"), ty(DType::F32, "1"), Some(ty(DType::F32, "1"))).unwrap();
    let input = Input { scale: Some(one(0.1)), zero: Some(one(0.3)), ..ints(DType::I8, &[1, 3], &[3, -7, 101]) };
    let t = try_run(&[Type::Quant(q.into())], &[input], |b, v| Ok(vec![b.dequant(v[0], S)?])).unwrap();
    let value = |code: f64| (0.1f32 as f64 * (code - 0.3f32 as f64)) as f32;
    same(&t[0], &[value(3.0), value(-7.0), value(101.0)]);
}

fn one(value: f32) -> Tensor {
    Tensor::from_f32(DType::F32, vec![1], &[value]).unwrap()
}

/// `X @ dequant(W).T` for per-channel int8 codes, rewritten by hand.
fn linear(scheme: Scheme) -> Kernel {
    let q = QuantType::new(ty(DType::I8, "N K"), ty(DType::F32, "N"), None).unwrap();
    kernel(&[Type::Quant(q.into()), plain(DType::BF16, "M K")], |b, v| {
        let (codes, scale) = (b.codes(v[0], S)?, b.scale(v[0], S)?);
        let digits = b.decompose(v[1], scheme, S)?;
        let columns = b.t(codes, S)?;
        let products = b.dot(digits, columns, S)?;
        let sum = b.combine(products, scheme, S)?;
        let scaled = b.mul(sum, scale, S)?;
        let wide = b.mul(scaled, digits.sibling(1), S)?;
        Ok(vec![b.cast(wide, DType::F32, S)?])
    })
}

fn linear_inputs(n: usize, k: usize, x: &[f32]) -> [Input; 2] {
    let codes: Vec<i64> = (0..n * k).map(|i| (i as i64 * 89 + 31) % 255 - 127).collect();
    let scales: Vec<f32> = (0..n).map(|i| 0.01 + i as f32 * 0.003).collect();
    let scale = Tensor::from_f32(DType::F32, vec![n], &scales).ok();
    let x = Tensor::from_f32(DType::BF16, vec![x.len() / k.max(1), k], x).unwrap();
    [Input { scale, ..ints(DType::I8, &[n, k], &codes) }, x.into()]
}

#[test]
fn a_rewritten_linear_layer_is_its_formula() {
    let (n, k, m) = (3, 20, 2);
    for scheme in Scheme::ALL.iter().filter(|s| s.digit_dtype().is_int()) {
        let x: Vec<f32> = rough(m * k, 9).iter().map(|x| bf16_to_f32(f32_to_bf16(*x))).collect();
        let inputs = linear_inputs(n, k, &x);
        let result = evaluate(&linear(*scheme), &Sizes::new(), &inputs).unwrap().remove(0);
        let mut expected = Vec::new();
        for row in x.chunks(k) {
            let split = crate::quant::decompose::decompose_row(*scheme, row);
            for i in 0..n {
                let dot = |d: &Vec<f32>| -> i64 {
                    (0..k).map(|j| d[j] as i64 * inputs[0].tensor.int(i * k + j).unwrap()).sum()
                };
                let sum: i64 = scheme.weights().iter().zip(&split.digits).map(|(w, d)| w * dot(d)).sum();
                let scale = inputs[0].scale.as_ref().unwrap().to_f32()[i];
                expected.push(((sum as f32 * scale) as f64 * split.scale) as f32);
            }
        }
        same(&result, &expected);
    }
}

#[test]
fn a_nan_poisons_its_own_token() {
    let (n, k) = (2, 8);
    let mut x = vec![1.0f32; 3 * k];
    x[k + 3] = f32::INFINITY;
    let inputs = linear_inputs(n, k, &x);
    let t = evaluate(&linear(Scheme::Int8x2Pow2), &Sizes::new(), &inputs).unwrap().remove(0).to_f32();
    let nan: Vec<bool> = t.iter().map(|x| x.is_nan()).collect();
    assert_eq!(nan, [false, false, true, true, false, false]);
}

#[test]
fn empty_contractions_and_batches() {
    for (k, m) in [(0, 3), (4, 0), (0, 0)] {
        let [w, _] = linear_inputs(2, k, &[1.0; 4][..k]);
        let x = Tensor::zeros(DType::BF16, vec![m, k]).unwrap();
        let t = evaluate(&linear(Scheme::Int8x3Pow2), &Sizes::new(), &[w, x.into()]).unwrap().remove(0);
        assert_eq!(t.shape(), [m, 2]);
        same(&t, &vec![0.0; 2 * m]);
    }
}

#[test]
fn float64_rounds_nothing() {
    let q = QuantType::new(ty(DType::I8, "N K"), ty(DType::F32, "N"), None).unwrap();
    let source = kernel(&[Type::Quant(q.into()), plain(DType::BF16, "M K")], |b, v| {
        let w = b.dequant(v[0], S)?;
        let columns = b.t(w, S)?;
        let y = b.matmul(v[1], columns, S)?;
        let e = b.exp(y, S)?;
        Ok(vec![b.cast(y, DType::BF16, S)?, e])
    });
    let k = 30;
    let inputs = linear_inputs(2, k, &rough(k, 5));
    let found = evaluate_f64(&source, &Sizes::new(), &inputs).unwrap();
    for (i, (y, e)) in found[0].iter().zip(&found[1]).enumerate() {
        let scale = inputs[0].scale.as_ref().unwrap().value(i);
        let exact: f64 = (0..k).map(|j| scale * inputs[0].tensor.value(i * k + j) * inputs[1].tensor.value(j)).sum();
        assert!((y - exact).abs() <= 1e-12 * exact.abs());
        assert!((e - exact.exp()).abs() <= 1e-9 * exact.exp());
    }
}

#[test]
fn sizes_are_values() {
    let types = [plain(DType::F32, "M K")];
    let build = |b: &mut Builder, _: &[Value]| Ok(vec![b.size(Dim::name("K").mul(&Dim::constant(3)).unwrap(), S)?]);
    let t = try_run(&types, &[f32s(&[2, 5], &[0.0; 10])], build).unwrap();
    same(&t[0], &[15.0]);
}

#[test]
fn faults_of_the_inputs_and_of_the_graph_are_reported() {
    let x = plain(DType::F32, "M K");
    let wrong = try_run(std::slice::from_ref(&x), &[ints(DType::I32, &[1, 1], &[1])], |_, v| Ok(v.to_vec()));
    assert_eq!(wrong.unwrap_err().code, Code::InputType);
    let mut broken = kernel(&[x], |b, v| Ok(vec![b.neg(v[0], S)?]));
    broken.nodes[1].operands.clear();
    let fault = evaluate(&broken, &Sizes::new(), &[f32s(&[1, 1], &[1.0])]).unwrap_err();
    assert_eq!(fault.code, Code::Internal);
}
