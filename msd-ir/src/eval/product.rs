//! Matrix products over the last two axes, and the splitting and merging of digits around them.

use super::array::{Array, Elements, Kind, Precision};
use super::movement::broadcast;
use crate::dtype::DType;
use crate::quant::decompose::decompose_row;
use crate::quant::scheme::Scheme;

/// Where the matrices of a product stand: for each result matrix the offsets of its operands.
struct Layout {
    offsets: Vec<(usize, usize)>,
    m: usize,
    k: usize,
    n: usize,
}

impl Layout {
    fn new(a: &Array, b: &Array, shape: &[usize]) -> Layout {
        let (a_outer, m, k) = a.matrices();
        let (b_outer, _, n) = b.matrices();
        if m == 0 || n == 0 {
            // Nothing to compute, however many matrices there are.
            return Layout { offsets: Vec::new(), m, k, n };
        }
        let outer = &shape[..shape.len().saturating_sub(2)];
        // Offsets of an operand's matrices, broadcast as its elements would be.
        let offsets = |matrices: &[usize], size: usize| {
            let count = matrices.iter().product::<usize>();
            let starts = Elements::Integer((0..count).map(|i| (i * size) as i64).collect());
            let starts = Array::new(matrices.to_vec(), starts);
            let broadcast = broadcast(&starts, outer);
            broadcast.integer().iter().map(|i| *i as usize).collect::<Vec<_>>()
        };
        let offsets = offsets(a_outer, m * k).into_iter().zip(offsets(b_outer, k * n)).collect();
        Layout { offsets, m, k, n }
    }

    /// `sum_k a[m,k] * b[k,n]`, k ascending from zero, each step one `multiply_add(a, b, sum)`.
    fn product<T: Copy + Default>(&self, a: &[T], b: &[T], multiply_add: impl Fn(T, T, T) -> T) -> Vec<T> {
        let mut result = vec![T::default(); self.offsets.len() * self.m * self.n];
        let mut rows = result.chunks_mut(self.n.max(1));
        for (a_start, b_start) in &self.offsets {
            for (i, sums) in rows.by_ref().take(self.m).enumerate() {
                let a_row = &a[a_start + i * self.k..][..self.k];
                for (k, x) in a_row.iter().enumerate() {
                    let b_row = &b[b_start + k * self.n..][..self.n];
                    for (sum, y) in sums.iter_mut().zip(b_row) {
                        *sum = multiply_add(*x, *y, *sum);
                    }
                }
            }
        }
        result
    }
}

/// `a @ b` of floats or integers.
pub(super) fn matmul(a: &Array, b: &Array, shape: &[usize], kind: Kind, precision: Precision) -> Elements {
    let layout = Layout::new(a, b, shape);
    let (a, b) = (&a.elements, &b.elements);
    match (kind, precision) {
        (Kind::Single, _) => Elements::Single(layout.product(&a.single(), &b.single(), f32::mul_add)),
        (Kind::Double, Precision::Declared) => Elements::Double(layout.product(&a.double(), &b.double(), f64::mul_add)),
        // Not fused: as good a yardstick, and fast.
        (Kind::Double, Precision::Double) => {
            Elements::Double(layout.product(&a.double(), &b.double(), |a, b, sum| a * b + sum))
        }
        (Kind::Integer, _) => {
            let step = |a: i64, b: i64, sum: i64| sum.wrapping_add(a.wrapping_mul(b));
            Elements::Integer(layout.product(&a.integer(), &b.integer(), step))
        }
    }
}

/// The longest run of products of two 8-bit integers that an I32 holds is over 2^15.
const EXACT_IN_I32: usize = 1 << 14;

/// `a @ b` of integers of at most 8 bits, exact.
pub(super) fn dot(a: &Array, b: &Array, shape: &[usize]) -> Elements {
    let layout = Layout::new(a, b, shape);
    let (m, k, n) = (layout.m, layout.k, layout.n);
    let a: Vec<i16> = a.elements.integer().iter().map(|x| *x as i16).collect();
    let b: Vec<i16> = b.elements.integer().iter().map(|x| *x as i16).collect();
    let mut result = Vec::with_capacity(layout.offsets.len() * m * n);
    let mut columns: (Option<usize>, Vec<i16>) = (None, Vec::new());
    for (a_start, b_start) in layout.offsets {
        if columns.0 != Some(b_start) {
            columns = (Some(b_start), transposed(&b[b_start..b_start + k * n], n));
        }
        for i in 0..m {
            let row = &a[a_start + i * k..][..k];
            result.extend((0..n).map(|j| exact_dot(row, &columns.1[j * k..][..k])));
        }
    }
    Elements::Integer(result)
}

/// A row-major matrix of `columns` columns, column by column.
fn transposed(matrix: &[i16], columns: usize) -> Vec<i16> {
    (0..columns).flat_map(|j| matrix.iter().skip(j).step_by(columns).copied()).collect()
}

fn exact_dot(a: &[i16], b: &[i16]) -> i64 {
    let runs = a.chunks(EXACT_IN_I32).zip(b.chunks(EXACT_IN_I32));
    runs.map(|(a, b)| a.iter().zip(b).map(|(x, y)| *x as i32 * *y as i32).sum::<i32>() as i64).sum()
}

/// Digits `[.., D*M, K]`, digit d of row m in row `d*M + m`, and scales `[.., M, 1]`.
pub(super) fn decompose(x: &Array, scheme: Scheme) -> (Elements, Elements) {
    let (outer, m, k) = x.matrices();
    let matrices = outer.iter().product::<usize>();
    let count = scheme.weights().len();
    let values = x.elements.single();
    let mut digits = vec![0i64; count * values.len()];
    let mut scales = Vec::with_capacity(matrices * m);
    for row in 0..matrices * m {
        let split = decompose_row(scheme, &values[row * k..][..k]);
        scales.push(split.scale);
        let (matrix, i) = (row / m, row % m);
        for (d, digit) in split.digits.iter().enumerate() {
            let place = ((matrix * count + d) * m + i) * k;
            for (to, from) in digits[place..place + k].iter_mut().zip(digit) {
                *to = *from as i64;
            }
        }
    }
    (Elements::Integer(digits), Elements::Double(scales))
}

/// `sum_d weight_d * p[d*M + m, n]`, the exact integer, rounded once to F32. A sum beyond I64,
/// which no product of digits and codes reaches, wraps.
pub(super) fn combine(p: &Array, scheme: Scheme, precision: Precision) -> Elements {
    let (_, stacked, n) = p.matrices();
    let weights = scheme.weights();
    let block = stacked / weights.len() * n;
    let values = p.elements.integer();
    let mut sums = Vec::with_capacity(values.len() / weights.len());
    for matrix in values.chunks_exact((block * weights.len()).max(1)) {
        sums.extend((0..block).map(|i| {
            let terms = weights.iter().enumerate().map(|(d, w)| w.wrapping_mul(matrix[d * block + i]));
            terms.fold(0i64, i64::wrapping_add)
        }));
    }
    Elements::Integer(sums).into_kind(precision.kind(DType::F32))
}
