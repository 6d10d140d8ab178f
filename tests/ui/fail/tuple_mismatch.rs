use msd::msd_kernel;

#[msd_kernel]
fn pair(x: t!(f32[N])) -> (t!(f32[N]), t!(f32[N])) {
    let (a, b) = x.exp();
    (a, b, x)
}

fn main() {}
