//! Parts of the compiled code, each alone: tiles on a weight that stays in a cache, the split of activations
//! into digits, the packing of a weight, and whole layers on weights that no cache holds. Owns which parts and
//! sizes; layers beside their alternatives and their shares of the limits are `msd bench`'s.
//!
//! ```text
//! cargo bench -- tiles
//! ```
//!
//! Times of two runs compare as far as the limits compare that they print first.

use std::hint::black_box;
use std::sync::Arc;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput};
use msd::ir::diag::Diagnostic;
use msd::ir::dim::Sizes;
use msd::jit::probe::{self, Limits, Probe};
use msd::{Argument, Compiled, DType, Lowering, Options, QuantTensor, Scheme, Source, Tensor, Weight};

/// Digits are given, so that nothing but their product takes time.
const PRODUCT: &str = "kernel product(W: i8[N, K] scale f32[N], D: i8[2*M, K], g: f32[M, 1]) -> f32[M, N] {
    msd.combine(msd.dot(D, msd.codes(W).T), \"int8x2-pow2\") * g
}";
const LINEAR: &str = "kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";

/// Channels of the tiles' weight, which at the length of [`SIZE`] fits a second-level cache.
const CHANNELS: usize = 96;

/// Sides of the other weights, and how many bytes of copies are past any cache.
const SIZE: usize = 4096;
const COLD_BYTES: usize = 230_000_000;

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn main() -> msd::Result<()> {
    // `cargo test --benches` only asks whether everything still runs.
    let timed = std::env::args().any(|arg| arg == "--bench");
    let (size, cold_bytes) = if timed { (SIZE, COLD_BYTES) } else { (64, 0) };
    if timed {
        print_limits();
    }
    let mut criterion = Criterion::default().configure_from_args();
    tiles(&mut criterion.benchmark_group("tiles"), size)?;
    split(&mut criterion.benchmark_group("split"), size)?;
    pack(&mut criterion.benchmark_group("pack"), size)?;
    kernels(&mut criterion.benchmark_group("kernels"), size, cold_bytes)?;
    criterion.final_summary();
    Ok(())
}

fn print_limits() {
    println!("{}", probe::cpu_name());
    for threads in [1, 2] {
        let Limits { read_gbs, int8_gmacs, amx_gmacs, f32_gmacs } = Probe::new(threads).limits();
        let amx = amx_gmacs.map_or_else(String::new, |gmacs| format!("amx {gmacs:.0} GMAC/s; "));
        print!("{threads} threads: reads {read_gbs:.1} GB/s; int8 {int8_gmacs:.0} GMAC/s; ");
        println!("{amx}f32 {f32_gmacs:.0} GMAC/s");
    }
}

/// Products of digits with a weight that is in the cache: 8-bit multiply-accumulates, of two digits.
fn tiles(group: &mut Group<'_>, size: usize) -> msd::Result<()> {
    let compiled = compile(PRODUCT, &[("N", CHANNELS), ("K", size)], &Options::new())?;
    let weight = weight(CHANNELS, size)?;
    for tokens in [1, 4, 16, 64] {
        let digits = tensor(DType::I8, &[2 * tokens, size])?;
        let units = tensor(DType::F32, &[tokens, 1])?;
        let arguments = vec![Argument::from(&weight), Argument::from(&digits), Argument::from(&units)];
        group.throughput(Throughput::Elements((2 * tokens * CHANNELS * size) as u64));
        time(group, &format!("M={tokens}"), &compiled, &[arguments])?;
    }
    Ok(())
}

/// Decompositions: bytes of activations.
fn split(group: &mut Group<'_>, size: usize) -> msd::Result<()> {
    let tokens = 64;
    let activations = tensor(DType::BF16, &[tokens, size])?;
    group.throughput(Throughput::Bytes((2 * tokens * size) as u64));
    for scheme in [Scheme::Int8x1, Scheme::Int8x2Pow2, Scheme::Int8x3Pow2] {
        let (name, digits) = (scheme.name(), scheme.weights().len());
        let text =
            format!("kernel split(X: bf16[M, K]) -> (i8[{digits}*M, K], f32[M, 1]) {{ msd.decompose(X, \"{name}\") }}");
        let compiled = compile(&text, &[("K", size)], &Options::new())?;
        time(group, name, &compiled, &[vec![Argument::from(&activations)]])?;
    }
    Ok(())
}

/// A weight on its first use, memory for the packed form included: bytes of codes.
fn pack(group: &mut Group<'_>, size: usize) -> msd::Result<()> {
    let compiled = linear(size, 1)?;
    let (weight, activations) = (weight(size, size)?, tensor(DType::BF16, &[1, size])?);
    let bound = compiled.bind(&layer(&weight, &activations))?;
    compiled.prepare(&bound, &layer(&weight.duplicate()?, &activations))?;
    group.throughput(Throughput::Bytes((size * size) as u64));
    group.bench_function("1 thread", |bencher| {
        // The duplicate of a weight that is not packed is not packed either. That packing succeeds is known by
        // now; what it returns is dropped outside the time that is taken.
        let packed = |fresh: Result<Weight, Diagnostic>| {
            let fresh = fresh?;
            compiled.prepare(&bound, &layer(&fresh, &activations)).map(|()| fresh)
        };
        bencher.iter_batched(|| weight.duplicate(), packed, BatchSize::PerIteration);
    });
    Ok(())
}

/// Linear layers, their weights read from memory: multiply-accumulates, however many digits.
fn kernels(group: &mut Group<'_>, size: usize, cold_bytes: usize) -> msd::Result<()> {
    let first = weight(size, size)?;
    let activations = tensor(DType::BF16, &[1, size])?;
    let compiled = linear(size, 1)?;
    let arguments = layer(&first, &activations);
    compiled.prepare(&compiled.bind(&arguments)?, &arguments)?;
    let count = cold_bytes.div_ceil(first.packed_bytes()).max(1);
    let copies = (0..count).map(|_| first.duplicate()).collect::<Result<Vec<_>, _>>()?;
    for threads in [1, 2] {
        let compiled = linear(size, threads)?;
        for tokens in [1, 16, 64] {
            let activations = tensor(DType::BF16, &[tokens, size])?;
            let turns: Vec<_> = copies.iter().map(|w| layer(w, &activations).to_vec()).collect();
            group.throughput(Throughput::Elements((tokens * size * size) as u64));
            time(group, &format!("M={tokens}, {threads} threads"), &compiled, &turns)?;
        }
    }
    Ok(())
}

/// Times calls, each on the next of these arguments.
fn time(group: &mut Group<'_>, name: &str, compiled: &Compiled, turns: &[Vec<Argument<'_>>]) -> msd::Result<()> {
    let bound = compiled.bind(&turns[0])?;
    let results = bound.outputs().iter().map(|(dtype, shape)| Tensor::zeros(*dtype, shape.clone()));
    let mut results = results.collect::<Result<Vec<_>, _>>()?;
    let mut outputs: Vec<_> = results.iter_mut().map(Tensor::view_mut).collect();
    for arguments in turns {
        // Packs what is not packed yet and grows scratch memory.
        compiled.run(&bound, arguments, &mut outputs)?;
    }
    let mut turn = 0;
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            turn = (turn + 1) % turns.len();
            // That these calls succeed is known by now.
            let _ = black_box(compiled.run(&bound, &turns[turn], &mut outputs));
        });
    });
    Ok(())
}

/// The arguments of [`LINEAR`].
fn layer<'a>(weight: &'a Weight, activations: &'a Tensor) -> [Argument<'a>; 2] {
    [weight.into(), activations.into()]
}

fn linear(size: usize, threads: usize) -> msd::Result<Compiled> {
    let options = Options::new().lowering(Lowering::Msd).scheme(Scheme::Int8x2Pow2).threads(threads);
    compile(LINEAR, &[("N", size), ("K", size)], &options)
}

/// A kernel in machine code, its number of tokens open.
fn compile(text: &str, sizes: &[(&str, usize)], options: &Options) -> msd::Result<Compiled> {
    let checked = Source::new("bench.msd", text).check()?;
    let sizes: Sizes = sizes.iter().map(|(name, size)| (Arc::from(*name), *size as u64)).collect();
    Ok(checked.rewrite(checked.kernel(None)?, &sizes, options)?.compile(options)?)
}

fn weight(n: usize, k: usize) -> msd::Result<Weight> {
    Ok(Weight::from(QuantTensor::new(tensor(DType::I8, &[n, k])?, tensor(DType::F32, &[n])?, None)?))
}

/// Integers from -99 to 99 in some order; what is measured does not depend on them.
fn tensor(dtype: DType, shape: &[usize]) -> msd::Result<Tensor> {
    let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i * 53 % 199) as f32 - 99.0).collect();
    Ok(Tensor::from_f32(dtype, shape.to_vec(), &values)?)
}
