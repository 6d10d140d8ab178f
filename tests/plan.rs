//! What the planner promises: tolerances are met or refused, forced choices are kept, and a plan
//! does not depend on threads or instruction sets (neither is among its inputs).
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::sync::Arc;

use msd::ir::diag::Code;
use msd::ir::dim::Sizes;
use msd::ir::graph::Lowering;
use msd::ir::plan::Site;
use msd::ir::quant::scheme::Scheme;
use msd::{Options, Source};

fn sizes(list: &[(&str, u64)]) -> Sizes {
    list.iter().map(|(n, s)| (Arc::from(*n), *s)).collect()
}

fn site(text: &str, sizes: &Sizes, options: &Options) -> Result<Site, (Code, String)> {
    let checked = Source::new("test.msd", text).check().unwrap();
    let rewritten = checked.rewrite(checked.kernel(None).unwrap(), sizes, options);
    rewritten.map(|r| r.plan.sites[0].clone()).map_err(|d| (d[0].code, d[0].help.clone().unwrap_or_default()))
}

fn linear(attributes: &str) -> String {
    format!("{attributes} kernel f(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {{ X @ dequant(W).T }}")
}

#[test]
fn a_tolerance_picks_the_fewest_digits() {
    let known = sizes(&[("N", 4096), ("K", 4096), ("M", 16)]);
    for (tolerance, scheme) in [("1e-2", Scheme::Int8x1), ("1e-4", Scheme::Int8x2Pow2), ("1e-6", Scheme::Int8x3Pow2)] {
        let found = site(&linear(&format!("#[tolerance({tolerance})]")), &known, &Options::default()).unwrap();
        assert_eq!((found.choice.lowering, found.choice.scheme), (Lowering::Msd, scheme), "{tolerance}");
        assert!(found.bound().unwrap() <= tolerance.parse().unwrap());
    }
}

#[test]
fn an_unreachable_tolerance_names_the_best_bound() {
    let known = sizes(&[("N", 64), ("K", 64), ("M", 1)]);
    let (code, help) = site(&linear("#[tolerance(1e-12)]"), &known, &Options::default()).unwrap_err();
    assert_eq!(code, Code::ToleranceUnmet);
    assert!(help.contains("int8x3-greedy"), "{help}");
}

#[test]
fn a_tolerance_binds_dequantization_too() {
    let grouped = "#[tolerance(1e-4)]
        kernel f(W: u4[N, K] scale f16[N, K/128] zero u4[N, K/128], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let options = Options::default();
    let short = site(grouped, &sizes(&[("N", 64), ("K", 256), ("M", 4)]), &options).unwrap();
    assert_eq!(short.choice.lowering, Lowering::Dequant);
    assert!(short.bound().unwrap() <= 1e-4);
    let long = site(grouped, &sizes(&[("N", 64), ("K", 8192), ("M", 4)]), &options).unwrap_err();
    assert_eq!(long.0, Code::ToleranceUnmet);
}

#[test]
fn requests_outrank_attributes() {
    let known = sizes(&[("N", 64), ("K", 64), ("M", 4)]);
    let text = linear("#[scheme(int8x3-pow2)] #[lowering(dequant)]");
    let mut options = Options::default();
    assert_eq!(site(&text, &known, &options).unwrap().choice.lowering, Lowering::Dequant);
    options.request.lowering = Some(Lowering::Msd);
    assert_eq!(site(&text, &known, &options).unwrap().choice.scheme, Scheme::Int8x3Pow2);
    options.request.scheme = Some(Scheme::Int8x1);
    let found = site(&text, &known, &options).unwrap();
    assert_eq!((found.choice.lowering, found.choice.scheme), (Lowering::Msd, Scheme::Int8x1));
}

#[test]
fn two_stored_operands_multiply_natively() {
    let text =
        "kernel f(A: i8[M, K] scale f32[M], B: i8[N, K] scale f32[N]) -> f32[M, N] { dequant(A) @ dequant(B).T }";
    let known = sizes(&[("N", 64), ("K", 64), ("M", 4)]);
    let found = site(text, &known, &Options::default()).unwrap();
    assert_eq!(found.choice.lowering, Lowering::Msd);
    assert!(found.bound().unwrap() < 1e-6);
}
