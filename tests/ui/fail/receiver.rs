use msd::msd_kernel;


struct Layer;

impl Layer {
    #[msd_kernel]
    fn linear(&self, x: t!(bf16[M, K])) -> t!(bf16[M, K]) {
        x + self
    }
}

fn main() {
    let _ = Layer.linear(1);
}
