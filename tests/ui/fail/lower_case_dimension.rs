use msd::msd_kernel;

#[msd_kernel]
fn exp(x: t!(f32[n])) -> t!(f32[n]) {
    x.exp()
}

fn main() {}
