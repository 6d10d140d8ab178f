//! Arguments that do not fit are refused with a code, a message and a help, not with a panic.
use msd::{Argument, Options, Tensor, View, msd_kernel};

#[msd_kernel]
fn grouped(w: t!(i8[N, K] scale f32[N, K/4]), x: t!(f32[M, K])) -> t!(f32[M, N]) {
    x.matmul(w.dequant().t())
}

fn main() -> msd::Result<()> {
    let x = View::new(&[1.0; 6], [1, 6])?;
    // A weight for more inputs than there are.
    let w = grouped::kernel()?.quantize("w", &[1.0; 8], &[1, 8])?;
    let fault = grouped(&w, x).unwrap_err();
    assert!(fault.to_string().contains("`K` is 8 in `w` but 6 in `x`"), "{fault}");
    // A plain tensor where a quantized one is declared, past the types of the function.
    let w = Tensor::from(vec![1.0f32; 8]).reshaped(vec![1, 8])?;
    let untyped: &msd::Kernel = grouped::kernel()?;
    assert!(untyped.call(&[Argument::from(&w), Argument::from(x.tensor())]).is_err());
    // A size that the group does not divide.
    assert!(grouped::kernel()?.quantize("w", &[1.0; 6], &[1, 6]).is_err());
    assert!(grouped::Kernel::new(&Options::new().tolerance(-1.0)).is_err());
    Ok(())
}
