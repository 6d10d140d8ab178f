//! How much of rows as they occur the schemes keep.

use msd::ir::dtype::DType;
use msd::ir::graph::Lowering;
use msd::ir::input::Input;
use msd::ir::plan::Request;
use msd::ir::quant::scheme::Scheme;
use msd::ir::tensor::Tensor;

use super::adversary::errors;
use super::draw::{Draw, Values};
use super::{kernels, named, rewritten};

/// Uniform over (0, 1).
fn unit(draw: &mut Draw) -> f64 {
    ((draw.bits() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

/// Box and Muller, 1958.
fn gaussian(draw: &mut Draw) -> f32 {
    let (radius, turn) = ((-2.0 * unit(draw).ln()).sqrt(), std::f64::consts::TAU * unit(draw));
    (radius * turn.cos()) as f32
}

fn uniform(draw: &mut Draw) -> f32 {
    (2.0 * unit(draw) - 1.0) as f32
}

fn bf16(count: usize, draw: &mut Draw, one: fn(&mut Draw) -> f32) -> Tensor {
    let values: Vec<f32> = (0..count).map(|_| one(draw)).collect();
    Tensor::from_f32(DType::BF16, vec![count], &values).unwrap()
}

/// Relative L2 error of splitting a row.
fn split_error(scheme: Scheme, row: &[f32]) -> f64 {
    let error: f64 = errors(scheme, row, None).iter().map(|e| e * e).sum();
    (error / row.iter().map(|x| (*x as f64).powi(2)).sum::<f64>()).sqrt()
}

/// Of rows of 4096 BF16 values, in the median. (A row whose largest magnitude has just doubled the
/// power-of-two unit gains less, one of the other end more.)
#[test]
fn powers_of_two_beat_greedy() {
    for one in [gaussian, uniform] {
        let mut draw = Draw::new(4);
        let gain = |_| {
            let row = bf16(4096, &mut draw, one).to_f32();
            split_error(Scheme::Int8x2Greedy, &row) / split_error(Scheme::Int8x2Pow2, &row)
        };
        let mut gains: Vec<f64> = (0..101).map(gain).collect();
        gains.sort_by(f64::total_cmp);
        assert!(gains[50] >= 4.0, "{gains:?}");
    }
}

#[test]
fn three_digits_are_nearly_lossless() {
    let text = "kernel f(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let kernel = kernels(text).remove(0);
    let sizes = named(&[("M", 16), ("N", 64), ("K", 1024)]);
    let request = Request { lowering: Some(Lowering::Msd), scheme: Some(Scheme::Int8x3Pow2), ..Request::default() };
    for one in [gaussian, uniform] {
        let mut draw = Draw::new(5);
        let mut inputs = draw.inputs(&kernel, &sizes, Values::Ordinary);
        inputs[1] = Input::from(bf16(16 * 1024, &mut draw, one).reshaped(vec![16, 1024]).unwrap());
        let rewritten = rewritten(&kernel, &sizes, &request).unwrap();
        let y = rewritten.evaluate(&inputs).unwrap().remove(0).to_f32();
        let exact = rewritten.evaluate_f64(&inputs).unwrap().remove(0);
        let error: f64 = y.iter().zip(&exact).map(|(y, e)| (*y as f64 - e).powi(2)).sum();
        let size: f64 = exact.iter().map(|e| e * e).sum();
        let relative = (error / size).sqrt();
        assert!(relative <= 1e-7, "{relative:e}");
    }
}
