//! Products with quantized weights in every form the rewrite knows: format, place of scale and zero
//! point, orientation, scheme, blocks, epilogue, sizes, element types, lowering. Beyond equal bits:
//! the certified bound holds against the float64 value, a token that is not finite spoils its own
//! outputs and nothing else, and each product is either rewritten or says what stopped it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use msd::ir::dim::Sizes;
use msd::ir::dtype::DType;
use msd::ir::graph::{Kernel, Lowering};
use msd::ir::input::Input;
use msd::ir::pass::recombined;
use msd::ir::plan::Request;
use msd::ir::rewrite::EventResult;
use msd::ir::tensor::Tensor;
use msd::{Options, Rewritten, SiteReport, Source};

use super::case::{Case, Epilogue};
use super::for_seeds;
use super::measure::{check_bound, check_composed};
use super::oracle::Oracle;
use super::oracle::draw::{Draw, Values};

/// What became of the products of all cases, by rule or by the guard that stopped them.
type Tally = Mutex<BTreeMap<String, usize>>;

/// Cases of each shard. Shards run side by side.
const CASES: u64 = 320;

/// A rule or guard that no case reaches is not tested.
const WANTED: &[&str] = &[
    "digit-split",
    "fold-zero",
    "split-groups",
    "absorb-scale",
    "post-scale",
    "stopped scale-placement",
    "stopped zero-placement",
    "stopped plan",
    "orient-left",
    "hoist-scalar",
    "hoist-add",
    "hoist-concat",
    "hoist-vector",
];

/// Checks the cases of one shard, which must come to all that is wanted.
pub(crate) fn shard(index: u64, generate: fn(&mut Draw) -> Case, wanted: &[&str]) {
    let oracle = Oracle::new(&[1, 2, 3]);
    let tally = Tally::default();
    for_seeds(index * CASES..(index + 1) * CASES, |draw| {
        let case = generate(draw);
        let text = case.source();
        check(&oracle, &case, &text, draw, &tally)
            .map_err(|e| format!("{text}\n{:?}, {:?}: {e}", case.sizes, case.request))
    });
    let tally = tally.into_inner().unwrap();
    if std::env::var("MSD_SEED").is_ok() || tally.values().sum::<usize>() < CASES as usize {
        return;
    }
    for wanted in wanted {
        assert!(tally.contains_key(*wanted), "no case of `{wanted}` among {tally:?}");
    }
}

#[test]
fn linear_layers_first() {
    shard(0, Case::draw, WANTED);
}

#[test]
fn linear_layers_second() {
    shard(1, Case::draw, WANTED);
}

#[test]
fn linear_layers_third() {
    shard(2, Case::draw, WANTED);
}

#[test]
fn linear_layers_fourth() {
    shard(3, Case::draw, WANTED);
}

/// Sums as large as they get: every product is the extreme one, so that an accumulator that is
/// drained too late overflows, which random values hardly ever make it do.
#[test]
fn long_contractions_of_extremes() {
    let oracle = Oracle::new(&[1]);
    let native = "kernel native(A: u8[M, K] scale f32[1], B: u8[N, K] scale f32[1]) -> f32[M, N] {
        dequant(A) @ dequant(B).T
    }";
    let linear = |codes: &str, x: &str| {
        format!("kernel f(W: {codes}[N, K] scale f32[1], X: f32[M, K]) -> f32[M, N] {{ {x} @ dequant(W).T }}")
    };
    let (signed, unsigned) = (linear("i8", "X"), linear("u8", "X"));
    let (positive, all_unsigned) = (linear("i8", "abs(X)"), linear("u8", "abs(X)"));
    let cases = [
        (native, 255, 255.0),
        (&*signed, -128, -1.0),
        (&*signed, 127, 1.0),
        (&*signed, 127, -1.0),
        (&*unsigned, 255, -1.0),
        (&*positive, -128, 1.0),
        (&*all_unsigned, 255, 1.0),
    ];
    let request = Request { lowering: Some(Lowering::Msd), ..Request::default() };
    for (text, weights, other) in cases {
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
            let (whole, _) = recombined(&rewritten.canonical, &rewritten.plan).unwrap();
            for kernel in [&rewritten.kernel, &whole] {
                oracle.check(kernel, &sizes, &[inputs.clone()]).unwrap_or_else(|e| panic!("K = {k}: {e}"));
            }
        }
    }
}

fn check(oracle: &Oracle, case: &Case, text: &str, draw: &mut Draw, tally: &Tally) -> Result<(), String> {
    let checked = Source::new("linear.msd", text).check().map_err(|d| format!("{d:?}"))?;
    let kernel = &checked.kernels()[0];
    let sizes = case.sizes();
    let mut known = sizes.clone();
    if !case.is_fixed {
        known.remove("M");
    }
    let options = Options { request: case.request.clone(), ..Options::default() };
    let rewritten = Rewritten::new(kernel, &known, &options).map_err(|d| format!("{d:?}"))?;
    let fired = rewritten.events.iter().filter(|e| matches!(e.result, EventResult::Fired { .. }));
    for rule in fired.map(|e| e.rule).filter(|r| r.starts_with("hoist") || r.starts_with("orient")) {
        *tally.lock().unwrap().entry(rule.to_string()).or_default() += 1;
    }
    for site in rewritten.explain(&options).sites {
        let seen = [Some(outcome(&site)?), refusal(case, &site)?, multiplied(case, &site)];
        for what in seen.into_iter().flatten() {
            *tally.lock().unwrap().entry(what).or_default() += 1;
        }
    }

    let mut ordinary = draw.inputs(kernel, &sizes, Values::Ordinary);
    spread(case, &mut ordinary, draw);
    let special = draw.inputs(kernel, &sizes, Values::Special);
    let mut sets = vec![ordinary.clone(), special];
    let poisoned = poison(case, &ordinary, draw);
    sets.extend(poisoned.iter().map(|(inputs, _)| inputs.clone()));
    oracle.check(&rewritten.kernel, &known, &sets)?;
    let (whole, _) = recombined(&rewritten.canonical, &rewritten.plan).map_err(|d| format!("{d:?}"))?;
    if !whole.same_graph(&rewritten.kernel) {
        oracle.check(&whole, &known, &sets).map_err(|e| format!("recombined: {e}"))?;
        same_results(&rewritten.kernel, &whole, &known, &sets)?;
    }

    let clean = evaluated(&rewritten, &ordinary)?;
    if let Some((inputs, token)) = &poisoned {
        let spoilt = evaluated(&rewritten, inputs)?;
        let sites = rewritten.sites();
        let digits = !sites.is_empty() && sites.iter().all(|s| s.scheme.is_some());
        check_poison(case, &clean, &spoilt, *token, digits)?;
    }
    check_bounds(case, &known, &ordinary)
}

/// Every result against the composed certificate before its final cast, and every product against
/// its own, also for tiny activations.
fn check_bounds(case: &Case, known: &Sizes, inputs: &[Input]) -> Result<(), String> {
    let options = Options { request: case.request.clone(), ..Options::default() };
    let planned = |case: &Case| {
        let checked = Source::new("bounds.msd", case.source()).check().map_err(|d| format!("{d:?}"))?;
        Rewritten::new(&checked.kernels()[0], known, &options).map_err(|d| format!("{d:?}"))
    };
    let whole = planned(&case.uncast())?;
    check_composed(&whole, &case.sizes(), inputs, &evaluated(&whole, inputs)?)?;
    let (bare, inputs) = (case.bare(), inputs[..2].to_vec());
    let product = planned(&bare)?;
    // With scales as tiny products would not be normal numbers.
    let tiny = 2f32.powi(if case.span > 0 { -60 } else { -110 });
    for inputs in [inputs.clone(), scaled(case, &inputs, tiny)] {
        check_bound(&bare, &product, &inputs, &evaluated(&product, &inputs)?)?;
    }
    Ok(())
}

/// The rule that multiplies a site's weight as stored, or else the guard that stopped every one.
fn outcome(site: &SiteReport) -> Result<String, String> {
    match (site.rule, site.stopped.first()) {
        (Some(rule), _) if site.lowering == Lowering::Msd => Ok(rule.to_string()),
        (_, Some(stopped)) if stopped.reason.is_empty() => Err(format!("{} gives no reason", stopped.guard)),
        (Some(rule), Some(_)) if rule == "post-scale" => Ok(rule.to_string()),
        (_, Some(stopped)) => Ok(format!("stopped {}", stopped.guard)),
        (_, None) => Err(format!("{} is not rewritten, and nothing says why", site.weight)),
    }
}

/// Why the scheme that was asked for is not the one that is used.
fn refusal(case: &Case, site: &SiteReport) -> Result<Option<String>, String> {
    let (Some(asked), Some(used)) = (case.request.scheme, site.scheme) else { return Ok(None) };
    let because = &site.chosen_because;
    match because.split_once(&format!("`{}` ", asked.name())) {
        _ if used == asked => Ok(None),
        Some((_, rest)) => Ok(Some(format!("refused: {}", rest.split(';').next().unwrap_or_default()))),
        None => Err(format!("{} instead of {}: {because}", used.name(), asked.name())),
    }
}

/// What codes are multiplied by, and how groups are added up.
fn multiplied(case: &Case, site: &SiteReport) -> Option<String> {
    let (digits, after) = (site.scheme?.digit_dtype().name(), site.after.as_ref()?);
    let wide = if after.contains("accumulate_wide") { ", added up in F64" } else { "" };
    Some(format!("{} by {digits}{wide}", case.codes))
}

/// Gives scales of E8M0 the span of the case.
fn spread(case: &Case, inputs: &mut [Input], draw: &mut Draw) {
    for scale in inputs.iter_mut().filter_map(|i| i.scale.as_mut()) {
        if case.span > 0 && scale.dtype() == DType::E8M0 {
            let least = 127 - case.span as i64 / 2;
            let codes: Vec<i64> = (0..scale.len()).map(|_| least + draw.below(case.span + 1) as i64).collect();
            *scale = Tensor::from_codes(DType::E8M0, scale.shape().to_vec(), codes.into_iter()).unwrap();
        }
    }
}

fn same_results(a: &Kernel, b: &Kernel, sizes: &Sizes, sets: &[Vec<Input>]) -> Result<(), String> {
    for inputs in sets {
        let results = |kernel| msd::ir::eval::evaluate(kernel, sizes, inputs).map_err(|d| format!("{d:?}"));
        super::oracle::same_bits(&results(a)?, &results(b)?).map_err(|e| format!("recombination: {e}"))?;
    }
    Ok(())
}

fn evaluated(rewritten: &Rewritten, inputs: &[Input]) -> Result<Tensor, String> {
    Ok(rewritten.evaluate(inputs).map_err(|d| format!("{d:?}"))?.remove(0))
}

/// The inputs with one element of X no longer finite, and its (batch, token); nothing without elements.
pub(crate) fn poison(case: &Case, inputs: &[Input], draw: &mut Draw) -> Option<(Vec<Input>, (usize, usize))> {
    let [m, _, k] = case.sizes;
    if m == 0 || k == 0 {
        return None;
    }
    let token = (draw.below(case.batches()), draw.below(m));
    let at = case.place(token.0, token.1, draw.below(k), k);
    let value = *draw.pick(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
    let mut inputs = inputs.to_vec();
    let x = &mut inputs[case.x_index()].tensor;
    let mut values = x.to_f32();
    values[at] = value;
    *x = Tensor::from_f32(x.dtype(), x.shape().to_vec(), &values).ok()?;
    Some((inputs, token))
}

pub(crate) fn check_poison(
    case: &Case,
    clean: &Tensor,
    spoilt: &Tensor,
    token: (usize, usize),
    digits: bool,
) -> Result<(), String> {
    let [m, ..] = case.sizes;
    let n = case.columns();
    for batch in 0..case.batches() {
        for row in 0..m {
            for j in 0..n {
                let at = case.place(batch, row, j, n);
                let (before, after) = (clean.value(at), spoilt.value(at));
                if (batch, row) != token && before.to_bits() != after.to_bits() {
                    return Err(format!("token {token:?} changed token {:?}: {before} to {after}", (batch, row)));
                }
                // A slice of the contraction may not see the element.
                if (batch, row) == token && digits && case.epilogue != Epilogue::SliceK && !after.is_nan() {
                    return Err(format!("token {token:?} is not finite, but its output {j} is {after}"));
                }
            }
        }
    }
    Ok(())
}

/// The inputs with X multiplied by a power of two.
fn scaled(case: &Case, inputs: &[Input], factor: f32) -> Vec<Input> {
    let mut inputs = inputs.to_vec();
    let x = &mut inputs[case.x_index()].tensor;
    // F16 has no such exponents: its subnormals instead.
    let factor = if case.x == DType::F16 { 2f32.powi(-22) } else { factor };
    let values: Vec<f32> = x.to_f32().iter().map(|v| v * factor).collect();
    *x = Tensor::from_f32(x.dtype(), x.shape().to_vec(), &values).unwrap_or_else(|_| panic!("the same shape"));
    inputs
}
