use msd::msd_kernel;

#[msd_kernel]
#[derive(Default)]
struct Layer {
    n: usize,
}

fn main() {
    let _ = Layer::default().n;
}
