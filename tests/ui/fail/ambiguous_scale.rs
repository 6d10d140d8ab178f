use msd::msd_kernel;

#[msd_kernel]
fn square(w: t!(i8[N, N] scale f32[N]), x: t!(bf16[M, N])) -> t!(bf16[M, N]) {
    x.matmul(w.dequant().t())
}

fn main() {}
