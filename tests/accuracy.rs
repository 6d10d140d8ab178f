//! How close compiled products come to the float64 value of the source, for the formats people use:
//! relative L2 error on Gaussian tensors, quantized by our own quantizer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

#[path = "oracle/draw.rs"]
#[allow(dead_code, reason = "shared with tests that draw more")]
mod draw;

use draw::{Draw, Values};
use msd::ir::dtype::DType;
use msd::ir::input::Input;
use msd::{Kernel, Lowering, Options, Rewritten, Source, Tensor};

/// `|y - y*| / |y*|` of the compiled kernel `text`, whose first parameter is the weight.
fn error(text: &str, m: usize, n: usize, k: usize, options: &Options) -> f64 {
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
    let rewritten = Rewritten::new(&checked.kernels()[0], &Default::default(), options).unwrap();
    assert_eq!(rewritten.lowering(), "msd", "{text}");
    let (tensor, scale, zero) = weight.into_parts();
    let weight = Input { tensor, scale: Some(scale), zero };
    let exact = rewritten.evaluate_f64(&[weight, x.into()]).unwrap().remove(0);
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let error = norm(&mut exact.iter().enumerate().map(|(i, exact)| y.value(i) - exact));
    error / norm(&mut exact.iter().copied())
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
