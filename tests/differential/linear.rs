//! Linear layers in every form the rewrite knows: scheme, orientation, scale, epilogue, sizes,
//! element types, lowering. Beyond equal bits: the certified bound holds against the float64
//! value, and a token that is not finite spoils its own outputs and nothing else.

use std::sync::Arc;

use msd::ir::dim::Sizes;
use msd::ir::dtype::DType;
use msd::ir::graph::{Kernel, Lowering};
use msd::ir::input::Input;
use msd::ir::plan::Request;
use msd::ir::quant::scheme::Scheme;
use msd::ir::rewrite::EventResult;
use msd::ir::rewrite::lowering::AS_STORED;
use msd::ir::tensor::Tensor;
use msd::{Options, Rewritten, Source};

use super::oracle::Oracle;
use super::oracle::draw::{Draw, Values};
use super::{SIZES, for_seeds};

/// Most multiply-accumulates of a product.
const MAX_MACS: usize = 1 << 20;

/// Where the weight stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Orientation {
    /// `X [M, K] @ dequant(W [N, K]).T`
    Rows,
    /// `X [M, K] @ dequant(W [K, N])`
    Columns,
    /// `dequant(W [N, K]) @ X [K, M]`, result `[N, M]`
    Left,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Epilogue {
    None,
    Bias,
    Residual,
    Factor,
    Silu,
}

struct Case {
    orientation: Orientation,
    epilogue: Epilogue,
    /// Batches of X, if it has any.
    batch: Option<usize>,
    codes: &'static str,
    scale: String,
    x: DType,
    result: &'static str,
    request: Request,
    /// Of the dimensions M, N and K.
    sizes: [usize; 3],
    /// Whether the compiled kernel knows M.
    is_fixed: bool,
}

impl Case {
    fn draw(draw: &mut Draw) -> Case {
        let orientation = *draw.pick(&[Orientation::Rows, Orientation::Columns, Orientation::Left]);
        let epilogues =
            [Epilogue::None, Epilogue::None, Epilogue::Bias, Epilogue::Residual, Epilogue::Factor, Epilogue::Silu];
        let sizes = loop {
            let mut one = || if draw.below(24) == 0 { 0 } else { *draw.pick(SIZES) };
            let sizes = [one(), one(), one()];
            if sizes.iter().product::<usize>() <= MAX_MACS {
                break sizes;
            }
        };
        // Sizes that fill groups of 16 are rare in the list; make some.
        let sizes = if draw.below(4) == 0 { [sizes[0], sizes[1], sizes[2] / 16 * 16] } else { sizes };
        let part = *draw.pick(&["f32", "f16", "bf16"]);
        let scale = match draw.below(8) {
            0 => format!("{part}[K]"),
            1 if sizes[2] % 16 == 0 && orientation == Orientation::Columns => format!("{part}[K/16, N]"),
            1 if sizes[2] % 16 == 0 => format!("{part}[N, K/16]"),
            2 => format!("{part}[N] zero u8[N]"),
            3 | 4 => format!("{part}[1]"),
            _ => format!("{part}[N]"),
        };
        let lowering = *draw.pick(&[Lowering::Msd, Lowering::Msd, Lowering::Msd, Lowering::Dequant]);
        let request = Request { lowering: Some(lowering), scheme: Some(*draw.pick(Scheme::ALL)), ..Request::default() };
        Case {
            orientation,
            epilogue: *draw.pick(&epilogues),
            batch: (draw.below(4) == 0).then(|| 1 + draw.below(3)),
            codes: draw.pick::<&str>(&["i8", "i8", "u8", "i4", "u4"]),
            scale,
            x: *draw.pick(&[DType::BF16, DType::F16, DType::F32]),
            result: draw.pick::<&str>(&["f32", "f32", "bf16", "f16"]),
            request,
            sizes,
            is_fixed: draw.below(3) > 0,
        }
    }

    fn source(&self) -> String {
        let batch = self.batch.map_or(String::new(), |b| format!("{b}, "));
        let (w, x, y, product, channel) = match self.orientation {
            Orientation::Rows => ("N, K", "M, K", "M, N", "X @ W_.T", "N"),
            Orientation::Columns => ("K, N", "M, K", "M, N", "X @ W_", "N"),
            Orientation::Left => ("N, K", "K, M", "N, M", "W_ @ X", "N, 1"),
        };
        let weight = if self.epilogue == Epilogue::Factor { "(2.5 * dequant(W))" } else { "dequant(W)" };
        let product = product.replace("W_", weight);
        let (extra, body) = match self.epilogue {
            Epilogue::None | Epilogue::Factor => (String::new(), product),
            Epilogue::Bias => (format!(", b: f32[{channel}]"), format!("{product} + b")),
            Epilogue::Residual => (format!(", r: bf16[{batch}{y}]"), format!("r + {product}")),
            Epilogue::Silu => (String::new(), format!("silu({product})")),
        };
        let (codes, scale, kind, result) = (self.codes, &self.scale, self.x.name(), self.result);
        let params = format!("W: {codes}[{w}] scale {scale}, X: {kind}[{batch}{x}]{extra}");
        format!("kernel linear({params}) -> {result}[{batch}{y}] {{ {body} }}")
    }

    /// Index of an element of token `m`, `j` along the other axis of an operand or result.
    fn place(&self, batch: usize, m: usize, j: usize, other: usize) -> usize {
        let tokens = self.sizes[0];
        match self.orientation {
            Orientation::Left => (batch * other + j) * tokens + m,
            Orientation::Rows | Orientation::Columns => (batch * tokens + m) * other + j,
        }
    }

    fn batches(&self) -> usize {
        self.batch.unwrap_or(1)
    }
}

#[test]
fn linear_layers() {
    let oracle = Oracle::new(&[1, 2, 3]);
    for_seeds(250, |draw| {
        let case = Case::draw(draw);
        let text = case.source();
        check(&oracle, &case, &text, draw).map_err(|e| format!("{text}\n{:?}, {:?}: {e}", case.sizes, case.request))
    });
}

/// Sums as large as they get: every product is the extreme one, so that an accumulator that is
/// drained too late overflows, which random values hardly ever make it do.
#[test]
fn long_contractions_of_extremes() {
    let oracle = Oracle::new(&[1]);
    let native = "kernel native(A: u8[M, K] scale f32[1], B: u8[N, K] scale f32[1]) -> f32[M, N] {
        dequant(A) @ dequant(B).T
    }";
    let linear = "kernel linear(W: i8[N, K] scale f32[1], X: f32[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let request = Request { lowering: Some(Lowering::Msd), ..Request::default() };
    for (text, weights, other) in [(native, 255, 255.0), (linear, -128, -1.0), (linear, 127, 1.0), (linear, 127, -1.0)]
    {
        let checked = Source::new("extremes.msd", text).check().unwrap();
        for k in [1 << 15, (1 << 15) + 1, 140_003] {
            // Seven channels are one full group of four and one that is not.
            let sizes: Sizes = [("M", 3), ("N", 7), ("K", k)].map(|(name, size)| (Arc::from(name), size)).into();
            let options = Options { request: request.clone(), ..Options::default() };
            let rewritten = Rewritten::new(&checked.kernels()[0], &sizes, &options).unwrap();
            let mut inputs = Draw::new(0).inputs(&checked.kernels()[0], &sizes, Values::Ordinary);
            for input in &mut inputs {
                let (dtype, shape) = (input.tensor.dtype(), input.tensor.shape().to_vec());
                let value = if dtype == DType::F32 { other } else { weights as f32 };
                let count = shape.iter().product();
                input.tensor = Tensor::from_f32(dtype, shape, &vec![value; count]).unwrap();
            }
            oracle.check(&rewritten.kernel, &sizes, &[inputs]).unwrap_or_else(|e| panic!("K = {k}: {e}"));
        }
    }
}

fn check(oracle: &Oracle, case: &Case, text: &str, draw: &mut Draw) -> Result<(), String> {
    let checked = Source::new("linear.msd", text).check().map_err(|d| format!("{d:?}"))?;
    let kernel = &checked.kernels()[0];
    let named = ["M", "N", "K"].into_iter().zip(case.sizes);
    let sizes: Sizes = named.map(|(name, size)| (Arc::from(name), size as u64)).collect();
    let mut known = sizes.clone();
    if !case.is_fixed {
        known.remove("M");
    }
    let options = Options { request: case.request.clone(), ..Options::default() };
    let rewritten = Rewritten::new(kernel, &known, &options).map_err(|d| format!("{d:?}"))?;

    let ordinary = draw.inputs(kernel, &sizes, Values::Ordinary);
    let special = draw.inputs(kernel, &sizes, Values::Special);
    let mut sets = vec![ordinary.clone(), special];
    let poisoned = poison(case, &ordinary, draw);
    sets.extend(poisoned.iter().map(|(inputs, _)| inputs.clone()));
    oracle.check(&rewritten.kernel, &known, &sets)?;

    let clean = evaluated(&rewritten, &ordinary)?;
    if let Some((inputs, token)) = &poisoned {
        let spoilt = evaluated(&rewritten, inputs)?;
        check_poison(case, &clean, &spoilt, *token, uses_digits(&rewritten))?;
    }
    if case.epilogue == Epilogue::None && case.result == "f32" {
        check_bound(case, kernel, &rewritten, &ordinary, &clean)?;
        let tiny = scaled(case, &ordinary, 2f32.powi(-110));
        check_bound(case, kernel, &rewritten, &tiny, &evaluated(&rewritten, &tiny)?)?;
    }
    Ok(())
}

fn evaluated(rewritten: &Rewritten, inputs: &[Input]) -> Result<Tensor, String> {
    Ok(rewritten.evaluate(inputs).map_err(|d| format!("{d:?}"))?.remove(0))
}

fn uses_digits(rewritten: &Rewritten) -> bool {
    rewritten.events.iter().any(|e| AS_STORED.contains(&e.rule) && matches!(e.result, EventResult::Fired { .. }))
}

/// The inputs with one element of X no longer finite, and its (batch, token); nothing without elements.
fn poison(case: &Case, inputs: &[Input], draw: &mut Draw) -> Option<(Vec<Input>, (usize, usize))> {
    let [m, _, k] = case.sizes;
    if m == 0 || k == 0 {
        return None;
    }
    let token = (draw.below(case.batches()), draw.below(m));
    let at = case.place(token.0, token.1, draw.below(k), k);
    let value = *draw.pick(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
    let mut inputs = inputs.to_vec();
    let x = &mut inputs[1].tensor;
    let mut values = x.to_f32();
    values[at] = value;
    *x = Tensor::from_f32(x.dtype(), x.shape().to_vec(), &values).ok()?;
    Some((inputs, token))
}

fn check_poison(
    case: &Case,
    clean: &Tensor,
    spoilt: &Tensor,
    token: (usize, usize),
    digits: bool,
) -> Result<(), String> {
    let [m, n, _] = case.sizes;
    for batch in 0..case.batches() {
        for row in 0..m {
            for j in 0..n {
                let at = case.place(batch, row, j, n);
                let (before, after) = (clean.value(at), spoilt.value(at));
                if (batch, row) != token && before.to_bits() != after.to_bits() {
                    return Err(format!("token {token:?} changed token {:?}: {before} to {after}", (batch, row)));
                }
                if (batch, row) == token && digits && !after.is_nan() {
                    return Err(format!("token {token:?} is not finite, but its output {j} is {after}"));
                }
            }
        }
    }
    Ok(())
}

/// `|y - y*| <= bound * Mx * sum_k |w|` for every output.
fn check_bound(
    case: &Case,
    kernel: &Kernel,
    rewritten: &Rewritten,
    inputs: &[Input],
    y: &Tensor,
) -> Result<(), String> {
    let [m, n, k] = case.sizes;
    let site = rewritten.plan.sites.first().ok_or("no site was planned")?;
    let lowering = if uses_digits(rewritten) { Lowering::Msd } else { Lowering::Dequant };
    let scheme = (lowering == Lowering::Msd).then_some(site.choice.scheme);
    let found = site.alternatives.iter().find(|a| a.lowering == lowering && a.scheme == scheme);
    let bound = found.and_then(|a| a.bound()).ok_or("no bound is certified")?;

    let exact = rewritten.evaluate_f64(inputs).map_err(|d| format!("{d:?}"))?.remove(0);
    let x = &inputs[1].tensor;
    let w = weight(kernel, inputs)?;
    let sums: Vec<f64> = (0..n)
        .map(|j| {
            (0..k).map(|i| w[if case.orientation == Orientation::Columns { i * n + j } else { j * k + i }].abs()).sum()
        })
        .collect();
    for batch in 0..case.batches() {
        for row in 0..m {
            let mx = (0..k).map(|i| x.value(case.place(batch, row, i, k)).abs()).fold(0.0, f64::max);
            for (j, sum) in sums.iter().enumerate() {
                let at = case.place(batch, row, j, n);
                let (error, limit) = ((y.value(at) - exact[at]).abs(), bound * mx * sum);
                // Below its normal range F32 itself is no finer than this.
                if error > limit * (1.0 + 1e-9) + 2f64.powi(-149) {
                    return Err(format!("error {error:e} above {limit:e} at token {row}, channel {j}: {}", exact[at]));
                }
            }
        }
    }
    Ok(())
}

/// The float64 value of the weight.
fn weight(kernel: &Kernel, inputs: &[Input]) -> Result<Vec<f64>, String> {
    let codes = kernel.params[0].ty.to_string();
    let dims = codes.split(['[', ']']).nth(1).unwrap_or_default();
    let text = format!("kernel w(W: {codes}) -> f32[{dims}] {{ dequant(W) }}");
    let checked = Source::new("weight.msd", text).check().map_err(|d| format!("{d:?}"))?;
    let values = msd::ir::eval::evaluate_f64(&checked.kernels()[0], &Sizes::new(), &inputs[..1]);
    Ok(values.map_err(|d| format!("{d:?}"))?.remove(0))
}

/// The inputs with X multiplied by a power of two.
fn scaled(case: &Case, inputs: &[Input], factor: f32) -> Vec<Input> {
    let mut inputs = inputs.to_vec();
    let x = &mut inputs[1].tensor;
    // F16 has no such exponents: its subnormals instead.
    let factor = if case.x == DType::F16 { 2f32.powi(-22) } else { factor };
    let values: Vec<f32> = x.to_f32().iter().map(|v| v * factor).collect();
    *x = Tensor::from_f32(x.dtype(), x.shape().to_vec(), &values).unwrap_or_else(|_| panic!("the same shape"));
    inputs
}
