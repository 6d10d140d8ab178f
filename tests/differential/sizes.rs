//! Products of every awkward size: evaluator and machine code agree bit for bit on every instruction set of
//! this machine, with more threads than it has processors. Sizes that tiles, panels, blocks and units divide
//! are the exception here.

use std::sync::Arc;

use msd::ir::dim::Sizes;
use msd::ir::graph::Lowering;
use msd::ir::quant::scheme::Scheme;
use msd::{Options, Source};

use crate::oracle::Oracle;
use crate::oracle::draw::{Draw, Values};

const CHANNELS: [u64; 4] = [1, 15, 17, 1000];
const DEPTHS: [u64; 5] = [1, 3, 31, 33, 4097];

const LINEAR: &str =
    "kernel f(W: i8[N, K] scale f32[N], X: bf16[M, K], b: f32[N]) -> f32[M, N] { X @ dequant(W).T + b }";
const GATED: &str =
    "kernel f(G: i8[N, K] scale f32[N], U: i8[N, K] scale f32[N] zero i8[N], X: f32[M, K]) -> bf16[M, N] {
    silu(X @ dequant(G).T) * (X @ dequant(U).T)
}";

/// Runs a kernel with these sizes, the number of tokens open, on ordinary and special values.
fn check(oracle: &Oracle, text: &str, scheme: Scheme, n: u64, k: u64, tokens: impl IntoIterator<Item = u64>) {
    let checked = Source::new("f.msd", text).check().unwrap();
    let kernel = checked.kernel(None).unwrap();
    let known: Sizes = [("N", n), ("K", k)].map(|(name, size)| (Arc::from(name), size)).into();
    let options = Options::new().lowering(Lowering::Msd).scheme(scheme);
    let rewritten = checked.rewrite(kernel, &known, &options).unwrap();
    let mut draw = Draw::new(n * 31 + k);
    let mut inputs = Vec::new();
    for m in tokens {
        let sizes: Sizes =
            known.iter().map(|(d, s)| (d.clone(), *s)).chain([(Arc::from("M"), m), (Arc::from("H"), 3)]).collect();
        let values = if m % 4 == 1 { Values::Special } else { Values::Ordinary };
        inputs.push(draw.inputs(&rewritten.kernel, &sizes, values));
    }
    let result = oracle.check(&rewritten.kernel, &known, &inputs);
    assert!(result.is_ok(), "{text} {} N={n} K={k}: {}", scheme.name(), result.unwrap_err());
}

#[test]
fn every_number_of_tokens() {
    let oracle = Oracle::new(&[1, 8]);
    for scheme in [Scheme::Int8x1, Scheme::Int8x2Pow2, Scheme::Int8x3Pow2, Scheme::Int4x4Radix] {
        check(&oracle, LINEAR, scheme, 17, 33, 1..=33);
    }
    check(&oracle, GATED, Scheme::Int8x2Radix, 33, 31, 1..=33);
    // Where tokens begin to be many, and blocks of them uneven.
    check(&oracle, LINEAR, Scheme::Int8x1, 48, 33, [37, 38, 39, 55, 57, 85]);
}

#[test]
fn elementwise_work_that_tiles_do() {
    let oracle = Oracle::new(&[1, 3]);
    let weights = "W: i8[N, K] scale f32[N], A: u4[N, K] scale f16[N, K/8] zero u4[N, K/8], V: f32[K, N]";
    let others = "b: f32[N], h: bf16[N], t: f32[M, 1], r: f32[M, N], q: bf16[M, N], z: f32[N, M]";
    for body in [
        "X @ dequant(W).T + b",
        "b - X @ dequant(W).T",
        "r + (X @ dequant(W).T) * t",
        "(q - X @ dequant(W).T + h) * b",
        "X @ dequant(A).T + b",
        "h * (X @ dequant(A).T) - q",
        "X @ V + r",
        "(X @ V) * t",
        "(X @ dequant(W).T + b) * b",
        // More than tiles take.
        "(X @ V * b + r) * h + q - b",
        "let y = X @ dequant(W).T; y + y * b",
        "X @ dequant(W).T + z.T",
        "(X @ dequant(W).T) * (X @ V)",
    ] {
        let text = format!("kernel f({weights}, {others}, X: f32[M, K]) -> f32[M, N] {{ {body} }}");
        // Sums that fit an I32 when merged, and some that do not; of groups of several panels.
        for (scheme, n, k) in [(Scheme::Int8x2Pow2, 48, 40), (Scheme::Int8x3Pow2, 64, 24), (Scheme::Int8x1, 16, 8)] {
            check(&oracle, &text, scheme, n, k, [1, 3, 5, 8, 21, 40]);
        }
    }
    // One token that is known, and batches with operands of their own and shared ones.
    for (x, others) in [
        ("X: f32[1, K]", "b: f32[1, N], t: f32[1, 1], r: f32[1, N]"),
        ("X: bf16[H, M, K]", "b: f32[H, 1, N], t: f32[M, 1], r: f32[H, M, N]"),
        ("X: bf16[H, M, K]", "b: f32[N], t: f32[H, M, 1], r: f32[M, N]"),
    ] {
        let result = x.replace("X: bf16", "f32").replace("X: f32", "f32").replace('K', "N");
        let text = format!(
            "kernel f(W: i8[N, K] scale f32[N], {x}, {others}) -> {result} {{ (X @ dequant(W).T + b) * t + r }}"
        );
        check(&oracle, &text, Scheme::Int8x2Pow2, 32, 24, [1, 5, 21]);
    }
}

#[test]
fn odd_channels_and_depths() {
    let oracle = Oracle::new(&[1, 8]);
    for n in CHANNELS {
        for k in DEPTHS {
            // The largest take the evaluator a while.
            let tokens: &[u64] = if n * k > 1_000_000 { &[1, 5] } else { &[1, 2, 5, 33] };
            check(&oracle, LINEAR, Scheme::Int8x2Pow2, n, k, tokens.iter().copied());
        }
    }
}

#[test]
fn many_tokens_are_done_in_turns() {
    let oracle = Oracle::new(&[1, 3]);
    check(&oracle, LINEAR, Scheme::Int8x2Pow2, 70, 64, [255, 256, 257, 600]);
    check(&oracle, GATED, Scheme::Int8x1, 16, 40, [257, 1025]);
}

#[test]
fn many_tokens_and_channels_are_done_in_areas() {
    let oracle = Oracle::new(&[1, 3]);
    // Where there are matrix registers, and few cores: of the last unit all four areas, one, and two and a part;
    // several blocks of K; two products.
    for (n, k, tokens) in [(4096, 3, 128), (4160, 33, 259), (4740, 9, 130), (1030, 1030, 256)] {
        check(&oracle, LINEAR, Scheme::Int8x2Pow2, n, k, [tokens]);
    }
    check(&oracle, GATED, Scheme::Int8x3Pow2, 1100, 33, [86, 171]);
}

#[test]
fn a_few_channels_are_multiplied_in_parts() {
    let oracle = Oracle::new(&[1, 3, 8]);
    for (n, k) in [(1, 4096), (16, 8192), (31, 2048), (32, 16384), (33, 8192)] {
        check(&oracle, LINEAR, Scheme::Int8x2Pow2, n, k, [1, 4, 9]);
        check(&oracle, GATED, Scheme::Int8x3Pow2, n, k, [1, 3]);
    }
}

#[test]
fn every_batch_has_its_tiles() {
    let oracle = Oracle::new(&[1, 3]);
    let batched = "kernel f(W: i8[5, N, K] scale f32[5, N], X: bf16[5, M, K]) -> f32[5, M, N] { X @ dequant(W).T }";
    let plain = "kernel f(W: i8[N, K] scale f32[N], X: f32[3, M, K]) -> f32[3, M, N] { X @ dequant(W).T }";
    for (n, k) in [(17, 33), (64, 128)] {
        for text in [batched, plain] {
            check(&oracle, text, Scheme::Int8x2Pow2, n, k, 1..=18);
            check(&oracle, text, Scheme::Int8x1, n, k, 1..=18);
        }
    }
}

#[test]
fn groups_and_windows_that_no_unit_divides() {
    let oracle = Oracle::new(&[1, 3]);
    // Six codes to a group; a window of the weight and of the rows that begins and ends within a unit.
    let groups = "kernel f(W: i8[N, K] scale f32[N, K/6] zero i8[N, K/6], X: f32[M, K]) -> f32[M, N] {
    X @ dequant(W).T
}";
    let window = "kernel f(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {
    slice(X, 1, 3, 64) @ slice(dequant(W), 1, 1, 62).T
}";
    for scheme in [Scheme::Int8x1, Scheme::Int8x2Pow2] {
        check(&oracle, groups, scheme, 17, 36, [1, 2, 5, 9]);
        check(&oracle, window, scheme, 33, 66, [1, 2, 5, 9]);
    }
}

#[test]
fn zero_points_that_are_not_merged_in_tiles() {
    let oracle = Oracle::new(&[1, 3]);
    // A zero point of 32 bits, and one for each group of half a row.
    for zero in ["scale f32[N] zero i32[N]", "scale f32[N] zero i32[N, K/2]", "scale bf16[N, K/2] zero f32[N, K/2]"] {
        let text = format!("kernel f(W: i8[N, K] {zero}, X: bf16[M, K]) -> f32[M, N] {{ silu(X @ dequant(W).T) }}");
        check(&oracle, &text, Scheme::Int8x2Pow2, 33, 34, [1, 2, 5, 9]);
    }
}

#[test]
fn masks_are_of_their_own_columns() {
    let oracle = Oracle::new(&[1, 3]);
    let text = "kernel f(W: i8[N, K] scale f32[N], X: f32[M, K], s: f32[M, 1]) -> f32[M, N] {
    X @ dequant(W).T + causal(s)
}";
    check(&oracle, text, Scheme::Int8x2Pow2, 33, 31, [1, 2, 5, 9]);
}
