//! The language as its reference states it: the example kernels, types of results, precedence,
//! and sizes beyond what recursion would survive.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::fs;
use std::path::Path;

use msd_grammar::{check, format};
use msd_ir::graph::{Kernel, Lowering};
use msd_ir::ops::Op;
use msd_ir::quant::scheme::Scheme;
use msd_ir::text;
use msd_ir::types::Type;

const LANGUAGE: &str = include_str!("language.msd");

fn one(text: &str) -> Kernel {
    let mut kernels = check(text).unwrap_or_else(|faults| panic!("{text}: {faults:?}"));
    assert_eq!(kernels.len(), 1);
    kernels.remove(0)
}

fn same(a: &str, b: &str) {
    let kernel = |body: &str| {
        one(&format!("kernel f(a: f32[M, M], b: f32[M, M], c: f32[M, M], d: f32[D, D]) -> f32[M, M] {{ {body} }}"))
    };
    assert!(kernel(a).same_graph(&kernel(b)), "`{a}` is not `{b}`");
}

fn differs(a: &str, b: &str) {
    let kernel =
        |body: &str| one(&format!("kernel f(a: f32[M, M], b: f32[M, M], c: f32[M, M]) -> f32[M, M] {{ {body} }}"));
    assert!(!kernel(a).same_graph(&kernel(b)), "`{a}` is `{b}`");
}

#[test]
fn the_examples_of_the_reference_check() {
    let kernels = check(LANGUAGE).unwrap();
    let names: Vec<&str> = kernels.iter().map(|k| &*k.name).collect();
    assert_eq!(names, ["linear", "linear_columns", "grouped", "mx", "gate_up", "decode_attention"]);
    assert_eq!(kernels[2].attributes.tolerance, Some(1e-4));
    let Type::Quant(mx) = &kernels[3].params[0].ty else { panic!("mx is quantized") };
    assert_eq!(Type::Quant(mx.clone()).to_string(), "e2m1[N, K] scale e8m0[N, K/32]");
    let decompositions = |k: &Kernel| k.nodes.iter().filter(|n| matches!(n.op, Op::Dequant)).count();
    assert_eq!(decompositions(&kernels[4]), 2);
}

#[test]
fn block_formats_stand_for_types() {
    for (short, long) in [
        ("mxfp4[N, K]", "e2m1[N, K] scale e8m0[N, K/32]"),
        ("mxfp8[N, 64]", "e4m3[N, 64] scale e8m0[N, 2]"),
        ("nvfp4[H, T, D]", "e2m1[H, T, D] scale e4m3[H, T, D/16]"),
        ("nvfp4[K]", "e2m1[K] scale e4m3[K/16]"),
    ] {
        let kernel = |ty: &str, shape: &str| one(&format!("kernel f(w: {ty}) -> f32{shape} {{ dequant(w) }}"));
        let shape = &short[5..];
        assert_eq!(kernel(short, shape).params[0].ty.to_string(), long);
        assert!(kernel(short, shape).same_graph(&kernel(long, shape)), "{short}");
        let laid_out = format(&format!("kernel f(w:{short})->f32{shape}{{dequant(w)}}")).unwrap();
        assert!(laid_out.contains(&format!("(w: {short})")), "{laid_out}");
    }
}

#[test]
fn precedence() {
    same("-a @ b", "(-a) @ b");
    same("-a.T", "-(a.T)");
    same("a @ b * c", "(a @ b) * c");
    same("a * b @ c", "a * (b @ c)");
    same("a + b * c", "a + (b * c)");
    same("a - b - c", "(a - b) - c");
    same("where(a + b < c, a, b)", "where((a + b) < c, a, b)");
    differs("a - b - c", "a - (b - c)");
    differs("a * (b + c)", "a * b + c");
}

#[test]
fn methods_are_calls() {
    same("a.matmul(b).t()", "(a @ b).T");
    same("matmul(a, t(b))", "a @ b.T");
    same("-a.exp()", "-(exp(a))");
    same("a.silu().max(b + c)", "max(silu(a), b + c)");
    same("a.reshape([M*M]).reshape([M, M])", "reshape(reshape(a, [M*M]), [M, M])");
    same("a.cast(i8).cast(f32)", "cast(cast(a, i8), f32)");
    same("(a + b).slice(0, 0, M)", "slice(a + b, 0, 0, M)");
    same("2.sqrt() * a", "sqrt(2) * a");
    let method = one("kernel f(w: i8[N, K] scale f32[N], x: bf16[M, K]) -> bf16[M, N] { x.matmul(w.dequant().t()) }");
    assert!(
        method.same_graph(&one("kernel f(w: i8[N, K] scale f32[N], x: bf16[M, K]) -> bf16[M, N] { x @ dequant(w).T }"))
    );
    assert_eq!(
        format("kernel f(a: f32[M]) -> f32[M] { a . exp ( ) }").unwrap(),
        "kernel f(a: f32[M]) -> f32[M] { a.exp() }\n"
    );
    // `msd.` is the name space of the ops of rewritten kernels, whatever parameters are called.
    one("kernel f(msd: f32[N]) -> f32[N] { exp(msd).log() }");
}

#[test]
fn results_names_and_attributes() {
    let k = one("#[scheme(int8x2-pow2)] #[lowering(dequant)]
         kernel f(a: f32[M, N], b: i8[N, M]) -> (bf16[M, N], i32[N, N]) { (a, b @ cast(a, i8)) }");
    assert_eq!(k.attributes.scheme, Some(Scheme::Int8x2Pow2));
    assert_eq!(k.attributes.lowering, Some(Lowering::Dequant));
    let types: Vec<String> = k.result_types().iter().map(|t| t.to_string()).collect();
    assert_eq!(types, ["bf16[M, N]", "i32[N, N]"]);
    // `scale`, `zero` and `msd` are ordinary names; a dimension is its size; `i64` lives inside.
    one("kernel f(scale: f32[N], zero: f32[], msd: f32[N]) -> f32[N] { scale * zero + N / msd }");
    one("kernel f(K: i8[N, K] scale f32[N], X: f32[M, K]) -> f32[M, N] { X @ dequant(K).T }");
    one("kernel f(a: f32[N]) -> i32[N] { let (b, c) = (cast(a, i64), a); b }");
    one("kernel f(a: f32[M, N]) -> f32[2*M, N] { reshape(concat(a, a, -2), [M + M, 2*N/2]) }");
    let k = one("kernel f(x: f32[M, N]) -> f32[M, N/2] { slice(x, -1, N/2, N) }");
    assert!(!k.quotients.is_empty());
}

#[test]
fn literals_are_f32_and_division_is_exact() {
    let k = one("kernel f() -> f32[] { 1/2 }");
    assert!(k.nodes.iter().any(|n| n.op == Op::Div));
    let bits = |text: &str| match one(&format!("kernel f() -> f32[] {{ {text} }}")).nodes[0].op {
        Op::Const { bits } => bits,
        _ => panic!("{text} is no literal"),
    };
    assert_eq!(bits("1e-45"), 1);
    assert_eq!(bits("3.4028235e38"), f32::MAX.to_bits());
    assert_eq!(bits("16777217"), 16777216f32.to_bits());
    assert_eq!(bits("msd.f32(\"0xff800000\")"), f32::NEG_INFINITY.to_bits());
}

#[test]
fn long_inputs_need_no_stack() {
    let chain = vec!["a"; 100_000].join(" + ");
    let k = one(&format!("kernel f(a: f32[N]) -> f32[N] {{ {chain} }}"));
    assert_eq!(k.nodes.len(), 100_000);
    assert!(one(&text::print(&k)).same_graph(&k));
    let laid_out = format(&text::print(&k)).unwrap();
    assert_eq!(format(&laid_out).unwrap(), laid_out);
    let signs = "-".repeat(100_000);
    assert_eq!(one(&format!("kernel f(a: f32[N]) -> f32[N] {{ {signs}a }}")).nodes.len(), 100_001);
    let transposes = ".T".repeat(50_000);
    one(&format!("kernel f(a: f32[N, N]) -> f32[N, N] {{ a{transposes} }}"));
    let lets: String = (0..10_000).map(|i| format!("let b{} = b{i} + 1;\n", i + 1)).collect();
    let k = one(&format!("kernel f(b0: f32[N]) -> f32[N] {{ {lets} b10000 }}"));
    assert_eq!(k.nodes.len(), 10_002);
    let sum = vec!["N"; 20_000].join(" + ");
    one(&format!("kernel f(a: f32[N], b: f32[{sum}]) -> f32[20000*N] {{ b }}"));
    // Far beyond the limit: one error, and no overflow.
    let deep = format!("kernel f(a: f32[N]) -> f32[N] {{ {}a{} }}", "(".repeat(100_000), ")".repeat(100_000));
    assert_eq!(check(&deep).unwrap_err().len(), 1);
    let nested = |n: usize| format!("kernel f(a: f32[N]) -> f32[N] {{ {}a{} }}", "(".repeat(n), ")".repeat(n));
    assert!(check(&nested(256)).is_ok());
    assert!(check(&nested(257)).is_err());
}

#[test]
fn the_sample_kernels_check() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels");
    let mut checked = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|e| e == "msd") {
            let text = fs::read_to_string(&path).unwrap();
            check(&text).unwrap_or_else(|faults| panic!("{}: {faults:?}", path.display()));
            assert_eq!(format(&text).unwrap(), text, "{} has another layout", path.display());
            checked += 1;
        }
    }
    assert!(checked > 0);
}
