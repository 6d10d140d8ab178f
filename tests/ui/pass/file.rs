#![deny(warnings)]

use msd::{View, bf16};

msd::msd_file!("files/linear.msd");

fn main() -> msd::Result<()> {
    let (k, n) = (4, 2);
    let w = linear::kernel()?.quantize("W", &[1.0; 8], &[n, k])?;
    let x = [bf16::from_f32(1.0); 4];
    let bias = [0.0, 0.5];
    let y = linear(&w, View::new(&x, [1, k])?, View::new(&bias, [n])?)?;
    assert_eq!(y.data(), [bf16::from_f32(4.0), bf16::from_f32(4.5)]);
    Ok(())
}
