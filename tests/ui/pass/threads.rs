//! One weight and one handle, shared by threads.
use msd::{View, Weight, msd_kernel};

#[msd_kernel]
fn linear(w: t!(i8[N, K] scale f32[N]), x: t!(f32[M, K])) -> t!(f32[M, N]) {
    x.matmul(w.dequant().t())
}

fn main() -> msd::Result<()> {
    let weight = Weight::from(linear::kernel()?.quantize("w", &[0.5; 64], &[4, 16])?);
    let x: Vec<f32> = (0..16u8).map(f32::from).collect();
    let expected = linear(&weight, View::new(&x, [1, 16])?)?;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(linear(&weight, View::new(&x, [1, 16]).unwrap()).unwrap(), expected));
        }
    });
    Ok(())
}
