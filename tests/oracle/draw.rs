//! Inputs from seeds, the same on every machine: what is drawn for each element type, and the
//! awkward values a numeric program must survive.

use msd::ir::dim::{Dim, Sizes};
use msd::ir::dtype::DType;
use msd::ir::graph::Kernel;
use msd::ir::input::Input;
use msd::ir::tensor::Tensor;
use msd::ir::types::{TensorType, Type};

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) struct Draw(u64);

/// How wild the values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// Bell-shaped around zero, of moderate size; integers over their whole 8-bit range.
    Ordinary,
    /// The same, with one in eight a signed zero, subnormal, huge number, infinity or NaN.
    Special,
}

const SPECIAL: &[f32] = &[
    0.0,
    -0.0,
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    1e-45,
    -1e-45,
    1e-39,
    3.3e38,
    -2e38,
    65504.0,
    65520.0,
    448.0,
    1.0,
    -1.0,
    0.5,
    2.5,
    16777217.0,
    2147483648.0,
    -2147483904.0,
];

impl Draw {
    pub(crate) fn new(seed: u64) -> Draw {
        Draw(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x6A09_E667_F3BC_C908)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `n`, which is not 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((self.bits() as u128 * n as u128) >> 64) as usize
    }

    /// One of `list`.
    pub(crate) fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    /// Uniform over [0, 1).
    fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A sum of four uniforms: bell-shaped, without anyone's libm.
    fn bell(&mut self) -> f32 {
        (((0..4).map(|_| self.unit()).sum::<f64>() - 2.0) * 1.7) as f32
    }

    fn float(&mut self, values: Values) -> f32 {
        if values == Values::Special && self.below(8) == 0 {
            return *self.pick(SPECIAL);
        }
        self.bell()
    }

    fn int(&mut self, dtype: DType, values: Values) -> i64 {
        let (low, high) = dtype.int_range().unwrap_or((0, 1));
        let (low, high) = if dtype.bits() > 8 && values == Values::Ordinary { (-9999, 9999) } else { (low, high) };
        match (values, self.below(8)) {
            (Values::Special, 0) => *self.pick(&[low, high, 0]),
            // Ties of bf16, and what lies just beside them.
            (Values::Special, 1 | 2) if dtype == DType::I32 => {
                let tie = ((1 << 8) + 2 * self.below(1 << 7) as i64 + 1) << self.below(22);
                tie + self.below(3) as i64 - 1
            }
            _ => low + self.below((high - low + 1) as usize) as i64,
        }
    }

    /// A tensor of any declarable type.
    pub(crate) fn tensor(&mut self, dtype: DType, shape: Vec<usize>, values: Values) -> Tensor {
        let n: usize = shape.iter().product();
        let tensor = if dtype.is_float() && dtype.bits() <= 8 && values == Values::Special {
            // Every code, NaN and infinity included.
            let codes = 1 << dtype.bits();
            let codes: Vec<i64> = (0..n).map(|_| self.below(codes) as i64).collect();
            Tensor::from_codes(dtype, shape, codes.into_iter())
        } else if dtype == DType::E8M0 {
            let codes: Vec<i64> = (0..n).map(|_| 120 + self.below(12) as i64).collect();
            Tensor::from_codes(dtype, shape, codes.into_iter())
        } else if dtype.is_float() {
            let floats: Vec<f32> = (0..n).map(|_| self.float(values)).collect();
            Tensor::from_f32(dtype, shape, &floats)
        } else {
            let ints: Vec<i64> = (0..n).map(|_| self.int(dtype, values)).collect();
            Tensor::from_codes(dtype, shape, ints.into_iter())
        };
        tensor.unwrap_or_else(|_| panic!("{} does not hold what was drawn for it", dtype.name()))
    }

    /// Codes of a weight: each as likely, but for those of floats that are no numbers, which are special.
    fn codes(&mut self, dtype: DType, shape: Vec<usize>, values: Values) -> Tensor {
        let Some(format) = dtype.minifloat().filter(|_| values == Values::Ordinary) else {
            return self.tensor(dtype, shape, values);
        };
        let finite: Vec<i64> = (0..1i64 << dtype.bits()).filter(|c| format.decode(*c as u8).is_finite()).collect();
        let codes: Vec<i64> = (0..shape.iter().product()).map(|_| *self.pick(&finite)).collect();
        Tensor::from_codes(dtype, shape, codes.into_iter()).unwrap_or_else(|_| panic!("codes of {}", dtype.name()))
    }

    /// A scale: finite. Special ones may be tiny, large, zero or negative.
    fn scale(&mut self, dtype: DType, shape: Vec<usize>, values: Values) -> Tensor {
        if dtype == DType::E8M0 {
            let n: usize = shape.iter().product();
            let (least, count) = if values == Values::Special { (0, 255) } else { (120, 12) };
            let codes: Vec<i64> = (0..n).map(|_| (least + self.below(count)) as i64).collect();
            return Tensor::from_codes(dtype, shape, codes.into_iter()).unwrap_or_else(|_| panic!("codes of e8m0"));
        }
        let n: usize = shape.iter().product();
        let awkward = [0.0, 1e-40, 1e30, -0.125, 1.5, 6e-8, 1.0];
        let floats: Vec<f32> = (0..n)
            .map(|_| match (values, self.below(6)) {
                (Values::Special, 0) => *self.pick(&awkward),
                _ => (0.5 + self.unit() as f32) / 64.0,
            })
            .collect();
        // Too large for f16 would be infinite, which binding refuses.
        let most = if dtype == DType::F16 { 65504.0 } else { f32::MAX };
        let floats: Vec<f32> = floats.iter().map(|x| x.min(most)).collect();
        Tensor::from_f32(dtype, shape, &floats).unwrap_or_else(|_| panic!("scales of {}", dtype.name()))
    }

    /// A zero point: finite.
    fn zero(&mut self, dtype: DType, shape: Vec<usize>, values: Values) -> Tensor {
        self.tensor(dtype, shape, if dtype.is_float() { Values::Ordinary } else { values })
    }

    /// One input for each parameter of `kernel`.
    pub(crate) fn inputs(&mut self, kernel: &Kernel, sizes: &Sizes, values: Values) -> Vec<Input> {
        let mut inputs = Vec::new();
        for param in &kernel.params {
            inputs.push(match &param.ty {
                Type::Tensor(t) => self.tensor(t.dtype, shape(t, sizes), values).into(),
                Type::Quant(q) => Input {
                    tensor: self.codes(q.codes.dtype, shape(&q.codes, sizes), values),
                    scale: Some(self.scale(q.scale.ty.dtype, shape(&q.scale.ty, sizes), values)),
                    zero: q.zero.as_ref().map(|z| self.zero(z.ty.dtype, shape(&z.ty, sizes), values)),
                },
            });
        }
        inputs
    }
}

fn shape(ty: &TensorType, sizes: &Sizes) -> Vec<usize> {
    let size = |d: &Dim| d.eval(sizes).unwrap_or_else(|e| panic!("`{ty}`: {e}")) as usize;
    ty.shape.iter().map(size).collect()
}
