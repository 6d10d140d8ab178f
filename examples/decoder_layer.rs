//! The linear layers of a decoder block: norm, Q, K and V; output projection with its residual;
//! norm, gate, up and down with theirs. Each kernel reads its INT8 weights as stored, and splits
//! activations that several weights share once. Attention itself is left out: its values stand in
//! for what it would return.
//!
//! ```text
//! cargo run --release --example decoder_layer
//! ```

use std::time::Instant;

use msd::{Array, Options, Result, View, ViewMut, Weight, bf16, msd_kernel};

const MODEL: usize = 1024;
const KEYS: usize = 256;
const HIDDEN: usize = 2816;

/// The normalised tokens as queries, keys and values.
#[msd_kernel]
fn queries_keys_values(
    x: t!(bf16[M, D]),
    norm: t!(f32[D]),
    q: t!(i8[D, D] scale f32[D, 1]),
    k: t!(i8[G, D] scale f32[G]),
    v: t!(i8[G, D] scale f32[G]),
) -> (t!(bf16[M, D]), t!(bf16[M, G]), t!(bf16[M, G])) {
    let h = x.rms_norm(norm, 1e-5);
    (matmul(h, dequant(q).t()), matmul(h, dequant(k).t()), matmul(h, dequant(v).t()))
}

/// What attention found, projected and added to the residual stream.
#[msd_kernel]
fn attention_output(x: t!(bf16[M, D]), a: t!(bf16[M, D]), o: t!(i8[D, D] scale f32[D, 1])) -> t!(bf16[M, D]) {
    x + matmul(a, dequant(o).t())
}

/// The gated feed-forward network and its residual, in the language's own syntax.
#[msd_kernel]
fn feed_forward(
    x: t!(bf16[M, D]),
    norm: t!(f32[D]),
    gate: t!(i8[F, D] scale f32[F]),
    up: t!(i8[F, D] scale f32[F]),
    down: t!(i8[D, F] scale f32[D]),
) -> t!(bf16[M, D]) {
    let h = rms_norm(x, norm, 1e-5);
    msd!(x + (silu(h @ dequant(gate).T) * (h @ dequant(up).T)) @ dequant(down).T)
}

/// The kernels and weights of one layer; any number of threads may share it.
struct Layer {
    qkv: queries_keys_values::Kernel,
    output: attention_output::Kernel,
    ffn: feed_forward::Kernel,
    norms: [Vec<f32>; 2],
    q: Weight,
    k: Weight,
    v: Weight,
    o: Weight,
    gate: Weight,
    up: Weight,
    down: Weight,
}

impl Layer {
    fn new(options: &Options) -> Result<Layer> {
        let qkv = queries_keys_values::Kernel::new(options)?;
        let output = attention_output::Kernel::new(options)?;
        let ffn = feed_forward::Kernel::new(options)?;
        let weight = |kernel: &msd::Kernel, name: &str, n: usize, k: usize| -> Result<Weight> {
            Ok(kernel.quantize(name, &noise(name.len() as u32 + n as u32, n * k, 0.03), &[n, k])?.into())
        };
        Ok(Layer {
            norms: [vec![1.0; MODEL], vec![1.0; MODEL]],
            q: weight(&qkv, "q", MODEL, MODEL)?,
            k: weight(&qkv, "k", KEYS, MODEL)?,
            v: weight(&qkv, "v", KEYS, MODEL)?,
            o: weight(&output, "o", MODEL, MODEL)?,
            gate: weight(&ffn, "gate", HIDDEN, MODEL)?,
            up: weight(&ffn, "up", HIDDEN, MODEL)?,
            down: weight(&ffn, "down", MODEL, HIDDEN)?,
            qkv,
            output,
            ffn,
        })
    }

    /// One step of `x [tokens, MODEL]`, written over `y`.
    fn forward(&self, x: View<'_, bf16, 2>, y: ViewMut<'_, bf16, 2>) -> Result<()> {
        let norm = |i: usize| View::new(&self.norms[i], [MODEL]);
        let (q, _k, _v) = self.qkv.call(x, norm(0)?, &self.q, &self.k, &self.v)?;
        // Attention over a cache of keys and values would go here; every token sees itself alone.
        let x = self.output.call(x, q.view(), &self.o)?;
        self.ffn.call_into(x.view(), norm(1)?, &self.gate, &self.up, &self.down, y)
    }
}

fn main() -> Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let layer = Layer::new(&Options::new().threads(threads))?;
    println!("{}", layer.ffn.explain(&[("D", MODEL as u64), ("F", HIDDEN as u64), ("M", 1)])?);

    for tokens in [1, 4, 64] {
        let x: Vec<bf16> = noise(7, tokens * MODEL, 1.0).into_iter().map(bf16::from_f32).collect();
        let mut y = Array::<bf16, 2>::zeros([tokens, MODEL])?;
        let mut times = Vec::new();
        for _ in 0..9 {
            let start = Instant::now();
            layer.forward(View::new(&x, [tokens, MODEL])?, y.view_mut())?;
            times.push(start.elapsed());
        }
        times.sort();
        println!("{tokens:>3} tokens, {threads} threads: {:.2?}; first value {}", times[times.len() / 2], y.data()[0]);
    }
    for class in layer.ffn.classes() {
        println!(
            "feed_forward compiled for {:?} in {:.1?}, called {} times",
            class.fixed, class.compile_time, class.calls
        );
    }
    Ok(())
}

/// Reproducible values between `-size` and `size`.
fn noise(seed: u32, count: usize, size: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state as f32 / u32::MAX as f32 - 0.5) * 2.0 * size
    };
    (0..count).map(|_| next()).collect()
}
