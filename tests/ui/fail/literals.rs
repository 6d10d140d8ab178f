use msd::msd_kernel;

#[msd_kernel]
fn add(x: t!(f32[N])) -> t!(f32[N]) {
    x + 1u8 + 0x10 + 2.5f32
}

fn main() {}
