//! Generated products with quantized weights on the modelled NPU: streams without faults or races, values within 2 ulp
//! of the sum of the magnitudes of the terms, and a token that is not finite spoils its own outputs alone.

use msd::ascend::chip::Chip;
use msd::ascend::text;
use msd::ir::dtype::DType;
use msd::ir::eval::evaluate_f64;
use msd::ir::graph::Lowering;
use msd::ir::input::Input;
use msd::ir::quant::scheme::{Family, Scheme};
use msd::ir::tensor::Tensor;
use msd::{Npu, NpuVariant, Options, Source};

use super::case::Case;
use super::for_seeds;
use super::linear::{check_poison, poison};
use super::measure::check_bound;
use super::oracle::draw::{Draw, Values};
use super::small_floats;

/// Kernels, each on one of two chips.
const CASES: u64 = 300;

#[test]
fn generated_kernels_first() {
    for_seeds(10_000..10_000 + CASES / 2, check);
}

#[test]
fn generated_kernels_second() {
    for_seeds(20_000..20_000 + CASES / 2, check);
}

fn check(draw: &mut Draw) -> Result<(), String> {
    let chip = *draw.pick(&["ascend-910b", "ascend-950"]);
    let chip = Chip::named(chip).map_err(|d| d.message)?;
    let case = if draw.below(3) == 0 { small_floats::draw(draw) } else { Case::draw(draw) };
    let source = case.source();
    let mut variant = NpuVariant { hoisted: draw.below(3) == 0, l2: draw.below(3) == 0, ..NpuVariant::default() };
    variant.fix = draw.below(2) == 0;
    // Activations that are F16 anyway lose nothing.
    variant.f16 = case.x == DType::F16 && draw.below(2) == 0;
    let scheme = case.request.scheme;
    let told = |e: String| format!("{source}\n{:?} on {}, {scheme:?}, {variant:?}: {e}", case.sizes, chip.name);
    // The kernel as it is, for faults; its product alone, for values.
    let whole = lowered(&case, &chip, variant).map_err(told)?;
    whole.check().map_err(|d| told(format!("{d:?}")))?;
    let stream = whole.stream();
    let is_empty = !stream.contains("cube {") && !stream.contains("vector {");
    let again = text::parse(&stream).map(|again| text::print(&again));
    // What computes nothing is no program to the parser.
    if !is_empty && again.as_ref().ok() != Some(&stream) {
        return Err(told(format!("{stream}does not read back: {again:?}")));
    }
    let bare = case.bare();
    let npu = lowered(&bare, &chip, variant).map_err(told)?;
    npu.check().map_err(|d| told(format!("{d:?}")))?;
    let mut inputs = draw.inputs(&npu.rewritten().source, &npu.rewritten().sizes, Values::Ordinary);
    if bare.x != DType::F16 {
        // Rows of other magnitudes than usual.
        let factor = draw.pick(&[0, 0, 0, 100, 40, -40, -70]);
        let x = &mut inputs[bare.x_index()].tensor;
        let values: Vec<f32> = x.to_f32().iter().map(|v| v * 2f32.powi(*factor)).collect();
        *x = Tensor::from_f32(bare.x, x.shape().to_vec(), &values).map_err(|d| d.message)?;
    }
    let found = call(&npu, &inputs).map_err(told)?;
    values(&bare, &npu, &inputs, &found).map_err(told)?;
    if npu.rewritten().lowering() == "msd"
        && let Some((spoilt, token)) = poison(&bare, &inputs, draw)
    {
        check_poison(&bare, &found, &call(&npu, &spoilt).map_err(told)?, token, true).map_err(told)?;
    }
    Ok(())
}

fn lowered(case: &Case, chip: &Chip, variant: NpuVariant) -> Result<Npu, String> {
    let text = case.source();
    let checked = Source::new("npu.msd", &*text).check().map_err(|d| format!("{text}: {d:?}"))?;
    let mut options = Options { request: case.request.clone(), ..Options::default() };
    // Digits without a sign are for other machines.
    if options.request.scheme.is_some_and(|s| s.is_unsigned()) {
        options.request.scheme = None;
    }
    let npu = Npu::new(&checked.kernels()[0], &case.sizes(), chip, &options, variant);
    npu.map_err(|d| format!("{d:?}"))
}

fn call(npu: &Npu, inputs: &[Input]) -> Result<Tensor, String> {
    let mut results = npu.call(inputs).map_err(|d| format!("{d:?}"))?;
    Ok(results.remove(0))
}

/// Each value against that of the evaluator on the same graph, in ulp of the sum of the magnitudes of the terms. A
/// weight that is dequantized is rounded to BF16, and so are activations.
///
/// Greedy digits are defined in F64, where a tie may be decided by that type's own rounding: what their last digit
/// differs by then is within the bound.
fn values(case: &Case, npu: &Npu, inputs: &[Input], found: &Tensor) -> Result<(), String> {
    let rewritten = npu.rewritten();
    let is_greedy = |scheme: Scheme| matches!(scheme.family(), Family::Greedy { .. });
    if rewritten.sites().into_iter().filter_map(|site| site.scheme).any(is_greedy) {
        return check_bound(case, rewritten, inputs, found);
    }
    let expected = rewritten.evaluate(inputs).map_err(|d| format!("{d:?}"))?.remove(0);
    let text = case.magnitude();
    let checked = Source::new("magnitude.msd", &*text).check().map_err(|d| format!("{text}: {d:?}"))?;
    let magnitudes = evaluate_f64(&checked.kernels()[0], &case.sizes(), &inputs[..2]);
    let magnitudes = magnitudes.map_err(|d| format!("{text}: {d:?}"))?.remove(0);
    let ulp = if rewritten.lowering() == "msd" { 2f64.powi(-23) } else { 2f64.powi(-8) };
    for (at, magnitude) in magnitudes.iter().enumerate() {
        let (error, limit) = ((found.value(at) - expected.value(at)).abs(), 2.0 * ulp * magnitude + 2f64.powi(-140));
        if error > limit || error.is_nan() {
            let (a, b) = (found.value(at), expected.value(at));
            return Err(format!("element {at}: {a} for {b}, {:.2} ulp of {magnitude}", error / ulp / magnitude));
        }
    }
    Ok(())
}

/// The inverse of the power of two of such a row is subnormal.
#[test]
fn rows_as_large_as_f32_holds() {
    let text = "kernel f(W: i8[N, K] scale f32[N], X: f32[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let checked = Source::new("large.msd", text).check().unwrap();
    let sizes = [("M", 2), ("N", 3), ("K", 32)].map(|(name, size)| (name.into(), size)).into();
    for scheme in Scheme::ALL.iter().filter(|s| !s.is_unsigned()) {
        let mut options = Options::default();
        options.request.lowering = Some(Lowering::Msd);
        options.request.scheme = Some(*scheme);
        let chip = Chip::named("ascend-950").unwrap();
        let npu = Npu::new(&checked.kernels()[0], &sizes, &chip, &options, NpuVariant::default()).unwrap();
        let mut inputs = Draw::new(1).inputs(&checked.kernels()[0], &sizes, Values::Ordinary);
        inputs[0].scale = Some(Tensor::from_f32(DType::F32, vec![3], &[1e-3; 3]).unwrap());
        inputs[1].tensor = Tensor::from_f32(DType::F32, vec![2, 32], &[3e38; 64]).unwrap();
        let found = npu.call(&inputs).unwrap().remove(0);
        let expected = npu.rewritten().evaluate(&inputs).unwrap().remove(0);
        for at in 0..expected.len() {
            let (found, expected) = (found.value(at), expected.value(at));
            assert!((found / expected - 1.0).abs() < 1e-5, "{scheme:?}: {found} for {expected}");
        }
    }
}

/// Sizes and chips that are seldom drawn: nothing at all, one element, one group, operands as they seldom lie, narrow
/// ways, little room; what is dequantized in L1 in many chunks, and beside what cannot be.
#[test]
fn kernels_at_the_edges() {
    let narrow = "[rates]\nl2_read_per_core = { value = 1, source = \"test\" }";
    let small =
        "[memory]\nub = { value = 131072, source = \"test\" }\n[cores]\ncube = { value = 1, source = \"test\" }";
    let two = "kernel f(G: i8[N, K] scale f32[N], U: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {
        silu(X @ dequant(G).T) * (X @ dequant(U).T) }";
    let rows = "kernel f(W: i4[K, N] scale f16[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W) }";
    let floats = "kernel f(W: e2m1[N, K] scale f16[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let one = "kernel f(W: i8[N, K] scale f16[N, K/1024], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let groups = "kernel f(W: u4[N, K] scale f16[N, K/128] zero u4[N, K/128], X: bf16[M, K]) -> f32[M, N] {
        X @ dequant(W).T }";
    let nibbles = "kernel f(W: u4[N, K] scale f16[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let channels = "kernel f(W: u8[N, K] scale f16[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let cut = "kernel f(W: i8[N, K] scale bf16[N, K/256], X: bf16[M, K]) -> f32[M, 2*N] {
        X @ concat(dequant(W), dequant(W), 0).T }";
    let both = "kernel f(W: i8[N, K] scale bf16[N, K/128], V: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {
        (X @ dequant(W).T) * (X @ dequant(V).T) }";
    let again = "kernel f(W: i8[N, K] scale bf16[N], V: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, 2*N] {
        concat(X @ dequant(W).T, X @ dequant(V).T, 1) }";
    // One right operand that is made and one that is not, with next to no L2.
    let mixed = "kernel f(W: i8[N, K] scale f32[N], V: bf16[N, K], X: bf16[M, K]) -> f32[M, N] {
        (X @ dequant(W).T) * (X @ V.T) }";
    let no_l2 = "[memory]\nl2 = { value = 65536, source = \"test\" }";
    // Several passes over each row, and several rows for each core.
    let digits = "kernel f(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let statistics = "kernel f(x: f32[M, N], w: f32[K]) -> f32[M, N] { softmax(x) }";
    // Without a scheme it is dequantized, scales brought out.
    for (text, [m, n, k], scheme, changed) in [
        (two, [0, 32, 64], Some(Scheme::Int8x2Pow2), ""),
        (two, [2, 0, 64], Some(Scheme::Int8x2Pow2), ""),
        (rows, [2, 16, 64], Some(Scheme::Int4x3Radix), ""),
        (rows, [3, 31, 33], Some(Scheme::Int4x4Radix), ""),
        (floats, [3, 2, 1], Some(Scheme::Int8x2Pow2), ""),
        (floats, [1, 33, 1], None, ""),
        (one, [1, 16, 1024], Some(Scheme::Int8x2Pow2), narrow),
        (groups, [200, 512, 256], Some(Scheme::Int8x2Pow2), small),
        (nibbles, [3, 1600, 63], Some(Scheme::Int8x2Pow2), ""),
        (nibbles, [3, 1600, 63], None, ""),
        (channels, [17, 300, 3001], None, small),
        (channels, [150, 130, 1000], None, small),
        (channels, [17, 300, 3001], Some(Scheme::Int8x2Pow2), small),
        (two, [3, 100, 2100], None, small),
        (cut, [3, 128, 256], None, ""),
        (both, [3, 128, 512], None, ""),
        (again, [2, 512, 1000], None, ""),
        (mixed, [1, 512, 1024], None, no_l2),
        (digits, [9, 3, 20001], Some(Scheme::Int8x2Pow2), small),
        (statistics, [9, 20000, 1], Some(Scheme::Int8x2Pow2), small),
    ] {
        for base in ["ascend-910b", "ascend-950"] {
            let told = format!("{text} {m} {n} {k} {scheme:?} {base} {changed}");
            let chip = Chip::parse(&format!("extends = \"{base}\"\nname = \"changed\"\n{changed}")).expect(&told);
            let checked = Source::new("edge.msd", text).check().expect(&told);
            let kernel = &checked.kernels()[0];
            let sizes = [("M", m), ("N", n), ("K", k)].map(|(name, size)| (name.into(), size)).into();
            let mut options = Options::default();
            options.request.lowering = Some(if scheme.is_some() { Lowering::Msd } else { Lowering::Dequant });
            options.request.scheme = scheme;
            let variant = NpuVariant { hoisted: true, ..NpuVariant::default() };
            let npu = Npu::new(kernel, &sizes, &chip, &options, variant).expect(&told);
            npu.check().expect(&told);
            let inputs = Draw::new(7).inputs(kernel, &sizes, Values::Ordinary);
            let found = npu.call(&inputs).expect(&told).remove(0);
            let expected = npu.rewritten().evaluate(&inputs).expect(&told).remove(0);
            let largest = (0..expected.len()).map(|at| expected.value(at).abs()).fold(0.0, f64::max);
            // Scales that could not be brought out are multiplied in BF16.
            let limit = if scheme.is_some() { 1e-5 } else { 4e-3 };
            for at in 0..expected.len() {
                let (found, expected) = (found.value(at), expected.value(at));
                assert!((found - expected).abs() <= limit * largest, "{told}: element {at}: {found} for {expected}");
            }
        }
    }
}

/// Where zero points would leave 32 bits, that is said.
#[test]
fn contractions_too_long_for_zero_points() {
    let text = "kernel f(W: i8[N, K] scale f32[N] zero i8[N], X: f32[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let checked = Source::new("long.msd", text).check().unwrap();
    let chip = Chip::named("ascend-910b").unwrap();
    let mut options = Options::default();
    options.request.lowering = Some(Lowering::Msd);
    let lowered = |k: u64| {
        let sizes = [("M", 1), ("N", 4), ("K", k)].map(|(name, size)| (name.into(), size)).into();
        Npu::new(&checked.kernels()[0], &sizes, &chip, &options, NpuVariant::default())
    };
    assert!(lowered(65_535).is_ok());
    let refused = lowered(65_536).err().expect("sums of 2^31");
    assert!(refused.message.contains("65536 elements with zero points"), "{refused:?}");
}
