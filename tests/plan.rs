//! What the planner promises: tolerances are met or refused, forced choices are kept, and a plan
//! does not depend on threads or instruction sets (neither is among its inputs).
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::sync::Arc;

use msd::ir::certificate::Measure;
use msd::ir::diag::Code;
use msd::ir::dim::Sizes;
use msd::ir::graph::Lowering;
use msd::ir::plan::{Request, Site};
use msd::ir::quant::scheme::Scheme;
use msd::{DType, Kernel, Options, Source, Tensor};

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
    let single = "#[tolerance(1e-4)]
        kernel f(W: i8[N, K] scale f16[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let options = Options::default();
    let short = site(single, &sizes(&[("N", 64), ("K", 256), ("M", 4)]), &options).unwrap();
    assert_eq!(short.choice.lowering, Lowering::Dequant);
    assert!(short.bound().unwrap() <= 1e-4);
    let long = site(single, &sizes(&[("N", 64), ("K", 8192), ("M", 4)]), &options).unwrap_err();
    assert_eq!(long.0, Code::ToleranceUnmet);
}

#[test]
fn groups_cost_a_rounding_each() {
    let grouped = |attributes: &str, group: u64| {
        format!(
            "{attributes} kernel f(W: u4[N, K] scale f16[N, K/{group}] zero u4[N, K/{group}], X: bf16[M, K]) \
             -> f32[M, N] {{ X @ dequant(W).T }}"
        )
    };
    let known = sizes(&[("N", 4096), ("K", 4096), ("M", 4)]);
    let options = Options::default();
    let found = site(&grouped("#[tolerance(1e-4)]", 128), &known, &options).unwrap();
    assert_eq!((found.choice.lowering, found.choice.scheme), (Lowering::Msd, Scheme::Int8x2Pow2));
    let fine = site(&grouped("#[scheme(int8x3-pow2)]", 32), &known, &options).unwrap().bound().unwrap();
    let coarse = site(&grouped("#[scheme(int8x3-pow2)]", 256), &known, &options).unwrap().bound().unwrap();
    let rounding = 1.0 / (1u64 << 24) as f64;
    assert!((fine - coarse - (128.0 - 16.0) * rounding).abs() < 1e-9, "{fine:e} and {coarse:e}");
    // 128 groups of 32 add up to 7.6e-6: no number of digits makes up for that.
    assert_eq!(site(&grouped("#[tolerance(1e-6)]", 32), &known, &options).unwrap_err().0, Code::ToleranceUnmet);
    // The number of groups is open, and so is the bound.
    assert_eq!(site(&grouped("", 128), &sizes(&[("M", 4)]), &options).unwrap().bound(), None);
}

#[test]
fn an_absorbed_scale_meets_no_tolerance() {
    // max|x*s| sum|q| can exceed max|x| sum|w| by any factor: with scales 1 and 2^-20, codes 0 and 127
    // and ones for x, two digits give 0.
    let text = |attributes: &str| {
        format!("{attributes} kernel f(W: i8[N, K] scale f32[K], X: bf16[M, K]) -> f32[M, N] {{ X @ dequant(W).T }}")
    };
    let known = |k| sizes(&[("N", 4096), ("K", k), ("M", 16)]);
    let options = Options::default();
    let free = site(&text(""), &known(1024), &options).unwrap();
    assert_eq!((free.choice.lowering, free.certificate.unwrap().measure), (Lowering::Msd, Measure::Absorbed));
    let short = site(&text("#[tolerance(1e-4)]"), &known(1024), &options).unwrap();
    assert_eq!(short.choice.lowering, Lowering::Dequant);
    assert!(short.bound().unwrap() <= 1e-4);
    let (code, help) = site(&text("#[tolerance(1e-4)]"), &known(4096), &options).unwrap_err();
    assert_eq!(code, Code::ToleranceUnmet);
    assert!(help.contains("(`dequant`)"), "{help}");
    let forced = site(&text("#[tolerance(1e-4)] #[lowering(msd)]"), &known(1024), &options).unwrap_err();
    assert_eq!(forced.0, Code::ToleranceUnmet);
}

#[test]
fn slices_are_judged_by_their_sizes() {
    let text = "kernel f(W: i8[N, K] scale f32[N, K/32], X: bf16[M, K]) -> f32[M, N] {
        slice(X, 1, 0, K/2) @ slice(dequant(W), 1, 0, K/2).T
    }";
    let options = Options::new().lowering(Lowering::Msd);
    let form = |k| site(text, &sizes(&[("N", 64), ("K", k), ("M", 4)]), &options).unwrap().choice.form;
    assert!(form(256).is_some() && form(96).is_none());
    assert!(site(text, &sizes(&[("M", 4)]), &options).unwrap().choice.form.is_none());
}

#[test]
fn requests_that_mean_nothing_are_refused() {
    let known = sizes(&[("N", 64), ("K", 64), ("M", 4)]);
    for request in [
        Request { block: Some(0), ..Request::default() },
        Request { tolerance: Some(f64::NAN), ..Request::default() },
        Request { tolerance: Some(-1.0), ..Request::default() },
    ] {
        let options = Options { request, ..Options::default() };
        assert_eq!(site(&linear(""), &known, &options).unwrap_err().0, Code::BadAttribute);
    }
    // A block of more than there is fits nothing, and nothing is something an empty row has too.
    let huge = Options::new().block(1 << 47);
    assert_eq!(site(&linear(""), &sizes(&[("N", 4), ("K", 0), ("M", 4)]), &huge).unwrap().choice.block, None);
}

#[test]
fn unsigned_digits_are_for_what_is_never_negative() {
    let known = sizes(&[("N", 64), ("K", 64), ("M", 4)]);
    let attention = "kernel f(V: i8[K, N] scale f32[N], X: f32[M, K]) -> f32[M, N] { softmax(X) @ dequant(V) }";
    assert_eq!(site(attention, &known, &Options::default()).unwrap().choice.scheme, Scheme::Uint8x2);
    let signed = "#[scheme(uint8x2)]
        kernel f(V: i8[K, N] scale f32[N], X: f32[M, K]) -> f32[M, N] { X @ dequant(V) }";
    let found = site(signed, &known, &Options::default()).unwrap();
    assert_eq!(found.choice.scheme, Scheme::Int8x2Radix);
    assert!(found.choice.because.contains("never negative"), "{}", found.choice.because);
    assert!(!found.alternatives.iter().any(|a| a.scheme == Some(Scheme::Uint8x2)));
    // 255^4 wraps to a negative number.
    let wraps = "kernel f(c: u8[M, K], W: i8[N, K] scale f32[N]) -> f32[M, N] {
        cast(c * c * c * c, f32) @ dequant(W).T
    }";
    assert_eq!(site(wraps, &known, &Options::default()).unwrap().choice.scheme, Scheme::Int8x2Radix);
}

#[test]
fn blocks_are_taken_where_they_fit() {
    let options = Options::new().block(64);
    let block = |text: &str, k: u64| {
        let found = site(text, &sizes(&[("N", 64), ("K", k), ("M", 4)]), &options).unwrap();
        (found.choice.block, found.choice.because)
    };
    assert_eq!(block(&linear(""), 256).0, Some(64));
    let (none, because) = block(&linear(""), 200);
    assert_eq!(none, None);
    assert!(because.contains("blocks of 64 do not fit"), "{because}");
    let grouped = |group: u64| {
        format!("kernel f(W: i8[N, K] scale f32[N, K/{group}], X: bf16[M, K]) -> f32[M, N] {{ X @ dequant(W).T }}")
    };
    assert_eq!(block(&grouped(128), 256).0, Some(64));
    assert_eq!(block(&grouped(32), 256).0, None);
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

#[test]
fn calls_share_code_only_if_their_weights_have_the_same_form() {
    // The length of a weight given as a view stays open, and decides whether a slice cuts a group.
    let text = "kernel f(W: i8[3, K] scale f32[3, K/32], X: f32[M, K]) -> f32[M, 3] {
        slice(X, 1, 0, K/2) @ slice(dequant(W), 1, 0, K/2).T
    }";
    let kernel = Kernel::new(text, &Options::new().lowering(Lowering::Msd)).unwrap();
    for k in [256usize, 96, 128, 32] {
        let codes: Vec<f32> = (0..3 * k).map(|i| (i % 7) as f32 - 3.0).collect();
        let weight = kernel.quantize("W", &codes, &[3, k]).unwrap();
        let x = Tensor::from_f32(DType::F32, vec![2, k], &vec![1.0; 2 * k]).unwrap();
        let y = kernel.call(&[weight.view().into(), (&x).into()]).unwrap().remove(0);
        let exact: f64 = codes[..k / 2].iter().map(|w| f64::from(*w)).sum();
        assert!((y.value(0) - exact).abs() <= 0.05 * k as f64, "K = {k}: {} for {exact}", y.value(0));
    }
    assert_eq!(kernel.classes().len(), 2);
}

fn small(weight: &str, x: &str) -> String {
    format!("kernel f(W: {weight}, X: {x}[M, K]) -> f32[M, N] {{ X @ dequant(W).T }}")
}

#[test]
fn the_default_scheme_goes_by_the_activations() {
    let known = sizes(&[("N", 256), ("K", 256), ("M", 4)]);
    let options = Options::new().lowering(Lowering::Msd);
    for weight in ["mxfp4[N, K]", "mxfp8[N, K]", "e2m1[N, K] scale e4m3[N, K/16]", "e5m2[N, K] scale f32[N]"] {
        for (x, scheme) in [("bf16", Scheme::Int8x2Pow2), ("f16", Scheme::Int8x2Radix), ("f32", Scheme::Int8x2Radix)] {
            let found = site(&small(weight, x), &known, &options).unwrap();
            assert_eq!((found.choice.scheme, found.choice.block), (scheme, None), "{weight} by {x}");
            // Digits that are floats are for those who ask.
            let floats = found.alternatives.iter().filter_map(|a| a.scheme).filter(|s| s.name().contains("fp"));
            assert_eq!(floats.count(), 0, "{weight} by {x}");
        }
    }
}

#[test]
fn digits_that_are_floats_are_used_where_they_fit() {
    let asked = |weight: &str, scheme: Scheme, k: u64| {
        let options = Options::new().scheme(scheme);
        let found = site(&small(weight, "bf16"), &sizes(&[("N", 64), ("K", k), ("M", 4)]), &options).unwrap();
        (found.choice.scheme, found.choice.block, found.choice.because)
    };
    for (weight, block) in
        [("i8[N, K] scale f32[N]", Some(32)), ("u4[N, K] scale f16[N, K/64] zero u4[N, K/64]", Some(32))]
    {
        let found = asked(weight, Scheme::Mxfp4x2, 256);
        assert_eq!((found.0, found.1), (Scheme::Mxfp4x2, block), "{weight}");
    }
    assert_eq!(asked("mxfp4[N, K]", Scheme::Fp8x2, 256).0, Scheme::Fp8x2);

    let blocks = "which do not fit the contraction or its groups";
    let zero = "rounded before a zero point could be taken off";
    for (weight, scheme, k, reason) in [
        ("i8[N, K] scale f32[N]", Scheme::Mxfp4x2, 48, blocks),
        ("i8[N, K] scale f32[N]", Scheme::Mxfp8x1, 16, blocks),
        ("i8[N, K] scale f32[N]", Scheme::Mxfp4x1, 0, blocks),
        ("e2m1[N, K] scale e4m3[N, K/16]", Scheme::Mxfp4x2E2m1, 256, blocks),
        ("i8[N, K] scale f32[N, K/48]", Scheme::Mxfp4x2V1, 96, blocks),
        ("u8[N, K] scale f32[N] zero u8[N]", Scheme::Fp8x1, 256, zero),
        ("u8[N, K] scale f32[N] zero f32[N]", Scheme::Mxfp8x1, 256, zero),
        ("i8[N, K] scale f32[N] zero i8[K]", Scheme::Fp8x2, 256, zero),
        ("u4[N, K] scale f32[N, K/64] zero u4[N, K/64]", Scheme::Fp8x2, 256, zero),
    ] {
        let (used, block, because) = asked(weight, scheme, k);
        assert_eq!((used, block), (Scheme::Int8x2Pow2, None), "{weight} with {}", scheme.name());
        assert!(because.contains(scheme.name()) && because.contains(reason), "{weight}: {because}");
    }
}

#[test]
fn blocks_of_a_scheme_outrank_those_asked_for() {
    let known = sizes(&[("N", 64), ("K", 256), ("M", 4)]);
    let options = Options::new().scheme(Scheme::Mxfp4x2).block(64);
    let choice = site(&linear(""), &known, &options).unwrap().choice;
    assert_eq!(choice.block, Some(32));
    assert!(choice.because.ends_with("in blocks of 32 of its own, not of 64"), "{}", choice.because);
    let options = Options::new().scheme(Scheme::Fp8x1).block(64);
    assert_eq!(site(&linear(""), &known, &options).unwrap().choice.block, Some(64));
}

#[test]
fn groups_of_powers_of_two_cost_no_rounding() {
    let known = sizes(&[("N", 4096), ("K", 4096), ("M", 4)]);
    let tolerant = |t: &str, weight: &str| format!("#[tolerance({t})] {}", small(weight, "bf16"));
    let options = Options::new().lowering(Lowering::Msd);
    // 128 groups with other scales add up to 7.6e-6.
    for weight in ["mxfp4[N, K]", "i8[N, K] scale e8m0[N, K/32]"] {
        let found = site(&tolerant("1e-6", weight), &known, &options).unwrap();
        assert_eq!(found.choice.scheme, Scheme::Int8x3Pow2);
        assert!(found.bound().unwrap() <= 2.5e-7, "{weight}: {:e}", found.bound().unwrap());
    }
    // Products with floats are rounded, each of 32 and each group.
    let rounded = site(&tolerant("1e-6", "mxfp8[N, K]"), &known, &options).unwrap_err();
    assert_eq!(rounded.0, Code::ToleranceUnmet);
    let coarse = site(&tolerant("1e-2", "mxfp4[N, K]"), &known, &Options::new().scheme(Scheme::Mxfp4x2)).unwrap_err();
    assert_eq!(coarse.0, Code::ToleranceUnmet);
    assert!(site(&tolerant("2e-2", "mxfp4[N, K]"), &known, &Options::new().scheme(Scheme::Mxfp4x2)).is_ok());
}

#[test]
fn fp8_weights_have_digits_only_where_they_are_asked_for_or_needed() {
    let known = sizes(&[("N", 64), ("K", 4096), ("M", 4)]);
    for weight in ["e4m3[N, K] scale f32[N]", "e5m2[N, K] scale f32[N/32, K/128]", "mxfp8[N, K]"] {
        let text = small(weight, "bf16");
        let choice = |options: &Options| site(&text, &known, options).unwrap().choice;
        let own = choice(&Options::default());
        assert_eq!(own.lowering, Lowering::Dequant, "{weight}");
        assert!(own.because.starts_with("FP8 codes are converted exactly"), "{weight}: {}", own.because);
        let asked = choice(&Options::new().scheme(Scheme::Fp8x2));
        assert_eq!((asked.lowering, asked.scheme), (Lowering::Msd, Scheme::Fp8x2), "{weight}");
    }
}

#[test]
fn a_scheme_that_does_not_fit_counts_as_not_asked_for() {
    let known = sizes(&[("N", 4096), ("K", 4080), ("M", 64)]);
    // 4080 is no number of blocks of 32: the tolerance decides, as if nothing had been asked for.
    for (t, scheme) in [("1e-2", Scheme::Int8x1), ("1e-6", Scheme::Int8x3Pow2)] {
        let text = format!("#[tolerance({t})] {}", small("i8[N, K] scale f32[N]", "bf16"));
        let asked = site(&text, &known, &Options::new().scheme(Scheme::Mxfp4x2)).unwrap().choice;
        assert_eq!((asked.lowering, asked.scheme), (Lowering::Msd, scheme));
        assert!(asked.because.contains("`mxfp4x2` has blocks of 32, which do not fit"), "{}", asked.because);
        let own = site(&text, &known, &Options::default()).unwrap().choice;
        assert_eq!((own.lowering, own.scheme, own.block), (asked.lowering, asked.scheme, asked.block));
    }
}

#[test]
fn blocks_of_an_open_contraction_may_fit() {
    let because = |weight: &str| {
        let options = Options::new().scheme(Scheme::Mxfp4x2);
        site(&small(weight, "bf16"), &sizes(&[("N", 64)]), &options).unwrap().choice.because
    };
    let (open, never) = (because("i8[N, K] scale f32[N]"), because("e2m1[N, K] scale e4m3[N, K/16]"));
    assert!(open.contains("whether they fit is open") && never.contains("do not fit"), "{open}; {never}");
}

#[test]
fn calls_with_blocks_that_fit_share_no_code_with_others() {
    let kernel = Kernel::new(&linear(""), &Options::new().scheme(Scheme::Mxfp4x2)).unwrap();
    for (k, fits) in [(64, true), (48, false), (96, true), (32, true), (16, false)] {
        let codes: Vec<f32> = (0..3 * k).map(|i| (i % 7) as f32 - 3.0).collect();
        let weight = kernel.quantize("W", &codes, &[3, k]).unwrap();
        let x: Vec<f32> = (0..2 * k).map(|i| (i % 5) as f32 / 5.0 + 0.5).collect();
        let x = Tensor::from_f32(DType::BF16, vec![2, k], &x).unwrap();
        let y = kernel.call(&[weight.view().into(), (&x).into()]).unwrap().remove(0);
        let scale = weight.scale().to_f32();
        let (w, x) = (weight.codes().to_f32(), x.to_f32());
        let exact: f64 = (0..k).map(|i| (w[i] * scale[0]) as f64 * x[i] as f64).sum();
        let error = (y.value(0) - exact).abs() / (0..k).map(|i| (w[i] * scale[0]) as f64).map(f64::abs).sum::<f64>();
        // Digits of 4 bits are off by more than those of 8 could be.
        assert!(error <= 1.3 / 59.5 && fits == (error > 1e-5), "K = {k}: {error:e}");
    }
    // The length of the contraction is open to both.
    assert_eq!(kernel.classes().len(), 2);
}
