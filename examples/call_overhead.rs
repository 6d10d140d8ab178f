//! What a call costs beside its arithmetic: a 64 x 64 kernel on one token, all checks included, and
//! the allocations of such a call.
//!
//! ```text
//! cargo run --release --example call_overhead
//! ```

use std::time::Instant;

use msd::{Array, View, Weight, bf16, msd_kernel};

#[msd_kernel]
fn linear(w: t!(i8[N, K] scale f32[N]), x: t!(bf16[M, K])) -> t!(bf16[M, N]) {
    matmul(x, dequant(w).t())
}

const SIZE: usize = 64;
/// Calls timed together: the clock's own cost vanishes.
const BATCH: u32 = 1000;

fn main() -> msd::Result<()> {
    let values: Vec<f32> = (0..SIZE * SIZE).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    let w = Weight::from(linear::kernel()?.quantize("w", &values, &[SIZE, SIZE])?);
    let x: Vec<bf16> = (0..SIZE).map(|i| bf16::from_f32((i * 53 % 97) as f32 / 48.0 - 1.0)).collect();
    let mut y = Array::<bf16, 2>::zeros([1, SIZE])?;
    let x = View::new(&x, [1, SIZE])?;
    linear::into(&w, x, y.view_mut())?;

    let allocations = allocation_counter::measure(|| {
        let _ = linear::into(&w, x, y.view_mut());
    });
    let mut times = Vec::new();
    for _ in 0..101 {
        let start = Instant::now();
        for _ in 0..BATCH {
            linear::into(&w, x, y.view_mut())?;
        }
        times.push(start.elapsed() / BATCH);
    }
    times.sort();
    let (best, median) = (times[0], times[times.len() / 2]);
    println!(
        "{SIZE} x {SIZE}, 1 token: median {median:.2?} a call, best {best:.2?}; {} allocations",
        allocations.count_total
    );
    Ok(())
}
