//! A contender ready to be called, its weights in as many copies as it takes for each call to find
//! none of them in a cache. Owns copies and their rotation. All copies hold the same values.

use std::time::{Duration, Instant};

use msd::ir::diag::Diagnostic;
use msd::ir::input::Input;
use msd::ir::tensor::Tensor;
use msd::jit::kernel::Packed;
use msd::{Compiled, Options};

use super::Variant;

/// What all copies of all weights take together at least: past any cache.
const COLD_BYTES: usize = 230_000_000;

/// Most copies: weights so small that this many fit a cache have nothing to read.
const MAX_COPIES: usize = 4096;

/// Part of the weights that may be read from the same place in every call: scales by channel.
const NEGLIGIBLE: f64 = 0.01;

/// A compiled contender and its copies.
pub(crate) struct Cold {
    /// The code.
    pub(crate) compiled: Compiled,
    copies: Vec<Copy>,
    next: usize,
    bytes: usize,
}

/// What one call reads.
struct Copy {
    /// The inputs, where more than a negligible part of the weights is read from them.
    inputs: Option<Vec<Input>>,
    packed: Vec<Packed>,
}

impl Cold {
    /// Compiles a contender and copies its `weights`, which are indices of parameters.
    ///
    /// # Errors
    /// If the machine lacks the instruction set, or memory.
    pub(crate) fn new(variant: &Variant, weights: &[usize], options: &Options) -> Result<Cold, Vec<Diagnostic>> {
        let compiled = variant.rewritten.compile(options)?;
        let packed = weights.iter().map(|w| compiled.pack(*w, &variant.inputs)).collect::<Result<Vec<_>, _>>()?;
        let mut direct = 0;
        for (weight, packed) in weights.iter().zip(&packed) {
            let input = &variant.inputs[*weight];
            let codes = (packed.bytes() == 0).then_some(&input.tensor);
            direct += codes.into_iter().chain(&input.scale).chain(&input.zero).map(host_bytes).sum::<usize>();
        }
        let packed_bytes: usize = packed.iter().map(Packed::bytes).sum();
        let own_inputs = direct as f64 > NEGLIGIBLE * (direct + packed_bytes) as f64;
        let read = packed_bytes + if own_inputs { direct } else { 0 };
        let count = if read == 0 { 1 } else { COLD_BYTES.div_ceil(read).clamp(1, MAX_COPIES) };
        let inputs = || own_inputs.then(|| variant.inputs.to_vec());
        let held: usize = variant.inputs.iter().map(|i| host_bytes(&i.tensor)).sum();
        let mut copies = Vec::with_capacity(count);
        for _ in 1..count {
            let packed = packed.iter().map(Packed::duplicate).collect::<Result<_, _>>().map_err(|d| vec![d])?;
            copies.push(Copy { inputs: inputs(), packed });
        }
        copies.push(Copy { inputs: inputs(), packed });
        let bytes = count * (packed_bytes + if own_inputs { held } else { 0 });
        Ok(Cold { compiled, copies, next: 0, bytes })
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
        let start = Instant::now();
        for _ in 0..count {
            let copy = &self.copies[self.next];
            let results = self.compiled.run_packed(copy.inputs.as_deref().unwrap_or(inputs), &copy.packed)?;
            std::hint::black_box(&results);
            self.next = (self.next + 1) % self.copies.len();
        }
        Ok(start.elapsed())
    }
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
        assert!(cold.copies.iter().all(|c| c.inputs.is_none() && c.packed[0].bytes() == 512 * 512));
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
        assert!(cold.copies.iter().all(|c| c.inputs.as_ref() == Some(&*inputs)));
    }
}
