//! How close compiled products come to the float64 value of the source, for the formats people use:
//! relative L2 error on Gaussian tensors, quantized by our own quantizer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

#[path = "oracle/draw.rs"]
#[allow(dead_code, reason = "shared with tests that draw more")]
mod draw;

use std::sync::Arc;

use draw::{Draw, Values};
use msd::ir::dtype::DType;
use msd::ir::eval::evaluate_f64;
use msd::ir::input::Input;
use msd::{Kernel, Lowering, Options, Rewritten, Scheme, Source, Tensor};

/// `|y - y*| / |y*|` of the compiled kernel `text`, whose first parameter is the weight.
fn error(text: &str, m: usize, n: usize, k: usize, options: &Options) -> f64 {
    let product = Product::of(text, m, n, k, options);
    assert_eq!(product.rewritten.lowering(), "msd", "{text}");
    product.error()
}

/// A product that was computed.
struct Product {
    rewritten: Rewritten,
    inputs: [Input; 2],
    y: Tensor,
    /// The float64 value of the source.
    exact: Vec<f64>,
}

impl Product {
    fn of(text: &str, m: usize, n: usize, k: usize, options: &Options) -> Product {
        let mut draw = Draw::new((m * 7 + n) as u64);
        let mut floats =
            |rows: usize, columns: usize| draw.tensor(DType::F32, vec![rows, columns], Values::Ordinary).to_f32();
        let (mut w, x) = (floats(n, k), floats(m, k));
        if text.contains("(W: u") && !text.contains(" zero ") {
            // Unsigned codes without a zero point hold nothing negative.
            w.iter_mut().for_each(|w| *w = w.abs());
        }
        let kernel = Kernel::new(text, options).unwrap();
        let weight = kernel.quantize("W", &w, &[n, k]).unwrap();
        let x = Tensor::from_f32(DType::BF16, vec![m, k], &x).unwrap();
        let y = kernel.call(&[(&weight).into(), (&x).into()]).unwrap().remove(0);

        let checked = Source::new("accuracy.msd", text).check().unwrap();
        let sizes = [("M", m), ("N", n), ("K", k)].map(|(name, size)| (Arc::from(name), size as u64)).into();
        let rewritten = Rewritten::new(&checked.kernels()[0], &sizes, options).unwrap();
        let (tensor, scale, zero) = weight.into_parts();
        let inputs = [Input { tensor, scale: Some(scale), zero }, x.into()];
        let exact = rewritten.evaluate_f64(&inputs).unwrap().remove(0);
        Product { rewritten, inputs, y, exact }
    }

    /// The relative L2 error.
    fn error(&self) -> f64 {
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let error = norm(&mut self.exact.iter().enumerate().map(|(i, exact)| self.y.value(i) - exact));
        error / norm(&mut self.exact.iter().copied())
    }

    /// The largest error of an element, over what is certified of it.
    fn share_of_bound(&self, weight: &str) -> f64 {
        let text = format!("kernel w(W: {weight}) -> f32[N, K] {{ dequant(W) }}");
        let checked = Source::new("weight.msd", text).check().unwrap();
        let w = evaluate_f64(&checked.kernels()[0], &self.rewritten.sizes, &self.inputs[..1]).unwrap().remove(0);
        let bound = self.rewritten.sites()[0].certificate.as_ref().unwrap().bound;
        let (x, k) = (self.inputs[1].tensor.to_f32(), self.inputs[1].tensor.shape()[1]);
        let largest: Vec<f64> = x.chunks(k).map(|row| row.iter().fold(0.0, |m, x| x.abs().max(m)) as f64).collect();
        let sums: Vec<f64> = w.chunks(k).map(|row| row.iter().map(|w| w.abs()).sum()).collect();
        let limits = largest.iter().flat_map(|x| sums.iter().map(move |w| bound * x * w));
        let shares = limits.enumerate().map(|(i, limit)| (self.y.value(i) - self.exact[i]).abs() / limit);
        shares.fold(0.0, f64::max)
    }
}

#[test]
fn asymmetric_groups_of_4_bits() {
    let text = "kernel f(W: u4[N, K] scale f16[N, K/128] zero u4[N, K/128], X: bf16[M, K]) -> f32[M, N] {
        X @ dequant(W).T
    }";
    for m in [1, 5, 64] {
        let found = error(text, m, 128, 1024, &Options::new());
        assert!(found <= 1e-4, "M = {m}: {found:e}");
        // Two digits, whose error this is; more than a few roundings, less than the bound.
        assert!(found > 1e-7, "M = {m}: {found:e}");
    }
}

#[test]
fn two_digits_of_every_integer_format() {
    let placements = [
        "[1]",
        "[N]",
        "[K]",
        "[N, K/32]",
        "[N, K/64]",
        "[N, K/128]",
        "[N, K/256]",
        "[N/128, K/128]",
        "[N/16]",
        "[K/32]",
    ];
    for (scale, placement) in ["f32", "f16", "bf16"].into_iter().flat_map(|s| placements.map(|p| (s, p))) {
        for codes in ["i8", "u8", "i4", "u4"] {
            for zero in ["", codes, "f16"] {
                if placement == "[K]" && zero == "f16" {
                    // The one placement that is dequantized: its guard has a filetest.
                    continue;
                }
                let zero = if zero.is_empty() { String::new() } else { format!(" zero {zero}{placement}") };
                let text = format!(
                    "kernel f(W: {codes}[N, K] scale {scale}{placement}{zero}, X: bf16[M, K]) -> f32[M, N] {{ \
                     X @ dequant(W).T }}"
                );
                let found = error(&text, 3, 256, 256, &Options::new().lowering(Lowering::Msd));
                assert!(found <= 1e-4, "{text}: {found:e}");
            }
        }
    }
}

#[test]
fn three_digits_are_as_good_as_floats() {
    let text = "kernel f(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let options = Options::new().scheme(msd::Scheme::Int8x3Pow2);
    let found = error(text, 16, 128, 1024, &options);
    assert!(found <= 1e-7, "{found:e}");
}

fn linear(weight: &str) -> String {
    format!("kernel f(W: {weight}, X: bf16[M, K]) -> f32[M, N] {{ X @ dequant(W).T }}")
}

/// Formats of 4 bits, and others with scales that are powers of two.
const SMALL: &[&str] = &[
    "mxfp4[N, K]",
    "e1m2[N, K] scale e8m0[N, K/32]",
    "e2m1[N, K] scale e4m3[N, K/16]",
    "e2m1[N, K] scale f32[N]",
    "i8[N, K] scale e8m0[N, K/32]",
];

/// Formats of 8 bits that are floats.
const FP8: &[&str] = &[
    "mxfp8[N, K]",
    "e5m2[N, K] scale e8m0[N, K/32]",
    "e4m3[N, K] scale f32[N]",
    "e5m2[N, K] scale f32[N]",
    "e4m3[N, K] scale f32[N/128, K/128]",
    "e5m2[N, K] scale f32[N/128, K/128]",
];

/// Tokens and lengths of contraction.
const SHAPES: [(usize, usize); 3] = [(1, 4096), (5, 512), (64, 1024)];

#[test]
fn two_digits_of_every_small_float() {
    for weight in SMALL.iter().chain(FP8) {
        for (m, k) in SHAPES {
            // What is cheaper for floats of 8 bits is not what is measured here.
            let own = if SMALL.contains(weight) { Options::new() } else { Options::new().lowering(Lowering::Msd) };
            for options in [own, Options::new().lowering(Lowering::Dequant)] {
                let product = Product::of(&linear(weight), m, 128, k, &options);
                let (found, share) = (product.error(), product.share_of_bound(weight));
                let method = product.rewritten.lowering();
                assert!(found <= 1e-4, "{weight} by {method}, M = {m}, K = {k}: {found:e}");
                assert!(share <= 1.0, "{weight} by {method}, M = {m}, K = {k}: {share} of what is certified");
            }
        }
    }
}

#[test]
fn a_scalar_of_the_whole_tensor() {
    let text = "kernel f(W: e2m1[N, K] scale e4m3[N, K/16], X: bf16[M, K]) -> f32[M, N] {
        X @ (dequant(W) * 0.375).T
    }";
    let found = error(text, 5, 128, 2048, &Options::new());
    assert!(found <= 1e-4, "{found:e}");
}

/// What digits that are floats keep of activations is much the same whatever the weight.
#[test]
fn digits_of_small_floats() {
    let cases = [
        (Scheme::Mxfp4x1, 5e-2, 2e-1),
        (Scheme::Mxfp4x2, 5e-3, 2e-2),
        (Scheme::Mxfp4x2V1, 1e-2, 3e-2),
        (Scheme::Mxfp4x2V2, 5e-3, 2e-2),
        (Scheme::Mxfp4x2E2m1, 1e-2, 4e-2),
        (Scheme::Fp8x1, 2e-2, 3e-2),
        (Scheme::Mxfp8x1, 2e-2, 3e-2),
        // Exact, but for the sums.
        (Scheme::Fp8x2, 0.0, 1e-5),
    ];
    for (scheme, least, most) in cases {
        for weight in SMALL.iter().chain(FP8) {
            // A group of 16 has no blocks of 32.
            if scheme.block().is_some() && weight.contains("K/16") {
                continue;
            }
            for (m, k) in [(1, 4096), (16, 1024)] {
                let product = Product::of(&linear(weight), m, 128, k, &Options::new().scheme(scheme));
                assert_eq!(product.rewritten.scheme(), Some(scheme.name()), "{weight}");
                let (found, share, name) = (product.error(), product.share_of_bound(weight), scheme.name());
                assert!(found > least && found <= most, "{name} by {weight}, M = {m}, K = {k}: {found:e}");
                assert!(share <= 1.0, "{name} by {weight}, M = {m}, K = {k}: {share} of what is certified");
            }
        }
    }
}
