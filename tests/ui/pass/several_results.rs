//! A tuple of results, one place to write for each, and numbers as tensors without dimensions.
use msd::{View, ViewMut, f16, msd_kernel};

#[msd_kernel]
fn moments(x: t!(f16[M, N]), shift: t!(f32[])) -> (t!(f32[M, 1]), t!(bf16[M, N]), t!(bool[M, N])) {
    let centered = x - mean(x);
    (sum(centered * centered), centered + shift, x > shift)
}

fn main() -> msd::Result<()> {
    let x = [1.0, 3.0].map(f16::from_f32);
    let (x, shift) = (View::new(&x, [1, 2])?, [1.0]);
    let shift = View::new(&shift, [])?;
    let (squares, shifted, larger) = moments(x, shift)?;
    assert_eq!(squares.data(), [2.0]);
    assert_eq!(shifted.data().iter().map(|v| v.to_f32()).collect::<Vec<_>>(), [0.0, 2.0]);
    assert_eq!(larger.data(), [false, true]);

    let (mut a, mut b, mut c) = ([0.0], [msd::bf16::ZERO; 2], [false; 2]);
    moments::into(
        x,
        shift,
        ViewMut::new(&mut a, [1, 1])?,
        ViewMut::new(&mut b, [1, 2])?,
        ViewMut::new(&mut c, [1, 2])?,
    )?;
    assert_eq!((&a[..], &b[..], &c[..]), (squares.data(), shifted.data(), larger.data()));
    Ok(())
}
