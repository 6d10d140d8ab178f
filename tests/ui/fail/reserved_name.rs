use msd::msd_kernel;

#[msd_kernel]
fn kernel(kernel: t!(f32[N])) -> t!(f32[N]) {
    kernel.exp()
}

fn main() {}
