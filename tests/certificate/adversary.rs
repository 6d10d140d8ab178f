//! Rows of activations and weights made to be as far off as a scheme allows.

use msd::ir::dtype::DType;
use msd::ir::quant::decompose::decompose_row;
use msd::ir::quant::scheme::{Family, Scheme};
use msd::ir::tensor::Tensor;

use super::draw::Draw;

/// Kinds of rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Row {
    /// All but the largest between two digits, where each is off by half a unit.
    Halves,
    /// The same with the largest just above where a power-of-two unit doubles.
    HalvesAboveSwitch,
    /// The same with the largest where it has not doubled yet.
    HalvesAtSwitch,
    /// Several elements of the largest magnitude, of both signs.
    Ties,
    /// One element so many powers of ten above the rest.
    Outlier(i32),
    Equal,
    Alternating,
    /// Pairs that cancel but for a little.
    Cancelling,
    WithZeros,
    Subnormal,
    LeastSubnormal,
    Zeros,
    Bell,
}

pub(crate) const ROWS: &[Row] = &[
    Row::Halves,
    Row::HalvesAboveSwitch,
    Row::HalvesAtSwitch,
    Row::Ties,
    Row::Outlier(3),
    Row::Outlier(30),
    Row::Equal,
    Row::Alternating,
    Row::Cancelling,
    Row::WithZeros,
    Row::Subnormal,
    Row::LeastSubnormal,
    Row::Zeros,
    Row::Bell,
];

impl Row {
    /// `k` values of `dtype`, rounded to it.
    pub(crate) fn values(self, scheme: Scheme, dtype: DType, k: usize, draw: &mut Draw) -> Vec<f32> {
        let bell: Vec<f32> = draw.tensor(DType::F32, vec![k], super::draw::Values::Ordinary).to_f32();
        let sign = |i: usize| if i.is_multiple_of(2) { 1.0 } else { -1.0 };
        let (mut largest, switch) = (1.0 + bell.first().map_or(0.0, |x| x.abs().min(0.9)), switch(scheme));
        if matches!(scheme.family(), Family::Minifloat { .. }) {
            largest = frailest(scheme);
        }
        let least = match dtype {
            DType::F16 => 2f32.powi(-24),
            DType::BF16 => 2f32.powi(-133),
            _ => f32::from_bits(1),
        };
        let values: Vec<f32> = match self {
            Row::Halves => halves(scheme, largest, k, draw),
            Row::HalvesAboveSwitch => halves(scheme, switch.next_up(), k, draw),
            Row::HalvesAtSwitch => halves(scheme, switch, k, draw),
            Row::Ties => {
                bell.iter().enumerate().map(|(i, x)| if i % 3 == 0 { 2.0 * sign(i) } else { x * 0.5 }).collect()
            }
            Row::Outlier(power) => {
                let rest = if dtype == DType::F16 { 1e-4 } else { 1e-3 };
                let one = if dtype == DType::F16 { 6e4 } else { rest * 10f32.powi(power) };
                bell.iter().enumerate().map(|(i, x)| if i == k / 2 { one } else { x * rest }).collect()
            }
            Row::Equal => vec![largest; k],
            Row::Alternating => (0..k).map(|i| largest * sign(i)).collect(),
            Row::Cancelling => (0..k).map(|i| sign(i) * (bell[i / 2] + i as f32 * 1e-6)).collect(),
            Row::WithZeros => bell.iter().enumerate().map(|(i, x)| if i % 4 == 1 { *x } else { 0.0 }).collect(),
            Row::Subnormal => bell.iter().map(|x| (x * 40.0).round() * least).collect(),
            Row::LeastSubnormal => (0..k).map(|i| sign(i) * least * (i % 2) as f32).collect(),
            Row::Zeros => vec![0.0; k],
            Row::Bell => bell,
        };
        let values = if scheme.is_unsigned() { values.iter().map(|x| x.abs()).collect() } else { values };
        Tensor::from_f32(dtype, vec![k], &values).unwrap().to_f32()
    }

    /// Whether its products may be too small for F32 to hold in full.
    pub(crate) fn is_tiny(self) -> bool {
        matches!(self, Row::Subnormal | Row::LeastSubnormal)
    }
}

/// The largest magnitude of a row just before a power-of-two unit doubles.
fn switch(scheme: Scheme) -> f32 {
    match scheme.family() {
        Family::Pow2 { largest } => largest as f32 / 2f32.powi(largest.ilog2() as i32),
        Family::Minifloat { limit_128ths, .. } => limit_128ths as f32 / 256.0,
        _ => 1.5,
    }
}

/// The largest magnitude over which an element of digits that are floats can be off by most.
fn frailest(scheme: Scheme) -> f32 {
    match scheme {
        // Where a digit is first off by half of 1, or of 32; and by so much that of 16, half is lost.
        Scheme::Mxfp4x2E2m1 => 2.3125,
        Scheme::Fp8x1 | Scheme::Mxfp8x1 => 272.0,
        Scheme::Fp8x2 => 264.5,
        _ => switch(scheme).next_up(),
    }
}

/// Elements that digits are nearly as far from as can be, under the largest magnitude of a block.
fn furthest(scheme: Scheme, largest: f32) -> Vec<f32> {
    let row: Vec<f32> = (0..=8192).map(|i| (largest as f64 * i as f64 / 8192.0) as f32).collect();
    let errors: Vec<f64> = errors_of_group(scheme, &row).into_iter().map(f64::abs).collect();
    let worst = errors.iter().fold(0.0, |a: f64, b| a.max(*b));
    row.iter().zip(&errors).filter(|(_, e)| **e > 0.98 * worst).map(|(x, _)| *x).collect()
}

/// Each element half a unit of the last digit from what digits can say, but one that is the largest.
fn halves(scheme: Scheme, largest: f32, k: usize, draw: &mut Draw) -> Vec<f32> {
    let sign = |draw: &mut Draw| if draw.below(2) == 0 { 1.0 } else { -1.0 };
    if matches!(scheme.family(), Family::Minifloat { .. }) {
        let far = furthest(scheme, largest);
        // One of each block.
        let element = |i: usize| if i.is_multiple_of(32) { largest } else { *draw.pick(&far) * sign(draw) };
        return (0..k).map(element).collect();
    }
    let unit = decompose_row(scheme, &[largest]).scale;
    let weights: Vec<f64> = scheme.weights().iter().map(|w| *w as f64).collect();
    let (first, last) = (weights[0], weights[weights.len() - 1]);
    let most = (largest as f64 / unit / first) as usize;
    // The last digit goes nearly so far to either side; a single one is the leading one already.
    let reach = weights.iter().rev().nth(1).map_or(1, |above| (above / last / 2.0) as usize);
    let element = |i: usize| {
        let leading = draw.below(most) as f64 * first;
        let trailing = draw.below(2 * reach - 1) as f64 - (reach - 1) as f64 + 0.5;
        let half = leading + trailing * last;
        if i == 0 { largest } else { (half * unit) as f32 * sign(draw) }
    };
    (0..k).map(element).collect()
}

/// What digits make of each element of a row, in blocks if there are any.
pub(crate) fn errors(scheme: Scheme, row: &[f32], block: Option<usize>) -> Vec<f64> {
    let block = scheme.block().map(|size| size as usize).or(block);
    row.chunks(block.unwrap_or(row.len()).max(1)).flat_map(|part| errors_of_group(scheme, part)).collect()
}

fn errors_of_group(scheme: Scheme, part: &[f32]) -> Vec<f64> {
    let digits = decompose_row(scheme, part);
    let weights = scheme.weights().iter();
    let n = |k: usize| weights.clone().zip(&digits.digits).map(|(w, d)| *w as f64 * d[k] as f64).sum::<f64>();
    part.iter().enumerate().map(|(k, x)| digits.scale * n(k) - *x as f64).collect()
}

/// Codes of one channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Channel {
    /// The extreme code of the sign that makes each element's error add up: for the row of that
    /// number. An element that is not off gets a code of value 0.
    Against(usize),
    /// All the greatest, or all the least.
    Greatest,
    Least,
    /// All equal to the zero point.
    Nothing,
    /// Nothing but one element.
    Single,
    Any,
}

/// The codes of a type.
pub(crate) struct Codes {
    least: i64,
    greatest: i64,
    /// Those that are numbers.
    all: Vec<i64>,
    /// Whether the code of a number is that number.
    is_int: bool,
}

impl Codes {
    pub(crate) fn of(dtype: DType) -> Codes {
        if let Some(format) = dtype.minifloat() {
            let greatest = format.largest_code() as i64;
            let all = (0..1 << dtype.bits()).filter(|c| format.decode(*c as u8).is_finite()).collect();
            return Codes { least: greatest | 1 << (dtype.bits() - 1), greatest, all, is_int: false };
        }
        let (least, greatest) = dtype.int_range().unwrap();
        Codes { least, greatest, all: (least..=greatest).collect(), is_int: true }
    }
}

impl Channel {
    /// The code for an element, `zero` being its zero point and `error` what its digits are off by.
    pub(crate) fn code(self, codes: &Codes, zero: f64, error: f64, at: usize, draw: &mut Draw) -> i64 {
        let nothing = if codes.is_int { (zero.round() as i64).clamp(codes.least, codes.greatest) } else { 0 };
        match self {
            Channel::Against(_) if error == 0.0 => nothing,
            Channel::Against(_) if error > 0.0 => codes.greatest,
            Channel::Against(_) | Channel::Least => codes.least,
            Channel::Greatest => codes.greatest,
            Channel::Nothing => nothing,
            Channel::Single if at == 1 => codes.greatest,
            Channel::Single => nothing,
            Channel::Any => *draw.pick(&codes.all),
        }
    }
}
