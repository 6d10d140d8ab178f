//! Matrix products over the last two axes, and the splitting and merging of digits around them.

use super::array::{Array, Elements, Kind, Precision};
use super::movement::broadcast;
use crate::dtype::DType;
use crate::quant::decompose::{Digits, decompose_row};
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

/// The longest run of products of 16 and 8 bits that an I32 holds: 2^15 * 2^8 each.
const EXACT_IN_I32: usize = 1 << 7;

/// `a @ b` of integers of at most 16 and 8 bits, exact.
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
pub(super) fn decompose(x: &Array, scheme: Scheme, precision: Precision) -> (Elements, Elements) {
    let (_, m, k) = x.matrices();
    let values = x.elements.single();
    let splits = rows(&values, k, x.row_count()).map(|row| decompose_row(scheme, row)).collect::<Vec<_>>();
    let scales = splits.iter().map(|s| s.scale).collect();
    (stack(&splits, scheme, m, precision), Elements::Double(scales))
}

/// The rows of a matrix, also of one without columns.
fn rows(values: &[f32], columns: usize, count: usize) -> impl Iterator<Item = &[f32]> {
    (0..count).map(move |row| &values[row * columns..][..columns])
}

/// Digits of rows, of each `m` rows all first digits, then all second ones.
fn stack(splits: &[Digits], scheme: Scheme, m: usize, precision: Precision) -> Elements {
    let mut digits = Vec::new();
    for matrix in splits.chunks(m.max(1)) {
        for d in 0..scheme.weights().len() {
            digits.extend(matrix.iter().flat_map(|row| &row.digits[d]));
        }
    }
    Elements::Single(digits).into_kind(precision.kind(scheme.digit_dtype()))
}

/// Digits `[.., G, D*M, size]`, the unit of each block over that of its row `[.., G, M, 1]`, and
/// the unit of the row `[.., M, 1]`, which is that of its largest block. A row that is not finite
/// has digits 0 and a unit of NaN, so that it spoils its own results and no others.
pub(super) fn decompose_blocks(x: &Array, scheme: Scheme, size: usize, precision: Precision) -> Vec<Elements> {
    let (_, m, k) = x.matrices();
    let (values, blocks) = (x.elements.single(), k / size);
    let whole: Vec<f64> = rows(&values, k, x.row_count()).map(|row| decompose_row(scheme, row).scale).collect();
    let (mut splits, mut relative) = (Vec::new(), Vec::new());
    for matrix in 0..x.row_count() / m.max(1) {
        for block in 0..blocks {
            for row in matrix * m..(matrix + 1) * m {
                let part = &values[row * k + block * size..][..size];
                let is_idle = whole[row].is_nan() || part.iter().all(|x| *x == 0.0);
                let split = decompose_row(scheme, if whole[row].is_nan() { &[] } else { part });
                relative.push(if is_idle { 0.0 } else { (split.scale / whole[row]) as f32 });
                splits.push(if is_idle { decompose_row(scheme, &vec![0.0; size]) } else { split });
            }
        }
    }
    vec![stack(&splits, scheme, m, precision), precision.float(relative), Elements::Double(whole)]
}

/// `sum_d weight_d * p[d*M + m, n]`: exact. A sum beyond I64, which no product of digits and codes
/// reaches, wraps.
fn merged(p: &Array, scheme: Scheme) -> Vec<i64> {
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
    sums
}

/// The merged products, rounded once to F32: exact before that if they are integers, else summed in
/// F64.
pub(super) fn combine(p: &Array, scheme: Scheme, precision: Precision) -> Elements {
    let sums = match p.elements.kind() {
        Kind::Integer => Elements::Integer(merged(p, scheme)),
        Kind::Single | Kind::Double => Elements::Double(merged_floats(p, scheme)),
    };
    sums.into_kind(precision.kind(DType::F32))
}

/// `sum_d weight_d * p[d*M + m, n]` in F64, d ascending; the products are exact.
fn merged_floats(p: &Array, scheme: Scheme) -> Vec<f64> {
    let (_, stacked, n) = p.matrices();
    let weights = scheme.weights();
    let block = stacked / weights.len() * n;
    let values = p.elements.double();
    let term = |matrix: &[f64], d: usize, i: usize| weights[d] as f64 * matrix[d * block + i];
    let matrices = values.chunks_exact((block * weights.len()).max(1));
    let sums = matrices.flat_map(|matrix| {
        (0..block).map(move |i| (1..weights.len()).fold(term(matrix, 0, i), |sum, d| sum + term(matrix, d, i)))
    });
    sums.collect()
}

/// `S - z * R`: exact for integer zero points, fused in F64 for others; then rounded to F32.
pub(super) fn combine_zero(
    p: &Array,
    r: &Array,
    z: &Array,
    scheme: Scheme,
    shape: &[usize],
    precision: Precision,
) -> Elements {
    let (sums, row_sums) = (merged(p, scheme), merged(r, scheme));
    let mut row_shape = r.shape.clone();
    let rows = row_shape.len() - 2;
    row_shape[rows] /= scheme.weights().len();
    let row_sums = Array::new(row_shape, Elements::Integer(row_sums));
    let (row_sums, zeros) = (broadcast(&row_sums, shape), broadcast(z, shape));
    let row_sums = row_sums.integer();
    let exact = if let Elements::Integer(zeros) = zeros.as_ref() {
        let terms = sums.iter().zip(row_sums.iter().zip(zeros.iter()));
        Elements::Integer(terms.map(|(s, (r, z))| s.wrapping_sub(z.wrapping_mul(*r))).collect())
    } else {
        let zeros = zeros.double();
        let terms = sums.iter().zip(row_sums.iter().zip(zeros.iter()));
        Elements::Double(terms.map(|(s, (r, z))| (-z).mul_add(*r as f64, *s as f64)).collect())
    };
    exact.into_kind(precision.kind(DType::F32))
}

/// `sum_g p[g] * (s[g] * u[g])`, g ascending from +0 with fused multiply-add.
pub(super) fn accumulate(p: &Array, s: &Array, u: &Array, precision: Precision) -> Elements {
    let (outer, inner) = p.shape.split_at(p.shape.len() - 2);
    let (size, groups) = (inner.iter().product::<usize>(), outer[outer.len() - 1]);
    let matrices = outer[..outer.len() - 1].iter().product::<usize>();
    let (s, u) = (broadcast(s, &p.shape), broadcast(u, &p.shape));
    let kind = precision.kind(DType::F32);
    if kind == Kind::Double {
        let (p, s, u) = (p.elements.double(), s.double(), u.double());
        return Elements::Double(over_groups(matrices, groups, size, |sum, i| p[i].mul_add(s[i] * u[i], sum)));
    }
    let (p, s, u) = (p.elements.single(), s.single(), u.single());
    Elements::Single(over_groups(matrices, groups, size, |sum, i| p[i].mul_add(s[i] * u[i], sum)))
}

/// `sum_g f64(S_g) * (s[g] * u[g])`, g ascending from +0 with fused multiply-add in F64.
pub(super) fn accumulate_wide(p: &Array, s: &Array, u: &Array, scheme: Scheme) -> Elements {
    let mut shape = p.shape.clone();
    let rank = shape.len();
    shape[rank - 2] /= scheme.weights().len();
    let (size, groups) = (shape[rank - 2] * shape[rank - 1], shape[rank - 3]);
    let matrices = shape[..rank - 3].iter().product::<usize>();
    let (sums, s, u) = (merged(p, scheme), broadcast(s, &shape), broadcast(u, &shape));
    let (s, u) = (s.double(), u.double());
    Elements::Double(over_groups(matrices, groups, size, |sum, i| (sums[i] as f64).mul_add(s[i] * u[i], sum)))
}

/// For each of `size` elements of each matrix, `step(sum, index)` over its groups.
fn over_groups<T: Copy + Default>(matrices: usize, groups: usize, size: usize, step: impl Fn(T, usize) -> T) -> Vec<T> {
    let at =
        |matrix: usize, i: usize| (0..groups).fold(T::default(), |sum, g| step(sum, (matrix * groups + g) * size + i));
    (0..matrices).flat_map(|matrix| (0..size).map(move |i| (matrix, i))).map(|(matrix, i)| at(matrix, i)).collect()
}
