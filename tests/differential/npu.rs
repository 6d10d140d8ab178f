//! Generated products with quantized weights on the modelled NPU: streams without faults or races, values within 2 ulp
//! of the sum of the magnitudes of the terms, and a token that is not finite spoils its own outputs alone.

use msd::ascend::chip::Chip;
use msd::ir::eval::evaluate_f64;
use msd::ir::input::Input;
use msd::ir::quant::scheme::{Family, Scheme};
use msd::ir::tensor::Tensor;
use msd::{DequantVariant, Npu, Options, Source};

use super::case::Case;
use super::for_seeds;
use super::linear::{check_poison, poison};
use super::measure::check_bound;
use super::oracle::draw::{Draw, Values};

/// Kernels, each on one of two chips.
const CASES: u64 = 300;

#[test]
fn generated_kernels_first() {
    for_seeds(10_000..10_000 + CASES / 2, check);
}

#[test]
fn generated_kernels_second() {
    for_seeds(20_000..20_000 + CASES / 2, check);
}

fn check(draw: &mut Draw) -> Result<(), String> {
    let chip = *draw.pick(&["ascend-910b", "ascend-950"]);
    let chip = Chip::named(chip).map_err(|d| d.message)?;
    let case = Case::draw(draw);
    let text = case.source();
    let told = |e: String| format!("{text}\n{:?} on {}, {:?}: {e}", case.sizes, chip.name, case.request.scheme);
    // The kernel as it is, for faults; its product alone, for values.
    lowered(&case, &chip).map_err(told)?.check().map_err(|d| told(format!("{d:?}")))?;
    let bare = case.bare();
    let npu = lowered(&bare, &chip).map_err(told)?;
    npu.check().map_err(|d| told(format!("{d:?}")))?;
    let inputs = draw.inputs(&npu.rewritten().source, &npu.rewritten().sizes, Values::Ordinary);
    let found = call(&npu, &inputs).map_err(told)?;
    values(&bare, &npu, &inputs, &found).map_err(told)?;
    if npu.rewritten().lowering() == "msd"
        && let Some((spoilt, token)) = poison(&bare, &inputs, draw)
    {
        check_poison(&bare, &found, &call(&npu, &spoilt).map_err(told)?, token, true).map_err(told)?;
    }
    Ok(())
}

fn lowered(case: &Case, chip: &Chip) -> Result<Npu, String> {
    let text = case.source();
    let checked = Source::new("npu.msd", &*text).check().map_err(|d| format!("{text}: {d:?}"))?;
    let mut options = Options { request: case.request.clone(), ..Options::default() };
    // Digits without a sign are for other machines.
    if options.request.scheme.is_some_and(|s| s.is_unsigned()) {
        options.request.scheme = None;
    }
    let npu = Npu::new(&checked.kernels()[0], &case.sizes(), chip, &options, DequantVariant::default());
    npu.map_err(|d| format!("{d:?}"))
}

fn call(npu: &Npu, inputs: &[Input]) -> Result<Tensor, String> {
    let mut results = npu.call(inputs).map_err(|d| format!("{d:?}"))?;
    Ok(results.remove(0))
}

/// Each value against that of the evaluator on the same graph, in ulp of the sum of the magnitudes of the terms. A
/// weight that is dequantized is rounded to BF16, and so are activations.
///
/// Greedy digits are defined in F64, where a tie may be decided by that type's own rounding: what their last digit
/// differs by then is within the bound.
fn values(case: &Case, npu: &Npu, inputs: &[Input], found: &Tensor) -> Result<(), String> {
    let rewritten = npu.rewritten();
    let is_greedy = |scheme: Scheme| matches!(scheme.family(), Family::Greedy { .. });
    if rewritten.sites().into_iter().filter_map(|site| site.scheme).any(is_greedy) {
        return check_bound(case, rewritten, inputs, found);
    }
    let expected = rewritten.evaluate(inputs).map_err(|d| format!("{d:?}"))?.remove(0);
    let text = case.magnitude();
    let checked = Source::new("magnitude.msd", &*text).check().map_err(|d| format!("{text}: {d:?}"))?;
    let magnitudes = evaluate_f64(&checked.kernels()[0], &case.sizes(), &inputs[..2]);
    let magnitudes = magnitudes.map_err(|d| format!("{text}: {d:?}"))?.remove(0);
    let ulp = if rewritten.lowering() == "msd" { 2f64.powi(-23) } else { 2f64.powi(-8) };
    for (at, magnitude) in magnitudes.iter().enumerate() {
        let (error, limit) = ((found.value(at) - expected.value(at)).abs(), 2.0 * ulp * magnitude + 2f64.powi(-140));
        if error > limit || error.is_nan() {
            let (a, b) = (found.value(at), expected.value(at));
            return Err(format!("element {at}: {a} for {b}, {:.2} ulp of {magnitude}", error / ulp / magnitude));
        }
    }
    Ok(())
}
