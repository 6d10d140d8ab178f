//! Methods, `let`, literals of Rust, and `r#where` for the word that Rust reserves.
use msd::{View, msd_kernel};

#[msd_kernel]
fn clipped(x: t!(f32[M, K]), y: t!(f32[N, K])) -> t!(f32[M, N]) {
    let product = x.matmul(y.t()) + 1_0.0_f32;
    r#where(product > 20., 20f32, product)
}

fn main() -> msd::Result<()> {
    let x = View::new(&[1.0, 2.0], [1, 2])?;
    let y = View::new(&[1.0, 2.0, 3.0, 5.0], [2, 2])?;
    assert_eq!(clipped(x, y)?.data(), [15.0, 20.0]);
    Ok(())
}
