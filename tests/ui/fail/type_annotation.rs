use msd::msd_kernel;

#[msd_kernel]
fn exp(x: t!(f32[N])) -> t!(f32[N]) {
    let y: f32 = x.exp();
    y
}

fn main() {}
