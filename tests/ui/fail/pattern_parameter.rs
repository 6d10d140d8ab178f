use msd::msd_kernel;

#[msd_kernel]
fn sum((a, b): t!(f32[N]), mut c: t!(f32[N])) -> t!(f32[N]) {
    a + b + c
}

fn main() {}
