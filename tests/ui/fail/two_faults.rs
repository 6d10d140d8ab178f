use msd::msd_kernel;

/// Both faults are reported, and callers see no third.
#[msd_kernel]
pub fn linear(w: t!(i8[N, K] scale f33[N]), x: t!(bf16[M, K])) -> t!(bf16[M, N]) {
    let product = x.matmul(w.dequant().t());
    let gate = x.sigmod();
    product + gat
}

fn main() -> msd::Result<()> {
    let y: msd::Array<msd::bf16, 2> = linear(1, "2")?;
    let _ = linear::kernel()?.call(1, y)?;
    linear::SOURCE.len();
    Ok(())
}
