//! Conversions to small floats in compiled code, for every BF16, every F16 and every tie, against
//! the evaluator's, which msd-ir checks against another crate.

use msd::Source;
use msd::ir::dim::Sizes;
use msd::ir::dtype::{DType, bf16_to_f32, e8m0_value, f16_to_f32};
use msd::ir::input::Input;
use msd::ir::tensor::Tensor;

use super::oracle::Oracle;

const KERNELS: &str = "
kernel to(x: f32[N]) -> (e4m3[N], e5m2[N], e2m1[N], e1m2[N], e8m0[N]) { (x, x, x, x, x) }
kernel from(a: e4m3[N], b: e5m2[N], c: e2m1[N], d: e1m2[N], e: e8m0[N]) -> (f32[N], f32[N], f32[N], f32[N], f32[N]) {
    (a, b, c, d, e)
}";

/// Every BF16, every F16, and of each format the values and the midpoints between neighbours, each
/// with its own neighbours in F32.
fn values() -> Vec<f32> {
    let floats = [DType::E4M3, DType::E5M2, DType::E2M1, DType::E1M2].map(|d| d.minifloat().unwrap());
    let magnitudes = floats.iter().map(|f| (0..=f.largest_code()).map(|code| f.decode(code)).collect());
    let formats: Vec<Vec<f32>> = magnitudes.chain([(0..=254).map(e8m0_value).collect()]).collect();
    let midpoints = |m: &Vec<f32>| m.windows(2).map(|p| ((p[0] as f64 + p[1] as f64) / 2.0) as f32).collect();
    let between: Vec<Vec<f32>> = formats.iter().map(midpoints).collect();
    let near = formats.into_iter().chain(between).flatten();
    let near = near.flat_map(|v| [v.next_down(), v, v.next_up()]).flat_map(|v| [v, -v]);
    (0..=u16::MAX).flat_map(|bits| [bf16_to_f32(bits), f16_to_f32(bits)]).chain(near).collect()
}

#[test]
fn conversions() {
    let checked = Source::new("conversions.msd", KERNELS).check().unwrap();
    let codes = |dtype: DType| {
        let most = dtype.code_range().unwrap().1;
        Input::from(Tensor::from_codes(dtype, vec![256], (0..256).map(|c| c & most)).unwrap())
    };
    let from = [DType::E4M3, DType::E5M2, DType::E2M1, DType::E1M2, DType::E8M0].map(codes).to_vec();
    let oracle = Oracle::new(&[1, 2]);
    for (kernel, inputs) in checked.kernels().iter().zip([vec![Input::from(Tensor::from(values()))], from]) {
        oracle.check(kernel, &Sizes::new(), &[inputs]).unwrap_or_else(|e| panic!("{e}"));
    }
}
