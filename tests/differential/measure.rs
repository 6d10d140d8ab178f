//! The certified bound of a product against its float64 value, both of the source: what a bound is
//! relative to is computed by a kernel written for the purpose.

use msd::ir::certificate::Measure;
use msd::ir::dim::Sizes;
use msd::ir::eval::{evaluate, evaluate_f64};
use msd::ir::input::Input;
use msd::ir::tensor::Tensor;
use msd::ir::types::Type;
use msd::{Rewritten, Source};

use super::case::Case;

/// `|y - y*| <= bound * measure` for every output.
pub(crate) fn check_bound(case: &Case, rewritten: &Rewritten, inputs: &[Input], y: &Tensor) -> Result<(), String> {
    let sites = rewritten.sites();
    let site = sites.first().ok_or("no site was planned")?;
    let Some(certificate) = &site.certificate else {
        // Only a contraction of open length leaves the bound open, and these know theirs.
        return Err("no bound is certified".to_string());
    };
    let exact = rewritten.evaluate_f64(inputs).map_err(|d| format!("{d:?}"))?.remove(0);
    let measure = measure(case, certificate.measure, inputs)?;
    for (at, (exact, measure)) in exact.iter().zip(&measure).enumerate() {
        let (error, limit) = ((y.value(at) - exact).abs(), certificate.bound * measure);
        // Below its normal range F32 itself is no finer than this.
        if error > limit * (1.0 + 1e-9) + 2f64.powi(-149) {
            return Err(format!("error {error:e} above {limit:e} at element {at}: {exact}"));
        }
    }
    Ok(())
}

/// `|y - y*|` against the composed certificate of the result, a kernel over the same inputs. Where
/// it ends it says so: behind a function that is not linear, and nowhere else.
pub(crate) fn check_composed(rewritten: &Rewritten, sizes: &Sizes, inputs: &[Input], y: &Tensor) -> Result<(), String> {
    let composed = rewritten.certificate().map_err(|d| format!("{d:?}"))?;
    let kernel = match (&composed.results[0], &composed.kernel) {
        (Ok(_), Some(kernel)) => kernel,
        (Ok(_), None) => return Err("a bound without its kernel".to_string()),
        (Err(ended), _) => {
            let because = ended.at.as_deref().unwrap_or(&ended.reason);
            let is_expected = ["exp", "/", "*"].contains(&because) || rewritten.plan.sites.is_empty();
            return if is_expected { Ok(()) } else { Err(format!("not certified: {}", ended.reason)) };
        }
    };
    let bound = evaluate(kernel, sizes, inputs).map_err(|d| format!("{d:?}"))?.remove(0);
    let exact = rewritten.evaluate_f64(inputs).map_err(|d| format!("{d:?}"))?.remove(0);
    for (at, exact) in exact.iter().enumerate() {
        let (error, limit) = ((y.value(at) - exact).abs(), bound.value(at));
        if error > limit + 2f64.powi(-149) {
            return Err(format!("error {error:e} above the composed bound {limit:e} at element {at}: {exact}"));
        }
    }
    Ok(())
}

/// What the bound multiplies, for each output.
fn measure(case: &Case, measure: Measure, inputs: &[Input]) -> Result<Vec<f64>, String> {
    let is_absorbed = measure == Measure::Absorbed;
    let mut inputs = inputs[..2].to_vec();
    if case.is_absorbed() {
        // The scale goes to the activations; where they do not take it over, it stays.
        let scale = inputs[0].scale.clone().ok_or("no scale")?;
        let ones = Tensor::from_f32(scale.dtype(), scale.shape().to_vec(), &vec![1.0; scale.len()]);
        let ones = ones.map_err(|d| format!("{d:?}"))?;
        let values = if is_absorbed { scale.to_f32() } else { vec![1.0; scale.len()] };
        if is_absorbed {
            inputs[0].scale = Some(ones);
        }
        inputs.push(Tensor::from(values).into());
    }
    let text = case.measure();
    let checked = Source::new("measure.msd", &*text).check().map_err(|d| format!("{text}: {d:?}"))?;
    let kernel = &checked.kernels()[0];
    debug_assert!(matches!(kernel.params[0].ty, Type::Quant(_)));
    let values = evaluate_f64(kernel, &case.sizes(), &inputs).map_err(|d| format!("{text}: {d:?}"))?;
    values.into_iter().next().ok_or_else(|| "no measure".to_string())
}
