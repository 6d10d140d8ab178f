//! Groups with zero points, blocks with shared exponents, two levels of scales.
use msd::{View, bf16, msd_kernel};

#[msd_kernel]
fn grouped(w: t!(u4[N, K] scale f16[N, K/2] zero u4[N, K/2]), x: t!(bf16[M, K])) -> t!(f32[M, N]) {
    x.matmul(w.dequant().t())
}

#[msd_kernel]
#[lowering(dequant)]
fn blocks(w: t!(mxfp4[N, K]), x: t!(bf16[M, K])) -> t!(f32[M, N]) {
    x.matmul(w.dequant().t())
}

#[msd_kernel]
fn two_levels(w: t!(nvfp4[N, K]), s: t!(f32[1]), x: t!(bf16[M, K])) -> t!(f32[M, N]) {
    x.matmul((w.dequant() * s).t())
}

fn main() -> msd::Result<()> {
    let w = grouped::kernel()?.quantize("w", &[0.0, 1.5, -1.5, 0.0], &[1, 4])?;
    let x = [bf16::ONE; 4];
    let y = grouped(&w, View::new(&x, [1, 4])?)?;
    assert!(y.data()[0].abs() < 0.01, "{y:?}");
    let w = blocks::kernel()?.quantize("w", &[1.5; 32], &[1, 32])?;
    let x = [bf16::ONE; 32];
    assert_eq!(blocks(&w, View::new(&x, [1, 32])?)?.data(), [48.0]);
    let (w, s) = msd::quantize_nvfp4(&[2688.0; 32], &[1, 32])?;
    assert_eq!(two_levels(&w, View::new(&[s], [1])?, View::new(&x, [1, 32])?)?.data(), [32.0 * 2688.0]);
    Ok(())
}
