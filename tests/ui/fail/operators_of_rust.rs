use msd::msd_kernel;

#[msd_kernel]
fn odd(x: t!(f32[N])) -> t!(f32[N]) {
    let y = &x;
    let z = f32::max(*y, 1.0) as bf16;
    z.iter().map(|v| v + 1)?
}

fn main() {}
