use msd::msd_kernel;

#[msd_kernel]
#[scheme(int8x2-power2)]
fn linear(w: t!(i8[N, K] scale f32[N]), x: t!(bf16[M, K])) -> t!(bf16[M, N]) {
    x.matmul(w.dequant().t())
}

fn main() {}
