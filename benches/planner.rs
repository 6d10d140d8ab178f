//! The planner against measurements: for linear layers of several sizes, both lowerings are timed in turns on
//! weights that no cache holds, and what the planner takes must not be much slower than the other. Exit status 1
//! if it is. Owns the comparison alone; `msd bench` has the figures people read.
#![allow(clippy::unwrap_used, reason = "a failed measurement panics")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use msd::ir::dim::Sizes;
use msd::ir::graph::Lowering;
use msd::jit::bound::Bound;
use msd::{Argument, Compiled, DType, Options, Source, Tensor, Weight};

const TEXT: &str = "kernel f(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";

/// Channels and depth of the layers, and numbers of tokens.
const LAYERS: [(u64, u64); 3] = [(4096, 4096), (1536, 384), (512, 2048)];
const TOKENS: [u64; 6] = [1, 2, 4, 8, 16, 64];

/// How much slower than the other way the planner's may be: its model is a roofline of another machine.
const SLACK: f64 = 1.25;

/// Bytes of weights that calls go through, past the caches of one core's share.
const COLD_BYTES: u64 = 230_000_000;

const ROUNDS: usize = 7;

/// A kernel compiled one way, its weights in several places.
struct Contender {
    compiled: Compiled,
    bound: Bound,
    weights: Vec<Weight>,
    x: Tensor,
    y: Tensor,
    next: usize,
}

impl Contender {
    fn new(sizes: &Sizes, lowering: Lowering) -> Contender {
        let options = Options::new().lowering(lowering);
        let checked = Source::new("f.msd", TEXT).check().unwrap();
        let compiled =
            checked.rewrite(checked.kernel(None).unwrap(), sizes, &options).unwrap().compile(&options).unwrap();
        let [m, n, k] = ["M", "N", "K"].map(|d| sizes[d] as usize);
        let values: Vec<f32> = (0..n * k).map(|i| ((i * 7919) % 251) as f32 - 125.0).collect();
        let kernel = msd::Kernel::new(TEXT, &options).unwrap();
        let first = Weight::from(kernel.quantize("W", &values, &[n, k]).unwrap());
        let x = Tensor::from_f32(DType::BF16, vec![m, k], &values.repeat(m.div_ceil(n))[..m * k]).unwrap();
        let bound = {
            let arguments = [Argument::from(&first), Argument::from(&x)];
            let bound = compiled.bind(&arguments).unwrap();
            compiled.prepare(&bound, &arguments).unwrap();
            bound
        };
        let copies = COLD_BYTES.div_ceil((n * k) as u64).min(1024);
        let mut weights: Vec<Weight> = (1..copies).map(|_| first.duplicate().unwrap()).collect();
        weights.push(first);
        let y = Tensor::zeros(DType::F32, vec![m, n]).unwrap();
        Contender { compiled, bound, weights, x, y, next: 0 }
    }

    /// Seconds of a call, of enough calls to be measured.
    fn seconds(&mut self) -> f64 {
        let (start, mut calls) = (Instant::now(), 0);
        while calls == 0 || start.elapsed().as_millis() < 5 {
            let arguments = [Argument::from(&self.weights[self.next]), Argument::from(&self.x)];
            self.compiled.run(&self.bound, &arguments, &mut [self.y.view_mut()]).unwrap();
            self.next = (self.next + 1) % self.weights.len();
            calls += 1;
        }
        start.elapsed().as_secs_f64() / f64::from(calls)
    }
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn main() -> ExitCode {
    let mut is_good = true;
    println!("{:>5} {:>5} {:>4}  {:>10} {:>10}  chosen", "N", "K", "M", "msd", "dequant");
    for (n, k) in LAYERS {
        for m in TOKENS {
            let sizes: Sizes = [("M", m), ("N", n), ("K", k)].map(|(d, s)| (Arc::from(d), s)).into();
            let plan = msd::Kernel::new(TEXT, &Options::new()).unwrap();
            let plan = plan.plan(&[("M", m), ("N", n), ("K", k)]).unwrap();
            let chosen = plan.sites[0].choice.lowering;
            let mut contenders = [Lowering::Msd, Lowering::Dequant].map(|way| Contender::new(&sizes, way));
            let mut samples = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                for (contender, samples) in contenders.iter_mut().zip(&mut samples) {
                    samples.push(contender.seconds());
                }
            }
            let [msd, dequant] = samples.map(median);
            let (taken, other) = if chosen == Lowering::Msd { (msd, dequant) } else { (dequant, msd) };
            let verdict = if taken <= SLACK * other { "" } else { "  too slow" };
            is_good &= verdict.is_empty();
            let [msd, dequant] = [msd, dequant].map(|s| format!("{:.1} us", s * 1e6));
            println!("{n:>5} {k:>5} {m:>4}  {msd:>10} {dequant:>10}  {}{verdict}", chosen.name());
        }
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
