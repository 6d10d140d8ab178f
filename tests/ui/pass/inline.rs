//! `msd!(...)` within a body, and `msd! { ... }` as the whole of it.
use msd::{View, msd_kernel};

#[msd_kernel]
fn gram(x: t!(f32[M, K])) -> t!(f32[M, M]) {
    let product = msd!(x @ x.T);
    product * 2 + msd::msd!(where(product > 5, 1, 0))
}

#[msd_kernel]
fn norm(x: t!(f32[M, K])) -> t!(f32[M, K]) {
    msd! {
        let total = sum(x);
        x / total
    }
}

fn main() -> msd::Result<()> {
    let x = View::new(&[1.0, 3.0], [1, 2])?;
    assert_eq!(gram(x)?.data(), [21.0]);
    assert_eq!(norm(x)?.data(), [0.25, 0.75]);
    Ok(())
}
