use msd::msd_kernel;

#[msd_kernel]
fn same(x: t!(f32[N])) -> t!(f32[N]) {
    return x;
}

fn main() {}
