use msd::msd_kernel;

#[msd_kernel]
fn linear(w: t!(i8[N, K] scale f32[N]), x: t!(bf16[M, K])) {
    x.matmul(w.dequant().t())
}

fn main() {}
