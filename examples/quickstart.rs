//! From weights to a result, with nothing but `msd` and std.
//!
//! ```text
//! cargo run --release --example quickstart
//! ```

use msd::{View, Weight, msd_kernel};

#[msd_kernel]
fn linear(w: t!(i8[N, K] scale f32[N]), x: t!(f32[M, K])) -> t!(f32[M, N]) {
    matmul(x, dequant(w).t())
}

fn main() -> msd::Result<()> {
    // 64 output channels, 64 inputs, 2 tokens.
    let weights: Vec<f32> = (0..64 * 64).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    let tokens: Vec<f32> = (0..2 * 64).map(|i| (i * 53 % 97) as f32 / 48.0 - 1.0).collect();

    let w = Weight::from(linear::kernel()?.quantize("w", &weights, &[64, 64])?);
    let y = linear(&w, View::new(&tokens, [2, 64])?)?;
    println!("{:?}", y.data());
    Ok(())
}
