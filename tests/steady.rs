//! A call whose shapes were seen before allocates nothing, whatever its arguments are held in.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use msd::{Argument, DType, Kernel, Options, Tensor, TensorView, TensorViewMut, Weight};

const TEXT: &str = "kernel both(w: i8[N, K] scale f32[N], x: f32[M, K], b: f32[N]) -> (bf16[M, N], f32[M, 1]) {
    let y = x @ dequant(w).T + b;
    (silu(y), mean(y))
}";

const N: usize = 64;
const K: usize = 64;

struct Case {
    kernel: Kernel,
    quant: msd::QuantTensor,
    weight: Weight,
    x: Tensor,
    bias: Tensor,
}

impl Case {
    fn new(options: &Options) -> Case {
        let kernel = Kernel::new(TEXT, options).unwrap();
        let values: Vec<f32> = (0..N * K).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let quant = kernel.quantize("w", &values, &[N, K]).unwrap();
        let tokens: Vec<f32> = (0..32 * K).map(|i| ((i * 53) % 97) as f32 / 48.0 - 1.0).collect();
        let x = Tensor::from_f32(DType::F32, vec![32, K], &tokens).unwrap();
        let bias = Tensor::from_f32(DType::F32, vec![N], &[0.5; N]).unwrap();
        Case { kernel, weight: Weight::from(quant.clone()), quant, x, bias }
    }

    /// Allocations of a second round of calls with these first rows of `x`, one call for each number.
    fn allocations(&self, w: Argument<'_>, rows: &[usize], strides: Option<[usize; 2]>) -> u64 {
        let mut y: Vec<Vec<u16>> = rows.iter().map(|m| vec![0; m * N]).collect();
        let mut mean: Vec<Vec<f32>> = rows.iter().map(|m| vec![0.0; *m]).collect();
        let mut round = || {
            for ((m, y), mean) in rows.iter().zip(&mut y).zip(&mut mean) {
                let msd::ir::tensor::DataRef::F32(x) = self.x.view().data() else { unreachable!() };
                let shape = [*m, K];
                let x = match &strides {
                    Some(strides) => {
                        TensorView::strided(DType::F32, &shape, strides, msd::ir::tensor::DataRef::F32(x)).unwrap()
                    }
                    None => {
                        let dense = msd::ir::tensor::DataRef::F32(&x[..m * K]);
                        TensorView::new(DType::F32, &shape, dense).unwrap()
                    }
                };
                let (y_shape, mean_shape) = ([*m, N], [*m, 1]);
                let y = msd::ir::tensor::DataMut::U16(y);
                let y = TensorViewMut::new(DType::BF16, &y_shape, y).unwrap();
                let mean = msd::ir::tensor::DataMut::F32(mean);
                let mean = TensorViewMut::new(DType::F32, &mean_shape, mean).unwrap();
                let arguments = [w, Argument::from(x), Argument::from(&self.bias)];
                self.kernel.call_into(&arguments, &mut [y, mean]).unwrap();
            }
        };
        round();
        allocation_counter::measure(round).count_total
    }
}

#[test]
fn packed_weights_and_any_number_of_tokens() {
    let case = Case::new(&Options::new());
    assert_eq!(case.allocations(Argument::from(&case.weight), &[1, 2, 16, 32, 1], None), 0);
    // Every number of tokens ran the same code.
    assert_eq!(case.kernel.classes().len(), 1);
}

#[test]
fn weights_packed_on_every_call() {
    let case = Case::new(&Options::new());
    assert_eq!(case.allocations(Argument::from(&case.quant), &[1, 16], None), 0);
}

#[test]
fn tokens_that_are_not_dense() {
    let case = Case::new(&Options::new());
    assert_eq!(case.allocations(Argument::from(&case.weight), &[3, 16], Some([2 * K, 1])), 0);
}

#[test]
fn several_threads() {
    let case = Case::new(&Options::new().threads(2));
    assert_eq!(case.allocations(Argument::from(&case.weight), &[1, 32], None), 0);
}
