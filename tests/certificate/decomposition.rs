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

/// Squared L2 errors of greedy and of powers of two, for rows of 4096 BF16 values.
fn gains(count: usize, one: fn(&mut Draw) -> f32) -> Vec<(f64, f64)> {
    let mut draw = Draw::new(4);
    let both = |_| {
        let row = bf16(4096, &mut draw, one).to_f32();
        (split_error(Scheme::Int8x2Greedy, &row).powi(2), split_error(Scheme::Int8x2Pow2, &row).powi(2))
    };
    (0..count).map(both).collect()
}

/// In the median, and for most rows; a row whose largest magnitude has just doubled the power-of-two
/// unit gains less. Most rows of uniform values have the same largest.
#[test]
fn powers_of_two_beat_greedy() {
    // Share of the rows that gain fourfold.
    for (one, least) in [(gaussian as fn(&mut Draw) -> f32, 0.7), (uniform, 0.98)] {
        let errors = gains(401, one);
        let mut gains: Vec<f64> = errors.iter().map(|(greedy, pow2)| (greedy / pow2).sqrt()).collect();
        gains.sort_by(f64::total_cmp);
        let share = gains.iter().filter(|g| **g >= 4.0).count() as f64 / gains.len() as f64;
        let (greedy, pow2) = errors.iter().fold((0.0, 0.0), |(g, p), e| (g + e.0, p + e.1));
        let pooled = (greedy / pow2).sqrt();
        let seen =
            format!("median {}, least {}, most {}, pooled {pooled}, share {share}", gains[200], gains[0], gains[400]);
        println!("{seen}");
        assert!(gains[200] >= 4.0 && share >= least, "{seen}");
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
