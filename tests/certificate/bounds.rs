//! No result is further from the exact product than certified, whatever rows and weights; and some
//! are nearly as far, so that the bounds are no idle ones.

use msd::ir::certificate::Measure;
use msd::ir::dim::Sizes;
use msd::ir::dtype::DType;
use msd::ir::eval::evaluate_f64;
use msd::ir::graph::{Kernel, Lowering};
use msd::ir::input::Input;
use msd::ir::plan::Request;
use msd::ir::quant::scheme::Scheme;
use msd::ir::tensor::Tensor;
use msd::ir::types::Type;

use super::adversary::{Channel, Codes, ROWS, Row, errors};
use super::draw::Draw;
use super::{for_seeds, kernels, named, rewritten};

/// Forms of the weight; `G` is a group of 16.
const FORMS: &[&str] = &[
    "i8[N, K] scale f32[1]",
    "i8[N, K] scale f32[N]",
    "i4[N, K] scale bf16[N]",
    "i8[N, K] scale f32[K]",
    "i8[N, K] scale f32[N, K/16]",
    "i8[N, K] scale f32[N/4, K/16]",
    "u8[N, K] scale f32[N] zero u8[N]",
    "u8[N, K] scale f32[N] zero f32[N]",
    "u8[N, K] scale f32[1] zero i32[1]",
    "i8[N, K] scale f32[N] zero i8[K]",
    "u4[N, K] scale f16[N, K/16] zero u4[N, K/16]",
    "u4[N, K] scale f32[N, K/16] zero f16[N, K/32]",
    "u4[N, K] scale f32[K] zero u4[N, K/16]",
    "i8[N, K] scale f32[N, K/32]",
    "u8[N, K] scale f32[N, K/32] zero u8[N, K/32]",
    "i8[N, K] scale e8m0[N, K/32]",
    "mxfp4[N, K]",
    "e1m2[N, K] scale e8m0[N, K/32]",
    "e1m2[N, K] scale e8m0[N]",
    "e2m1[N, K] scale e4m3[N, K/16]",
    "e2m1[N, K] scale f32[K]",
    "mxfp8[N, K]",
    "e4m3[N, K] scale f32[N]",
    "e4m3[N, K] scale f32[K]",
    "e5m2[N, K] scale f32[N/4, K/32]",
];

struct Case {
    kernel: Kernel,
    sizes: Sizes,
    scheme: Scheme,
    lowering: Lowering,
    block: Option<u64>,
    /// Whether the scale goes into the activations.
    absorbs: bool,
    rows: Vec<Row>,
    channels: Vec<Channel>,
    x: Vec<Vec<f32>>,
    inputs: Vec<Input>,
}

/// Elements of the contraction.
const K: usize = 64;

impl Case {
    fn new(form: &str, scheme: Scheme, lowering: Lowering, dtype: DType, block: Option<u64>, draw: &mut Draw) -> Case {
        Case::of_size(form, scheme, lowering, dtype, block, K, draw)
    }

    fn of_size(
        form: &str,
        scheme: Scheme,
        lowering: Lowering,
        dtype: DType,
        block: Option<u64>,
        k: usize,
        draw: &mut Draw,
    ) -> Case {
        // Never negative, as far as a planner can see, and exact: what an unsigned scheme needs.
        let x = if scheme.is_unsigned() { "max(X, 0)" } else { "X" };
        let dtype_name = dtype.name();
        let text = format!("kernel f(W: {form}, X: {dtype_name}[M, K]) -> f32[M, N] {{ {x} @ dequant(W).T }}");
        let kernel = kernels(&text).remove(0);
        let mut channels: Vec<Channel> = (0..ROWS.len()).map(Channel::Against).collect();
        channels.extend([Channel::Greatest, Channel::Least, Channel::Nothing, Channel::Single, Channel::Any]);
        // Four channels share a block's scale.
        channels.resize(channels.len().next_multiple_of(4), Channel::Any);
        let rows = ROWS.to_vec();
        let sizes = named(&[("M", rows.len()), ("N", channels.len()), ("K", k)]);
        let x = rows.iter().map(|r| r.values(scheme, dtype, k, draw)).collect();
        let absorbs = lowering == Lowering::Msd && form.contains("scale f32[K]");
        let mut case = Case { kernel, sizes, scheme, lowering, block, absorbs, rows, channels, x, inputs: Vec::new() };
        case.inputs = case.inputs(dtype, draw);
        case
    }

    fn inputs(&self, dtype: DType, draw: &mut Draw) -> Vec<Input> {
        let mut drawn = draw.inputs(&self.kernel, &self.sizes, super::draw::Values::Ordinary);
        let Type::Quant(ty) = &self.kernel.params[0].ty else { panic!("W is stored") };
        let shape = [self.channels.len(), self.x[0].len()];
        // Scales of any size that leaves products within F32.
        let power = *draw.pick(&[1.0f32, 1.0, 2f32.powi(-20), 2f32.powi(6)]);
        let scale = drawn[0].scale.take().unwrap();
        // Scales that differ move activations off the places where they are furthest from digits.
        let is_even = self.absorbs && dtype == DType::F32 && self.block.is_none();
        let scaled: Vec<f32> = scale.to_f32().iter().map(|s| if is_even { power } else { s * power }).collect();
        let scale = Tensor::from_f32(scale.dtype(), scale.shape().to_vec(), &scaled).unwrap();
        // A zero point far from every code leaves weights no choice of sign.
        if let Some(zero) = drawn[0].zero.as_mut().filter(|z| z.dtype() == DType::I32 && self.block.is_none()) {
            *zero = Tensor::from_codes(DType::I32, zero.shape().to_vec(), [100].into_iter()).unwrap();
        }
        let zeros = drawn[0].zero.as_ref().map(|z| spread(ty.zero.as_ref().unwrap(), z, &shape));
        let scales = spread(&ty.scale, &scale, &shape);
        let range = Codes::of(ty.codes.dtype);
        let mut codes = Vec::new();
        for (j, channel) in self.channels.iter().enumerate() {
            let off = match channel {
                Channel::Against(row) => self.errors(&self.x[*row], &scales[j * shape[1]..][..shape[1]]),
                _ => vec![0.0; shape[1]],
            };
            for (k, off) in off.iter().enumerate() {
                let zero = zeros.as_ref().map_or(0.0, |z| z[j * shape[1] + k]);
                codes.push(channel.code(&range, zero, *off, k, draw));
            }
        }
        let codes = Tensor::from_codes(ty.codes.dtype, shape.to_vec(), codes.into_iter()).unwrap();
        let x = Tensor::from_f32(dtype, vec![self.x.len(), shape[1]], &self.x.concat()).unwrap();
        vec![Input { tensor: codes, scale: Some(scale), zero: drawn[0].zero.take() }, x.into()]
    }

    /// What each element of a row is off by when it is multiplied.
    fn errors(&self, row: &[f32], scales: &[f64]) -> Vec<f64> {
        let row: Vec<f32> =
            row.iter().zip(scales).map(|(x, s)| if self.absorbs { x * *s as f32 } else { *x }).collect();
        errors(self.scheme, &row, self.block.map(|b| b as usize))
    }

    fn request(&self) -> Request {
        let (lowering, scheme) = (Some(self.lowering), Some(self.scheme));
        Request { lowering, scheme, block: self.block, ..Request::default() }
    }

    /// The largest part of its bound that any output is off by, and the part that digits have in it;
    /// no such part if digits are those of another scheme.
    fn worst(&self) -> Result<(f64, Option<f64>), String> {
        let rewritten = rewritten(&self.kernel, &self.sizes, &self.request()).ok_or("no plan")?;
        let site = &rewritten.plan.sites[0];
        let certificate = site.certificate.as_ref().ok_or("no certificate")?;
        let share = (site.choice.scheme == self.scheme).then(|| self.scheme.bound() / certificate.bound);
        if (certificate.measure == Measure::Absorbed) != self.absorbs {
            return Err(format!("relative to {:?}", certificate.measure));
        }
        let y = rewritten.evaluate(&self.inputs).map_err(|d| format!("{d:?}"))?.remove(0);
        let exact = rewritten.evaluate_f64(&self.inputs).map_err(|d| format!("{d:?}"))?.remove(0);
        let (w, s) = self.weight();
        let (n, k) = (self.channels.len(), self.x[0].len());
        let mut worst: f64 = 0.0;
        for (i, (row, x)) in self.rows.iter().zip(&self.x).enumerate() {
            // Multiply-adds of products below F32's normal numbers are no part of the promise.
            if row.is_tiny() && (self.absorbs || self.lowering == Lowering::Dequant) {
                continue;
            }
            for j in 0..n {
                let factor = |l: usize| if self.absorbs { s[j * k + l] } else { 1.0 };
                let largest = (0..k).map(|l| (x[l] as f64 * factor(l)).abs()).fold(0.0, f64::max);
                let sum: f64 = (0..k).map(|l| (w[j * k + l] / factor(l)).abs()).sum();
                let (error, limit) = ((y.value(i * n + j) - exact[i * n + j]).abs(), certificate.bound * largest * sum);
                if error > limit * (1.0 + 1e-9) + 2f64.powi(-149) {
                    let (channel, at) = (self.channels[j], exact[i * n + j]);
                    return Err(format!("{row:?} by {channel:?}: {at:e} is off by {error:e}, certified is {limit:e}"));
                }
                worst = if limit > 1e-40 { worst.max(error / limit) } else { worst };
            }
        }
        Ok((worst, share))
    }

    /// Each weight and its scale.
    fn weight(&self) -> (Vec<f64>, Vec<f64>) {
        let Type::Quant(ty) = &self.kernel.params[0].ty else { panic!("W is stored") };
        let text = format!("kernel w(W: {}) -> f32[N, K] {{ dequant(W) }}", self.kernel.params[0].ty);
        let w = evaluate_f64(&kernels(&text)[0], &Sizes::new(), &self.inputs[..1]).unwrap().remove(0);
        let scale = self.inputs[0].scale.as_ref().unwrap();
        (w, spread(&ty.scale, scale, self.inputs[0].tensor.shape()))
    }

    fn described(&self) -> String {
        format!("{}\n{:?} {:?}", self.kernel, self.sizes, self.request())
    }
}

/// The value of a part for each code.
fn spread(part: &msd::ir::types::Part, tensor: &Tensor, shape: &[usize]) -> Vec<f64> {
    let mut values = vec![0.0; shape.iter().product()];
    for (codes, at) in part.runs(shape, tensor.shape()) {
        values[codes].fill(tensor.value(at));
    }
    values
}

/// Schemes whose error the digits make, nearly alone.
fn is_coarse(scheme: Scheme) -> bool {
    scheme.bound() > 1e-6
}

#[test]
fn hold_for_every_scheme_and_form() {
    for form in FORMS {
        // What is drawn for one scheme is not moved by what is drawn for others.
        for (seed, scheme) in Scheme::ALL.iter().enumerate() {
            let mut draw = Draw::new(seed as u64);
            let (mut worst, mut fits) = (0.0, false);
            for (dtype, block) in
                [(DType::F32, None), (DType::F32, Some(16)), (DType::BF16, None), (DType::F16, Some(8))]
            {
                let case = Case::new(form, *scheme, Lowering::Msd, dtype, block, &mut draw);
                let (found, share) = case.worst().unwrap_or_else(|e| panic!("{e}\n{}", case.described()));
                fits |= share.is_some();
                worst = share.map_or(worst, |share| f64::max(worst, found / share));
            }
            // Rows and weights that go against each other come close to what is certified, but for what
            // roundings of products have in it, which never all go the same way.
            let least = if !is_coarse(*scheme) { 0.1 } else { 0.9 };
            assert!(!fits || worst > least, "{form} with {}: no worse than {worst} of the bound", scheme.name());
        }
    }
}

#[test]
fn hold_for_dequantization() {
    let mut draw = Draw::new(2);
    for form in FORMS.iter().chain(&["i8[N, K] scale f32[N, K]", "e4m3[N, K] scale f32[N]"][..1]) {
        let case = Case::new(form, Scheme::Int8x1, Lowering::Dequant, DType::F32, None, &mut draw);
        case.worst().unwrap_or_else(|e| panic!("{e}\n{}", case.described()));
    }
}

#[test]
fn hold_for_anything() {
    for_seeds(120, |draw| {
        let (form, scheme) = (*draw.pick(FORMS), *draw.pick(Scheme::ALL));
        let dtype = *draw.pick(&[DType::F32, DType::BF16, DType::F16]);
        let lowering = *draw.pick(&[Lowering::Msd, Lowering::Msd, Lowering::Msd, Lowering::Dequant]);
        let block = *draw.pick(&[None, None, Some(4), Some(16)]);
        let has_groups = form.contains("K/") || form.starts_with("mx");
        let k = if !has_groups && draw.below(3) == 0 { 1 } else { K };
        let case = Case::of_size(form, scheme, lowering, dtype, block.filter(|_| k > 1), k, draw);
        case.worst().map(|_| ()).map_err(|e| format!("{e}\n{}", case.described()))
    });
}
