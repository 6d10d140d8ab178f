//! Arguments that do not fit are refused with a code, a message and a help, not with a panic.
use msd::{Argument, Options, Tensor, View, msd_kernel};

#[msd_kernel]
fn grouped(w: t!(i8[N, K] scale f32[N, K/4]), x: t!(f32[M, K])) -> t!(f32[M, N]) {
    x.matmul(w.dequant().t())
}

fn main() -> msd::Result<()> {
    let x = View::new(&[1.0; 6], [1, 6])?;
    let w = Tensor::from(vec![1.0f32; 6]).reshaped(vec![1, 6])?;
    // A plain tensor where a quantized one is declared.
    let fault = grouped(Argument::from(&w), x).unwrap_err();
    assert!(fault.to_string().contains("`w"), "{fault}");
    // A size that the group does not divide.
    assert!(grouped::kernel()?.quantize("w", &[1.0; 6], &[1, 6]).is_err());
    assert!(grouped::Kernel::new(&Options::new().tolerance(-1.0)).is_err());
    Ok(())
}
