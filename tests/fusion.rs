//! What is computed in one stage: everything elementwise behind a product, and before digits. A stage more is a
//! pass over memory more, which no test of values would notice.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::sync::Arc;

use msd::ir::dim::Sizes;
use msd::ir::graph::Lowering;
use msd::{Options, Source};

/// The kinds of the stages that a kernel becomes.
fn stages(text: &str) -> Vec<String> {
    let checked = Source::new("f.msd", text).check().unwrap();
    let sizes: Sizes = ["M", "N", "K", "B"].map(|d| (Arc::from(d), 64)).into();
    let options = Options { listing: true, ..Options::new().lowering(Lowering::Msd) };
    let compiled = checked.rewrite(checked.kernel(None).unwrap(), &sizes, &options).unwrap().compile(&options).unwrap();
    let names = compiled.code().clif().into_iter().map(|(name, _)| name);
    names.filter_map(|name| Some(name.strip_prefix("stage")?.split_once('_')?.1.to_owned())).collect()
}

fn check(arguments: &str, result: &str, expected: &[&str]) {
    let weights = "W: i8[N, K] scale f32[N], U: i8[N, K] scale f32[N], A: u4[N, K] scale f16[N, K/32] zero u4[N, K/32]";
    let text = format!("kernel f({weights}, {arguments}) {result}");
    assert_eq!(stages(&text), expected, "{text}");
}

#[test]
fn elementwise_work_behind_a_product_is_part_of_it() {
    let one = ["decompose", "product"];
    check("X: bf16[M, K]", "-> f32[M, N] { X @ dequant(W).T }", &one);
    check("X: bf16[M, K], b: f32[N], r: bf16[M, N]", "-> bf16[M, N] { gelu(X @ dequant(W).T + b) + r }", &one);
    check("X: bf16[M, K]", "-> bf16[M, N] { silu(X @ dequant(W).T) * (X @ dequant(U).T) }", &one);
    check("X: f32[M, K]", "-> f16[M, N] { min(X @ dequant(W).T, 0) * 0.5 }", &one);
    // Of groups as well, whose row sums are merged before.
    check("X: bf16[M, K], b: f32[N]", "-> bf16[M, N] { relu(X @ dequant(A).T + b) }", &["decompose", "map", "product"]);
    // Floats too, whose rows are packed as they are given.
    check("X: f32[M, K], V: f32[K, N]", "-> bf16[M, N] { silu(X @ V) * 2 }", &["pack_rows", "product"]);
    check("X: f32[M, K], V: f32[N, K]", "-> bf16[M, N] { X @ exp(V).T }", &["map", "pack", "pack_rows", "product"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn tiles_of_machine_code_end_in_results() {
    let isa = msd::jit::isa::Isa::foreign("x86_64", &["has_avx", "has_avx2", "has_fma"]).unwrap();
    let is_finished = |text: &str| {
        let checked = Source::new("f.msd", text).check().unwrap();
        let sizes: Sizes = [("M", 4), ("N", 32), ("K", 64)].map(|(name, size)| (Arc::from(name), size)).into();
        let rewritten = checked.rewrite(checked.kernel(None).unwrap(), &sizes, &Options::new()).unwrap();
        let asm = msd::jit::inspect::asm(&rewritten.kernel, &sizes, &isa).unwrap();
        asm.iter().any(|(name, _)| name.contains("_finished"))
    };
    let linear = "kernel f(W: i8[N, K] scale f32[N], X: bf16[M, K], b: f32[N]) -> f32[M, N]";
    assert!(is_finished(&format!("{linear} {{ X @ dequant(W).T }}")));
    assert!(is_finished(&format!("{linear} {{ b - X @ dequant(W).T }}")));
    assert!(!is_finished(&format!("{linear} {{ gelu(X @ dequant(W).T) }}")));
}

#[test]
fn elementwise_work_before_digits_is_part_of_splitting() {
    let one = ["decompose", "product"];
    check("X: f32[M, K]", "-> f32[M, N] { cast(X, bf16) @ dequant(W).T }", &one);
    check("G: bf16[M, K], H: bf16[M, K]", "-> f32[M, N] { (silu(G) * H) @ dequant(W).T }", &one);
    check(
        "X: f32[M, K], s: f32[K]",
        "-> f32[M, N] { rms_norm(X, s, 1e-5) @ dequant(W).T }",
        &["row", "decompose", "product"],
    );
}

#[test]
fn what_several_weights_read_is_split_once() {
    let two = ["decompose", "product", "product"];
    check("X: bf16[M, K]", "-> (f32[M, N], bf16[M, N]) { (X @ dequant(W).T, relu(X @ dequant(U).T)) }", &two);
    let three = "-> f32[M, N] { let y = X @ dequant(W).T; softmax(y) + X @ dequant(U).T }";
    check("X: bf16[M, K]", three, &["decompose", "product", "row", "product"]);
}

#[test]
fn what_is_read_twice_is_in_memory() {
    // A result that is also a factor of another one.
    let text = "-> (f32[M, N], f32[M, N]) { let y = X @ dequant(W).T; (y, y * 2) }";
    check("X: bf16[M, K]", text, &["decompose", "product", "map", "map"]);
}
