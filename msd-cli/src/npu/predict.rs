//! What the closed form says of a kernel on a chip: each lowering's cycles, which is chosen, and from how many tokens
//! on dequantizing the weights is cheaper.

use msd::ascend::chip::Chip;
use msd::ir::diag::Diagnostic;
use msd::ir::dim::Sizes;
use msd::ir::graph::{Kernel, Lowering};
use msd::ir::types::Type;
use msd::{Npu, NpuVariant, Options};
use serde::Serialize;

use crate::inputs::sizes;
use crate::origin::Fault;
use crate::request::Subject;

/// Most tokens that are looked at.
const MOST: u64 = 1 << 14;

/// A prediction.
#[derive(Debug, Serialize)]
pub(crate) struct Prediction {
    chip: String,
    /// What would be done.
    lowering: &'static str,
    chosen_because: String,
    /// Cycles by lowering.
    cycles: Vec<(&'static str, f64)>,
    /// The dimension that counts tokens, where there is one such.
    tokens: Option<String>,
    /// Of powers of two, the least from which on dequantizing is cheaper.
    crossover: Option<u64>,
}

/// Predicts a kernel, all of whose sizes are given.
pub(crate) fn predict(
    subject: &Subject,
    dims: &Sizes,
    chip: &Chip,
    options: &Options,
) -> Result<Prediction, Vec<Fault>> {
    let in_source = |d: Diagnostic| subject.faults(vec![d]);
    let what = format!("a plan for {}", chip.name);
    sizes::check_all(&subject.kernel, dims, &what).map_err(|d| subject.faults(d))?;
    let variant = NpuVariant::default();
    let chosen = Npu::new(&subject.kernel, dims, chip, options, variant).map_err(in_source)?;
    let mut cycles = Vec::new();
    let is_plain = chosen.lowering() == "plain";
    if is_plain {
        cycles.push((chosen.lowering(), chosen.model().cycles.round()));
    }
    for lowering in [Lowering::Msd, Lowering::Dequant].into_iter().filter(|_| !is_plain) {
        let mut options = options.clone();
        options.request.lowering = Some(lowering);
        let npu = Npu::new(&subject.kernel, dims, chip, &options, variant).map_err(in_source)?;
        cycles.push((lowering.name(), npu.model().cycles.round()));
    }
    // Where there is nothing to choose from, there is no crossover.
    let tokens = tokens(&subject.kernel).filter(|_| !is_plain);
    let crossover = match &tokens {
        Some(dim) => Npu::crossover(&subject.kernel, dims, (dim, MOST), chip, options).map_err(in_source)?,
        None => None,
    };
    Ok(Prediction {
        chip: chip.name.clone(),
        lowering: chosen.lowering(),
        chosen_because: chosen.because().to_owned(),
        cycles,
        tokens,
        crossover,
    })
}

/// The only dimension that no quantized parameter has.
fn tokens(kernel: &Kernel) -> Option<String> {
    let of_weights = |name: &str| {
        let quantized = kernel.params.iter().filter(|p| matches!(p.ty, Type::Quant(_)));
        quantized.flat_map(|p| p.ty.shape()).flat_map(|dim| dim.names()).any(|n| &*n == name)
    };
    let free: Vec<String> =
        kernel.dimensions().iter().filter(|name| !of_weights(name)).map(|name| name.to_string()).collect();
    <[String; 1]>::try_from(free).ok().map(|[only]| only)
}

impl Prediction {
    /// For people.
    pub(crate) fn text(&self) -> String {
        let cycles: Vec<String> = self.cycles.iter().map(|(name, cycles)| format!("{name} {cycles:.0}")).collect();
        let mut text = format!("on {}: {}; {}\n", self.chip, self.lowering, self.chosen_because);
        text += &format!("  predicted cycles, launch excluded: {}\n", cycles.join(", "));
        match (&self.tokens, self.crossover) {
            (Some(dim), Some(size)) => {
                text += &format!("  dequantizing is predicted to be cheaper from {dim} = {size} on\n")
            }
            (Some(dim), None) => {
                text += &format!("  dequantizing is not predicted to be cheaper up to {dim} = {MOST}\n")
            }
            (None, _) => {}
        }
        text
    }
}
