use msd::msd_kernel;

#[msd_kernel]
fn steps(x: t!(f32[N])) -> t!(f32[N]) {
    let mut y = x * 2;
    if y > 0 {
        return y;
    }
    for i in 0..3 {
        y += i;
    }
    y
}

fn main() {}
