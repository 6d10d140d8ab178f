use msd::msd_kernel;

#[msd_kernel]
fn linear(w: &[Vec<i8>], x: t!(bf16[M, K])) -> Vec<f32> {
    x.matmul(w)
}

fn main() {}
