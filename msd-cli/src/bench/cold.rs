//! A contender ready to be called, its weights in as many copies as it takes for each call to find
//! none of them in a cache. Owns copies and their rotation. All copies hold the same values.

use std::time::{Duration, Instant};

use msd::ir::diag::Diagnostic;
use msd::ir::input::Input;
use msd::ir::tensor::Tensor;
use msd::jit::bound::Bound;
use msd::jit::kernel::Tiling;
use msd::{Argument, Compiled, Options, Weight};

use super::Variant;

/// What all copies of all weights take together at least: past any cache.
const COLD_BYTES: usize = 230_000_000;

/// Most copies: weights so small that this many fit a cache have nothing to read.
const MAX_COPIES: usize = 4096;

/// Part of the weights that may be read from the same place in every call: scales by channel.
const NEGLIGIBLE: f64 = 0.01;

/// How often a contender is compiled, so that the time for it is a median as all others are.
const COMPILED: usize = 3;

/// A compiled contender and its copies.
pub(crate) struct Cold {
    /// The code, of the compilation whose time was the median.
    pub(crate) compiled: Compiled,
    bound: Bound,
    /// Indices of the parameters that are copied.
    weights: Vec<usize>,
    /// What one call reads, a weight for each of those.
    copies: Vec<Vec<Weight>>,
    results: Vec<Tensor>,
    next: usize,
    bytes: usize,
}

impl Cold {
    /// Compiles a contender and copies its `weights`, which are indices of parameters.
    ///
    /// # Errors
    /// If the machine lacks the instruction set, or memory.
    pub(crate) fn new(variant: &Variant, weights: &[usize], options: &Options) -> Result<Cold, Vec<Diagnostic>> {
        let mut all = (0..COMPILED).map(|_| variant.rewritten.compile(options)).collect::<Result<Vec<_>, _>>()?;
        all.sort_by_key(Compiled::compile_time);
        let compiled = all.swap_remove(COMPILED / 2);
        let fault = |d| vec![d];
        let own = |w: &usize| Weight::try_from(variant.inputs[*w].clone());
        let first = weights.iter().map(own).collect::<Result<Vec<_>, _>>().map_err(fault)?;
        let arguments = arguments(&variant.inputs, weights, &first);
        let bound = compiled.bind(&arguments).map_err(fault)?;
        compiled.prepare(&bound, &arguments).map_err(fault)?;
        let mut direct = 0;
        for weight in &first {
            let input = weight.input();
            let codes = (weight.packed_bytes() == 0).then_some(&input.tensor);
            direct += codes.into_iter().chain(&input.scale).chain(&input.zero).map(host_bytes).sum::<usize>();
        }
        let packed: usize = first.iter().map(Weight::packed_bytes).sum();
        let copies_inputs = direct as f64 > NEGLIGIBLE * (direct + packed) as f64;
        let read = packed + if copies_inputs { direct } else { 0 };
        let count = if read == 0 { 1 } else { COLD_BYTES.div_ceil(read).clamp(1, MAX_COPIES) };
        let mut copies = Vec::with_capacity(count);
        for _ in 1..count {
            let copy = |w: &Weight| if copies_inputs { w.duplicate_whole() } else { w.duplicate() };
            copies.push(first.iter().map(copy).collect::<Result<_, _>>().map_err(fault)?);
        }
        let held: usize = first.iter().map(|w| host_bytes(&w.input().tensor)).sum();
        copies.push(first);
        let bytes = count * (packed + if copies_inputs { held } else { 0 });
        let results = bound.outputs().iter().map(|(dtype, shape)| Tensor::zeros(*dtype, shape.clone()));
        let results = results.collect::<Result<_, _>>().map_err(fault)?;
        Ok(Cold { compiled, bound, weights: weights.to_vec(), copies, results, next: 0, bytes })
    }

    /// How each product is computed.
    pub(crate) fn tilings(&self) -> Vec<Tiling> {
        self.compiled.code().tilings(&self.bound)
    }

    /// Memory of all copies.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Calls the kernel `count` times, each on the weights that were not used for longest.
    ///
    /// # Errors
    /// If the inputs do not fit the kernel.
    pub(crate) fn call(&mut self, inputs: &[Input], count: u32) -> Result<Duration, Vec<Diagnostic>> {
        let copies: Vec<Vec<Argument<'_>>> = self.copies.iter().map(|c| arguments(inputs, &self.weights, c)).collect();
        let mut outputs: Vec<_> = self.results.iter_mut().map(Tensor::view_mut).collect();
        let start = Instant::now();
        for _ in 0..count {
            self.compiled.run(&self.bound, &copies[self.next], &mut outputs).map_err(|d| vec![d])?;
            self.next = (self.next + 1) % copies.len();
        }
        Ok(start.elapsed())
    }
}

/// The inputs, with a weight in place of each whose index is in `weights`.
fn arguments<'a>(inputs: &'a [Input], weights: &[usize], copies: &'a [Weight]) -> Vec<Argument<'a>> {
    let mut arguments: Vec<Argument<'a>> = inputs.iter().map(Argument::from).collect();
    for (index, weight) in weights.iter().zip(copies) {
        arguments[*index] = Argument::from(weight);
    }
    arguments
}

fn host_bytes(tensor: &Tensor) -> usize {
    tensor.len() * tensor.dtype().host_bytes()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::rc::Rc;

    use msd::ir::dim::Sizes;
    use msd::{Rewritten, Source};

    use super::*;
    use crate::inputs::{Missing, resolve};

    fn cold(text: &str, options: &Options) -> (Cold, Rc<Vec<Input>>) {
        let kernel = Source::new("t", text).check().unwrap().kernels()[0].clone();
        let dims: Sizes = [("N", 512), ("K", 512)].map(|(n, s)| (n.into(), s)).into();
        let resolved = resolve(&kernel, &[], &dims, Missing::Random).unwrap();
        let rewritten = Rewritten::new(&kernel, &resolved.sizes, options).unwrap();
        let inputs = Rc::new(resolved.inputs);
        let (lowering, name) = (rewritten.lowering(), String::new());
        let variant = Variant { rewritten, inputs: inputs.clone(), lowering, scheme: None, name };
        (Cold::new(&variant, &[0], options).unwrap(), inputs)
    }

    #[test]
    fn packed_weights_are_copied_past_the_caches_and_take_turns() {
        let text =
            "#[lowering(msd)] kernel l(W: i8[N, K] scale f32[N], X: f32[1, K]) -> f32[1, N] { X @ dequant(W).T }";
        let (mut cold, inputs) = cold(text, &Options::default());
        assert!(cold.bytes() >= 220_000_000, "{}", cold.bytes());
        assert_eq!(cold.copies.len(), COLD_BYTES.div_ceil(512 * 512));
        let codes = std::ptr::from_ref(&cold.copies[0][0].input().tensor);
        assert!(cold.copies.iter().all(|c| c[0].packed_bytes() == 512 * 512));
        assert!(cold.copies.iter().skip(1).all(|c| std::ptr::eq(&c[0].input().tensor, codes)));
        cold.call(&inputs, 3).unwrap();
        assert_eq!(cold.next, 3);
        let rest = cold.copies.len() as u32 - 2;
        cold.call(&inputs, rest).unwrap();
        assert_eq!(cold.next, 1);
    }

    #[test]
    fn weights_that_are_read_as_stored_are_copied_with_their_inputs() {
        let text = "kernel e(W: i8[N, K] scale f32[N]) -> f32[N, K] { dequant(W) + 1 }";
        let (cold, inputs) = cold(text, &Options::default());
        assert!(cold.bytes() >= 220_000_000, "{}", cold.bytes());
        assert!(cold.copies.iter().all(|c| *c[0].input() == inputs[0]));
        let codes = std::ptr::from_ref(&cold.copies[0][0].input().tensor);
        assert!(cold.copies.iter().skip(1).all(|c| !std::ptr::eq(&c[0].input().tensor, codes)));
    }
}
