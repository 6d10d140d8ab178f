//! A linear layer in Rust form, under the strictest lints a crate may have.
#![deny(warnings, missing_docs, unreachable_pub)]

use msd::{Options, View, ViewMut, Weight, msd_kernel};

/// `x` times the transposed weight.
#[msd_kernel]
#[tolerance(1e-4)]
pub fn linear(w: t!(i8[N, K] scale f32[N]), x: t!(f32[M, K])) -> t!(f32[M, N]) {
    matmul(x, dequant(w).t())
}

fn main() -> msd::Result<()> {
    let handle = linear::kernel()?;
    let codes = handle.quantize("w", &[1.0, -0.5, 0.25, 0.75, 0.5, -1.0], &[2, 3])?;
    let (weight, x) = (Weight::from(codes.clone()), View::new(&[1.0, 2.0, 4.0], [1, 3])?);
    let y = linear(&weight, x)?;
    assert_eq!(y.shape(), [1, 2]);
    assert!((y.data()[0] - 1.0).abs() < 0.02 && (y.data()[1] + 2.25).abs() < 0.02);

    // The codes as they are, the handle, and results in place: the same bits.
    assert_eq!(linear(&codes, x)?, y);
    assert_eq!(linear::Kernel::new(&Options::new())?.call(&weight, x)?, y);
    let mut out = [0.0; 2];
    linear::into(&weight, x, ViewMut::new(&mut out, [1, 2])?)?;
    assert_eq!(out, y.data());
    assert!(linear::SOURCE.starts_with("#[tolerance(0.0001)]\nkernel linear(w: i8[N, K] scale f32[N]"));
    assert_eq!(handle.name(), "linear");

    // Sizes of one name are one size.
    let short = View::new(&[1.0, 2.0], [1, 2])?;
    assert!(linear(&weight, short).is_err());
    Ok(())
}
