use msd::msd_kernel;

#[msd_kernel]
fn linear(w: t!(i8[N, K] scale f32[N]), x: t!(bf16[M, K])) -> t!(bf16[M, N]) {
    w.dequant().matmul(x.t())
}

fn main() {}
