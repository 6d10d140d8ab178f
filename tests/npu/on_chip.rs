//! A graph on a modelled chip against the evaluator: no fault and no race in its stream, and values as near as vector
//! cores that compute in F32 come. (Products of digits are held to 2 ulp by the differential tests, which know their
//! terms.)

use msd::ascend::chip::Chip;
use msd::ascend::{lower, race, values, verify};
use msd::ir::diag::Diagnostic;
use msd::ir::dim::Sizes;
use msd::ir::dtype::DType;
use msd::ir::eval::evaluate;
use msd::ir::graph::Kernel;
use msd::ir::input::Input;
use msd::ir::ops::Op;
use msd::ir::quant::scheme::Family;
use msd::ir::tensor::Tensor;

/// Lowers and runs a graph.
pub(crate) fn check(kernel: &Kernel, sizes: &Sizes, inputs: &[Input], chip: &str) -> Result<(), String> {
    let told = |what: &'static str| move |d: Diagnostic| format!("{what}: {} {}", d.code.as_str(), d.message);
    let all = |what: &'static str| move |d: Vec<Diagnostic>| format!("{what}: {} {}", d[0].code.as_str(), d[0].message);
    let chip = Chip::named(chip).map_err(told("chip"))?;
    let lowered = lower::lower(kernel, sizes, &chip, &lower::Options::default()).map_err(told("lower"))?;
    verify::verify(&lowered.program, &chip).map_err(all("verify"))?;
    race::find(&lowered.program, &chip).map_err(all("race"))?;
    let given = lowered.inputs(inputs).map_err(told("inputs"))?;
    let tensors = values::run(&lowered.program, &chip, &given).map_err(told("run"))?;
    let found = lowered.results(kernel, &tensors).map_err(told("results"))?;
    let expected = evaluate(kernel, sizes, inputs).map_err(told("evaluate"))?;
    for (index, (expected, found)) in expected.iter().zip(&found).enumerate() {
        close(kernel, expected, found).map_err(|e| format!("result {index} on {}: {e}", chip.name))?;
    }
    Ok(())
}

/// How far from the largest magnitude of its result a value may be.
fn tolerance(kernel: &Kernel, dtype: DType) -> f64 {
    let has = |is: fn(&Op) -> bool| kernel.nodes.iter().any(|n| is(&n.op));
    // A dequantized weight is rounded to BF16, and so are activations; other sums are of F32.
    let computed = if has(|op| matches!(op, Op::Dequant | Op::Codes)) && has(|op| matches!(op, Op::MatMul)) {
        2f64.powi(-5)
    } else {
        2f64.powi(-18)
    };
    let rounding = match dtype {
        DType::BF16 => 2f64.powi(-8),
        DType::F16 => 2f64.powi(-11),
        DType::E4M3 | DType::E5M2 | DType::E2M1 | DType::E1M2 | DType::E8M0 => 0.5,
        _ => 0.0,
    };
    computed + rounding
}

fn close(kernel: &Kernel, expected: &Tensor, found: &Tensor) -> Result<(), String> {
    if (expected.dtype(), expected.shape()) != (found.dtype(), found.shape()) {
        return Err(format!("{}{:?} is not what is declared", found.dtype().name(), found.shape()));
    }
    let dtype = expected.dtype();
    // Greedy digits are defined in F64; where that has a tie by its own rounding, a digit may be another.
    let is_greedy = |op: &Op| match op {
        Op::Decompose { scheme } | Op::DecomposeBlocks { scheme, .. } => {
            matches!(scheme.family(), Family::Greedy { .. })
        }
        _ => false,
    };
    let is_int = !dtype.is_float();
    if is_int && kernel.nodes.iter().any(|n| is_greedy(&n.op)) {
        return Ok(());
    }
    let is_rounded = kernel.nodes.iter().any(|n| matches!(n.op, Op::Cast { .. }) && kernel.nodes.len() > 1);
    let largest = (0..expected.len()).map(|i| expected.value(i).abs()).filter(|v| v.is_finite()).fold(0.0, f64::max);
    let limit = match is_int {
        // What lies between two integers may go either way.
        true => f64::from(u8::from(is_rounded)),
        false => tolerance(kernel, dtype) * largest,
    };
    for i in 0..expected.len() {
        let (a, b) = (expected.value(i), found.value(i));
        let is_same = a == b || a.is_nan() && b.is_nan();
        let is_near = (a - b).abs() <= limit;
        if !is_same && !is_near {
            return Err(format!("element {i} is {b}, not {a}; largest {largest}"));
        }
    }
    Ok(())
}
