//! What explanations say, kernel by kernel.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use msd_ir::dim::Sizes;

use super::*;
use crate::{Options, Source};

fn rewritten(text: &str, sizes: &[(&str, u64)], options: &Options) -> Rewritten {
    let checked = Source::new("test.msd", text).check().unwrap();
    let sizes: Sizes = sizes.iter().map(|(name, size)| ((*name).into(), *size)).collect();
    checked.rewrite(checked.kernel(None).unwrap(), &sizes, options).unwrap()
}

fn explanation(text: &str, sizes: &[(&str, u64)]) -> Explanation {
    let options = Options::new();
    rewritten(text, sizes, &options).explain(&options)
}

const NATIVE_PRODUCT: &str =
    "kernel f(A: i8[M, K] scale f32[M], B: i8[N, K] scale f32[N]) -> f32[M, N] { dequant(A) @ dequant(B).T }";

#[test]
fn text_without_places() {
    let text = explanation(NATIVE_PRODUCT, &[("M", 4), ("N", 256), ("K", 256)]).to_string();
    let lines = [
        "kernel f: msd; sizes M=4, K=256, N=256; costs of one thread of the default machine",
        "",
        "B: rule native-product",
        "  because  both operands are stored as integers, so their product needs no digits",
        "  before   (dequant(A) @ dequant(B).T)",
        "  after    ((cast(msd.dot(msd.codes(A), msd.codes(B).T), f32) * reshape(msd.scale(A), [M, 1])) \
         * reshape(msd.scale(B), [N, 1]).T)",
        "  bound    |y - y*| <= 1.788e-7 max|x| sum|w|, the sum of",
        "           1.788e-7  3 roundings of 2^-24: the exact sum, its product with each scale",
        "  alternative     bound    bytes  paper bytes    FLOPs  vector ops  predicted",
        "* msd          1.788e-7  7.475e4         same  5.243e5     2.048e3     6.3 us",
        "  dequant      1.538e-5  7.475e4         same  5.243e5     1.024e3     6.3 us",
        "",
        "result 0: |y - y*| <= 1.788e-7 max|A| sum|B|",
    ];
    assert_eq!(text, lines.join("\n") + "\n");
}

#[test]
fn results_are_certified_or_say_why_not() {
    let text = "kernel f(W: i8[N, K] scale f32[N], X: bf16[M, K], b: f32[N]) -> (bf16[M, N], f32[M, N]) {
        let y = X @ dequant(W).T + b;
        (y, exp(y))
    }";
    let text = explanation(text, &[]).to_string();
    let lines =
        ["", "result 0: |y - y*| <= 3.088e-5 max|X| sum|W| + 5.960e-8 |b|", "result 1: not certified: ends at `exp`"];
    assert!(text.ends_with(&(lines.join("\n") + "\n")), "{text}");
}

/// Digits are read back, and a weight that no rule multiplies is: the paper counts neither.
#[test]
fn bytes_that_are_counted_in_two_ways() {
    let text = "kernel f(W: i8[N, K] scale f16[N, K], X: f32[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let known = [("M", 1), ("N", 4096), ("K", 4096)];
    let materialized = &explanation(text, &known).sites[0].alternatives[0];
    let of = |a: &Alternative| a.cost.map(|c| c.counts.bytes - c.counts.bytes_published);
    assert_eq!(of(materialized), Some(4.0 * 4096.0 * 4096.0));
    let digits = explanation(&text.replace("f16[N, K]", "f16[N]"), &known);
    let two = digits.sites[0].alternatives.iter().find(|a| a.scheme == Some(Scheme::Int8x2Radix)).unwrap();
    assert_eq!(of(two), Some(2.0 * 4096.0));
    assert!(digits.to_string().contains("1.684e7      1.683e7"), "{digits}");
}

#[test]
fn open_sizes_leave_costs_open() {
    let explanation = explanation(NATIVE_PRODUCT, &[("K", 256)]);
    let size = |name: &str, size| (name.to_owned(), size);
    assert_eq!(explanation.sizes, [size("M", None), size("K", Some(256)), size("N", None)]);
    let site = &explanation.sites[0];
    assert!(site.alternatives.iter().all(|a| a.bound().is_some() && a.cost.is_none()));
    let text = explanation.to_string();
    assert!(text.contains("sizes M open, K=256, N open;") && text.contains("1.538e-5   open"), "{text}");
}

#[test]
fn nothing_dequantized() {
    let explanation = explanation("kernel one(x: f32[1]) -> f32[1] { x }", &[]);
    let wanted = "kernel one: plain; sizes none; costs of one thread of the default machine\n\
                  nothing is dequantized, so nothing is rewritten\n";
    assert_eq!(explanation.to_string(), wanted);
    assert_eq!((explanation.lowering, explanation.scheme), ("plain", None));
}

#[test]
fn sites_stand_in_the_order_of_their_places() {
    let text = "kernel f(W: i8[N, K] scale f32[N], X: f32[M, K]) -> (f32[M, N], f32[N, K]) {
        let w = dequant(W);
        (X @ w.T, w)
    }";
    let explanation = explanation(text, &[]);
    let words = |s: &SiteReport| text[s.span.start..s.span.end].to_owned();
    assert_eq!(explanation.sites.iter().map(words).collect::<Vec<_>>(), ["dequant(W)", "X @ w.T"]);
    // No product, so no bound and nothing that was considered.
    assert_eq!(
        explanation.sites[0].to_string(),
        "W: no rule, the weight is materialised as f32; materialised: it is a result"
    );
    let lines = explanation.with_places(|span| format!("<{}>", span.start)).to_string();
    for site in &explanation.sites {
        assert!(lines.contains(&format!("\n\n<{}> W: ", site.span.start)), "{lines}");
    }
}

#[test]
fn schemes_that_differ_are_mixed() {
    let text = "kernel f(W: i8[N, K] scale f32[N], X: bf16[M, K], Y: f32[M, K]) -> (f32[M, N], f32[M, N]) {
        (X @ dequant(W).T, Y @ dequant(W).T)
    }";
    let mixed = rewritten(text, &[], &Options::new());
    assert_eq!((mixed.lowering(), mixed.scheme()), ("msd", Some("mixed")));
    let mut options = Options::new();
    options.request.scheme = Some(Scheme::Int8x1);
    assert_eq!(rewritten(text, &[], &options).scheme(), Some("int8x1"));
    options.request.lowering = Some(Lowering::Dequant);
    let dequant = rewritten(text, &[], &options);
    assert_eq!((dequant.lowering(), dequant.scheme()), ("dequant", None));
    assert!(dequant.sites().iter().all(|s| s.rule == Some("post-scale") && s.stopped[0].rule == "digit-split"));
}

#[test]
fn a_weight_no_rule_multiplies_says_so() {
    let text = "kernel f(W: u4[N, K] scale f16[N] zero f16[K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let mut options = Options::new();
    options.request.lowering = Some(Lowering::Msd);
    let site = &rewritten(text, &[("K", 256)], &options).sites()[0];
    assert_eq!((site.lowering, site.scheme, site.rule), (Lowering::Dequant, None, None));
    assert!(site.chosen_because.starts_with("no rule multiplies this weight as stored"), "{}", site.chosen_because);
    assert!(site.stopped.iter().any(|s| s.guard == "zero-placement"));
    // The certified bound is that of what is done: dequantization along K = 256.
    assert_eq!(site.bound(), site.alternatives.last().and_then(|a| a.bound()));
    assert!(site.bound().is_some());
}

#[test]
fn a_weight_that_nothing_brings_out_says_so() {
    let text = "kernel f(W: i8[N, K] scale f32[N], b: f32[K], X: f32[M, K]) -> f32[M, N] { X @ (dequant(W) + b).T }";
    let explanation = explanation(text, &[]);
    let site = &explanation.sites[0];
    assert_eq!(site.chosen_because, "materialised: used elementwise");
    assert_eq!((site.stopped[0].rule, site.stopped[0].guard), ("hoist-add", "shape"));
}

#[test]
fn a_weight_with_a_name_says_so_as_well() {
    let text = "kernel f(W: i8[N, K] scale f32[N], b: f32[K], X: f32[M, K]) -> f32[M, N] {
        let w = dequant(W) + b;
        X @ w.T
    }";
    let site = &explanation(text, &[]).sites[0];
    assert_eq!((site.stopped[0].rule, site.stopped[0].guard), ("hoist-add", "shape"));
}

/// Whatever makes a product read a weight as F32, explanations say what stands between them.
#[test]
fn no_product_reads_a_weight_as_f32_without_a_reason() {
    let operands = [
        "reshape(dequant(W), [K, N])",
        "cast(cast(dequant(W), bf16), f32)",
        "where(L > 0, dequant(W), L)",
        "v / dequant(W)",
        "L / dequant(W)",
        "max(dequant(W), 0)",
        "abs(dequant(W)) + L",
        "slice(exp(dequant(V)), 1, 0, N)",
        "2 * (L + softmax(dequant(W)))",
        "L * dequant(s)",
        "L * dequant(c)",
        "dequant(F) + L",
        "dequant(W) * L",
        "broadcast(dequant(R), [K, N])",
    ];
    for operand in operands {
        for product in ["X @ w", "(w.T @ X.T).T", "X @ (w + dequant(W))", "X @ (w * dequant(c))"] {
            let text = format!(
                "kernel f(W: i8[K, N] scale f32[N], V: i8[K, N + 1] scale f32[1], F: e4m3[K, N] scale f32[N], \
                R: i8[1, N] scale f32[1], s: i8[N] scale f32[1], c: i8[1] scale f32[1], L: f32[K, N], v: f32[N], \
                X: f32[M, K]) -> f32[M, N] {{ let w = {operand}; {product} }}"
            );
            let sites = explanation(&text, &[]).sites;
            let materialised: Vec<_> = sites.iter().filter(|s| s.alternatives.is_empty()).collect();
            assert!(
                !materialised.is_empty() && materialised.iter().all(|s| !s.stopped.is_empty()),
                "{operand}: {sites:?}"
            );
        }
    }
}
