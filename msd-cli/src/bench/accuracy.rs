//! How far results are from the F64 value of the source graph. Owns the yardstick: computed once
//! for all contenders, on fewer tokens where the whole would take too long.
//!
//! Fewer tokens means a smaller run of the same kernel: of a dimension that only plain inputs have,
//! such as the M of `X[M, K]`, a seeded sample of the indices is kept, in every input alike.

use std::sync::Arc;

use msd::ir::diag::{Code, Diagnostic};
use msd::ir::dim::{Dim, Sizes};
use msd::ir::eval::evaluate_f64;
use msd::ir::graph::Kernel;
use msd::ir::input::{Input, bind_owned};
use msd::ir::ops::Op;
use msd::ir::tensor::{Data, Tensor};
use msd::ir::types::Type;
use msd::{Argument, Compiled, Options, Rewritten};

use super::Variant;

/// Multiply-accumulates up to which everything is compared.
const FULL_MACS: f64 = 3e8;
/// Multiply-accumulates beyond which nothing is: the yardstick takes some 1e8 of them a second.
const MOST_MACS: f64 = 3e9;
/// Seed of the sample.
const SEED: u64 = 1;

/// The F64 value of a kernel on inputs, or on a sample of them.
pub(crate) struct Yardstick {
    /// Sizes of the sample.
    sizes: Sizes,
    /// Inputs of the sample; nothing where they are the inputs themselves.
    sample: Option<Vec<Input>>,
    values: Vec<Vec<f64>>,
}

/// Multiply-accumulates of the source's matrix products.
pub(crate) fn macs(kernel: &Kernel, sizes: &Sizes) -> f64 {
    let size = |d: &Dim| d.eval(sizes).map_or(0.0, |s| s as f64);
    let products = kernel.nodes.iter().filter(|n| n.op == Op::MatMul);
    let macs = products.map(|n| {
        let contracted = kernel.ty(n.operands[0]).shape().last().map_or(1.0, size);
        contracted * n.types[0].shape().iter().map(size).product::<f64>()
    });
    // A sum of nothing would be -0.
    macs.fold(0.0, |total, macs| total + macs)
}

impl Yardstick {
    /// The yardstick of a source kernel; nothing if it takes too long on any sample.
    ///
    /// # Errors
    /// If the inputs do not fit the kernel.
    pub(crate) fn new(kernel: &Kernel, inputs: &[Input], sizes: &Sizes) -> Result<Option<Yardstick>, Diagnostic> {
        let mut small = sizes.clone();
        let mut sample: Option<Vec<Input>> = None;
        for name in token_dimensions(kernel) {
            let (work, size) = (macs(kernel, &small), small.get(&name).copied().unwrap_or(0));
            let keep = ((size as f64 * FULL_MACS / work) as u64).max(1);
            if work <= FULL_MACS || keep >= size {
                continue;
            }
            let kept = sample_indices(size, keep);
            let reduced = take(kernel, sample.as_deref().unwrap_or(inputs), &name, &kept)?;
            let mut sizes = small.clone();
            sizes.insert(name, keep);
            // A kernel may want more of it than that, for instance by a slice.
            if bind_owned(kernel, &reduced, &sizes).is_ok() {
                (small, sample) = (sizes, Some(reduced));
            }
        }
        if macs(kernel, &small) > MOST_MACS {
            return Ok(None);
        }
        let values = evaluate_f64(kernel, &small, sample.as_deref().unwrap_or(inputs))?;
        Ok(Some(Yardstick { sizes: small, sample, values }))
    }

    /// The relative L2 distance of a contender's results, over all results together; nothing where
    /// that is no number.
    ///
    /// # Errors
    /// If the inputs do not fit the kernel.
    pub(crate) fn distance(
        &self,
        variant: &Variant,
        compiled: &Compiled,
        weights: &[usize],
        options: &Options,
    ) -> Result<Option<f64>, Vec<Diagnostic>> {
        let results = match &self.sample {
            None => call(compiled, &variant.inputs)?,
            Some(sample) => {
                let own = variant.inputs.iter().zip(sample).enumerate();
                let inputs: Vec<Input> =
                    own.map(|(i, (own, new))| if weights.contains(&i) { own.clone() } else { new.clone() }).collect();
                let rewritten = Rewritten { sizes: self.sizes.clone(), ..variant.rewritten.clone() };
                call(&rewritten.compile(options)?, &inputs)?
            }
        };
        Ok(relative_l2(&results, &self.values))
    }
}

fn call(compiled: &Compiled, inputs: &[Input]) -> Result<Vec<Tensor>, Vec<Diagnostic>> {
    let arguments: Vec<Argument<'_>> = inputs.iter().map(Argument::from).collect();
    compiled.call(&arguments).map_err(|d| vec![d])
}

fn relative_l2(results: &[Tensor], truth: &[Vec<f64>]) -> Option<f64> {
    let (mut error, mut norm) = (0.0, 0.0);
    for (tensor, values) in results.iter().zip(truth) {
        for (i, value) in values.iter().enumerate() {
            error += (tensor.value(i) - value).powi(2);
            norm += value.powi(2);
        }
    }
    let distance = (error / norm).sqrt();
    if error == 0.0 { Some(0.0) } else { Some(distance).filter(|d| d.is_finite()) }
}

/// Dimensions whose size may shrink without touching a weight: their names stand alone, in plain
/// inputs only.
fn token_dimensions(kernel: &Kernel) -> Vec<Arc<str>> {
    let compound = |d: &Dim| if d.as_name().is_some() { Vec::new() } else { d.names() };
    let mut fixed: Vec<Arc<str>> = Vec::new();
    for param in &kernel.params {
        match &param.ty {
            Type::Quant(q) => fixed.extend(q.codes.shape.iter().flat_map(Dim::names)),
            Type::Tensor(t) => fixed.extend(t.shape.iter().flat_map(compound)),
        }
    }
    fixed.extend(kernel.quotients.iter().flat_map(|(a, b)| [a.names(), b.names()].concat()));
    kernel.dimensions().into_iter().filter(|name| !fixed.contains(name)).collect()
}

/// `keep` of the indices below `size`, ascending: every index is as likely as any other.
pub(crate) fn sample_indices(size: u64, keep: u64) -> Vec<usize> {
    let mut state = SEED;
    let mut kept = Vec::new();
    for index in 0..size {
        // SplitMix64.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        // Selection sampling: as many are wanted as are left to choose from in this proportion.
        if bits % (size - index) < keep - kept.len() as u64 {
            kept.push(index as usize);
        }
    }
    kept
}

/// The inputs with only the `kept` indices along a dimension.
fn take(kernel: &Kernel, inputs: &[Input], name: &str, kept: &[usize]) -> Result<Vec<Input>, Diagnostic> {
    let taken = kernel.params.iter().zip(inputs).map(|(param, input)| {
        let axes = param.ty.shape().iter().enumerate().filter(|(_, d)| d.as_name() == Some(name));
        let axes: Vec<usize> = axes.map(|(axis, _)| axis).collect();
        let mut tensor = input.tensor.clone();
        for axis in axes {
            tensor = take_axis(&tensor, axis, kept)
                .ok_or_else(|| Diagnostic::new(Code::Internal, "a sample of an input has no shape"))?;
        }
        Ok(Input { tensor, scale: input.scale.clone(), zero: input.zero.clone() })
    });
    taken.collect()
}

fn take_axis(tensor: &Tensor, axis: usize, kept: &[usize]) -> Option<Tensor> {
    let mut shape = tensor.shape().to_vec();
    let inner: usize = shape[axis + 1..].iter().product();
    let (outer, size): (usize, usize) = (shape[..axis].iter().product(), shape[axis]);
    shape[axis] = kept.len();
    let runs = || (0..outer).flat_map(|o| kept.iter().map(move |k| (o * size + k) * inner));
    let data = match tensor.data() {
        Data::F32(v) => Data::F32(gather(v, runs(), inner)),
        Data::F64(v) => Data::F64(gather(v, runs(), inner)),
        Data::U16(v) => Data::U16(gather(v, runs(), inner)),
        Data::I16(v) => Data::I16(gather(v, runs(), inner)),
        Data::I32(v) => Data::I32(gather(v, runs(), inner)),
        Data::I64(v) => Data::I64(gather(v, runs(), inner)),
        Data::I8(v) => Data::I8(gather(v, runs(), inner)),
        Data::U8(v) => Data::U8(gather(v, runs(), inner)),
    };
    Tensor::new(tensor.dtype(), shape, data).ok()
}

fn gather<T: Copy>(values: &[T], starts: impl Iterator<Item = usize>, length: usize) -> Vec<T> {
    starts.flat_map(|start| values[start..start + length].iter().copied()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use msd::Source;
    use msd::ir::dtype::DType;

    use super::*;

    fn kernel(text: &str) -> Kernel {
        Source::new("t", text).check().unwrap().kernels()[0].clone()
    }

    fn sizes(list: &[(&str, u64)]) -> Sizes {
        list.iter().map(|(n, s)| (Arc::from(*n), *s)).collect()
    }

    #[test]
    fn tokens_are_what_no_weight_has() {
        let linear = kernel("kernel l(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }");
        assert_eq!(token_dimensions(&linear), [Arc::from("M")]);
        assert_eq!(macs(&linear, &sizes(&[("M", 2), ("N", 3), ("K", 5)])), 30.0);
        let halves = kernel("kernel h(X: f32[M, K], Y: f32[M/2, K]) -> f32[M, K] { X }");
        assert_eq!(token_dimensions(&halves), [Arc::from("K")]);
    }

    #[test]
    fn a_sample_is_ascending_and_has_its_size() {
        for (size, keep) in [(10, 1), (10, 9), (1000, 17), (3, 3)] {
            let kept = sample_indices(size, keep);
            assert_eq!(kept.len() as u64, keep);
            assert!(kept.is_sorted() && kept.iter().all(|i| (*i as u64) < size));
        }
        assert_eq!(sample_indices(1000, 17), sample_indices(1000, 17));
    }

    #[test]
    fn taking_keeps_rows_of_any_axis() {
        let tensor = Tensor::from_f32(DType::F32, vec![2, 3, 2], &[0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11.]);
        let taken = take_axis(&tensor.unwrap(), 1, &[0, 2]).unwrap();
        assert_eq!(taken.shape(), [2, 2, 2]);
        assert_eq!(taken.to_f32(), [0., 1., 4., 5., 6., 7., 10., 11.]);
    }

    #[test]
    fn a_sample_of_tokens_has_the_values_of_its_tokens() {
        let text = "kernel l(W: f32[N, K], X: f32[M, K]) -> f32[M, N] { X @ W.T }";
        let (kernel, m, k) = (kernel(text), 5u64, 2usize);
        let ramp = |n: usize, shape| {
            Tensor::from_f32(DType::F32, shape, &(0..n).map(|i| i as f32).collect::<Vec<_>>()).unwrap()
        };
        let inputs = [ramp(6, vec![3, k]).into(), ramp(10, vec![5, k]).into()];
        let whole = evaluate_f64(&kernel, &Sizes::new(), &inputs).unwrap();
        let kept = sample_indices(m, 2);
        let part = evaluate_f64(&kernel, &Sizes::new(), &take(&kernel, &inputs, "M", &kept).unwrap()).unwrap();
        let wanted: Vec<f64> = kept.iter().flat_map(|row| whole[0][row * 3..row * 3 + 3].to_vec()).collect();
        assert_eq!(part[0], wanted);
    }

    #[test]
    fn distances() {
        let tensor = |v: &[f32]| Tensor::from_f32(DType::F32, vec![v.len()], v).unwrap();
        assert_eq!(relative_l2(&[tensor(&[3.0, 5.0])], &[vec![3.0, 4.0]]), Some(0.2));
        assert_eq!(relative_l2(&[tensor(&[0.0])], &[vec![0.0]]), Some(0.0));
        assert_eq!(relative_l2(&[tensor(&[1.0])], &[vec![0.0]]), None);
        assert_eq!(relative_l2(&[tensor(&[f32::NAN])], &[vec![1.0]]), None);
    }
}
