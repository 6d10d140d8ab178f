//! What `msd bench` measures: the contenders of one combination of sizes. Owns who competes and on
//! which inputs; how a contender's weights are kept cold is [`cold`], how time is taken
//! [`measure`], and how far off its results are [`accuracy`].

pub(crate) mod accuracy;
pub(crate) mod cold;
pub(crate) mod measure;

use std::rc::Rc;

use msd::ir::diag::Diagnostic;
use msd::ir::graph::{Attributes, Kernel, Lowering};
use msd::ir::input::Input;
use msd::ir::rewrite::plain::{plain_floats, plain_inputs};
use msd::ir::types::Type;
use msd::{Options, Rewritten};

use crate::inputs::Resolved;
use crate::kernel_args::Contender;

/// One way to compute the kernel.
pub(crate) struct Variant {
    /// The kernel as this contender computes it.
    pub(crate) rewritten: Rewritten,
    /// One input per parameter.
    pub(crate) inputs: Rc<Vec<Input>>,
    /// `msd`, `dequant`, `mixed`, `plain`, or `f32` for the kernel over F32 weights.
    pub(crate) lowering: &'static str,
    /// How activations are split.
    pub(crate) scheme: Option<&'static str>,
    /// What to call it.
    pub(crate) name: String,
}

/// Indices of the parameters that count as weights: those the source has quantized.
pub(crate) fn weights(kernel: &Kernel) -> Vec<usize> {
    let quantized = |(i, p): (usize, &msd::ir::graph::Param)| matches!(p.ty, Type::Quant(_)).then_some(i);
    kernel.params.iter().enumerate().filter_map(quantized).collect()
}

/// The planned way, and those of `against` that compute something else. Without `against`, a
/// kernel with quantized parameters competes with its dequantized and its F32 form.
///
/// Attributes bind the plan alone: the others are there to be compared, whatever their error.
pub(crate) fn variants(
    kernel: &Kernel,
    resolved: &Resolved,
    against: Option<&[Contender]>,
    options: &Options,
) -> Result<Vec<Variant>, Vec<Diagnostic>> {
    let inputs = Rc::new(resolved.inputs.clone());
    let rewrite = |kernel: &Kernel, options: &Options| {
        Rewritten::new(kernel, &resolved.sizes, options).map_err(|fault| vec![fault])
    };
    let variant = |rewritten: Rewritten, inputs: &Rc<Vec<Input>>| {
        let scheme = rewritten.scheme();
        let lowering = rewritten.lowering();
        let name = scheme.filter(|s| *s != "mixed").unwrap_or(lowering).to_owned();
        Variant { rewritten, inputs: inputs.clone(), lowering, scheme, name }
    };
    let mut found = vec![variant(rewrite(kernel, options)?, &inputs)];
    let default: &[Contender] = if weights(kernel).is_empty() { &[] } else { &[Contender::Dequant, Contender::F32] };
    let free = Kernel { attributes: Attributes::default(), ..kernel.clone() };
    for contender in against.unwrap_or(default) {
        let mut options = options.clone();
        let next = match contender {
            Contender::Dequant => {
                (options.request.lowering, options.request.scheme) = (Some(Lowering::Dequant), None);
                variant(rewrite(&free, &options)?, &inputs)
            }
            Contender::Scheme(scheme) => {
                (options.request.lowering, options.request.scheme) = (Some(Lowering::Msd), Some(*scheme));
                variant(rewrite(&free, &options)?, &inputs)
            }
            Contender::F32 => {
                let plain = plain_floats(&free).map_err(|d| vec![d])?;
                let floats = plain_inputs(kernel, &inputs, &resolved.sizes).map_err(|d| vec![d])?;
                let variant = variant(rewrite(&plain, &options)?, &Rc::new(floats));
                Variant { lowering: "f32", name: "f32".to_owned(), ..variant }
            }
        };
        if !found.iter().any(|f| computes_the_same(&f.rewritten.kernel, &next.rewritten.kernel)) {
            found.push(next);
        }
    }
    Ok(found)
}

fn computes_the_same(a: &Kernel, b: &Kernel) -> bool {
    let bare = |k: &Kernel| Kernel { attributes: Attributes::default(), ..k.clone() };
    bare(a).same_graph(&bare(b))
}

/// Bytes of an input as stored: 4-bit types take half a byte.
pub(crate) fn stored_bytes(input: &Input) -> f64 {
    let parts = std::iter::once(&input.tensor).chain(&input.scale).chain(&input.zero);
    parts.map(|t| t.len() as f64 * f64::from(t.dtype().bits()) / 8.0).sum()
}
