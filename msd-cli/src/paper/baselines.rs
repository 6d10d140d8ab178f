//! What the paper compares itself with: operands and results as BF16, by truncation as in its
//! simulation or to nearest as hardware rounds. Owns the two roundings and the exact product.

use super::parallel::parts;

/// How an F32 becomes a BF16. Values stay F32, those of them that a BF16 has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bf16 {
    /// The lower 16 bits are masked, which shrinks every value: by 0.28 % on average.
    Truncated,
    /// Ties to even.
    Nearest,
}

impl Bf16 {
    /// Both, the paper's first.
    pub(crate) const BOTH: [Bf16; 2] = [Bf16::Truncated, Bf16::Nearest];

    /// What rows call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Bf16::Truncated => "BF16 truncated",
            Bf16::Nearest => "BF16 to nearest",
        }
    }

    /// The value of a BF16.
    pub(crate) fn round(self, value: f32) -> f32 {
        match self {
            Bf16::Truncated => f32::from_bits(value.to_bits() & 0xFFFF_0000),
            Bf16::Nearest => msd::bf16::from_f32(value).to_f32(),
        }
    }

    /// All of them.
    pub(crate) fn round_all(self, values: &[f32]) -> Vec<f32> {
        values.iter().map(|v| self.round(*v)).collect()
    }
}

/// `x @ w.T` in F64, `x` of `[rows, k]` and `w` of `[n, k]`; row `j` of `w` comes from `weight(j)`.
pub(crate) fn product(
    threads: usize,
    x: &[f64],
    k: usize,
    n: usize,
    weight: impl Fn(usize) -> Vec<f64> + Sync,
) -> Vec<f64> {
    let rows = x.len() / k;
    let columns = parts(threads, n, |j| {
        let weight = weight(j);
        x.chunks_exact(k).map(|row| dot(row, &weight)).collect::<Vec<f64>>()
    });
    (0..rows).flat_map(|m| columns.iter().map(move |column| column[m])).collect()
}

/// In 8 interleaved sums, which the compiler keeps in vectors.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truncation_goes_towards_zero() {
        let above = f32::from_bits(0x3F80_FFFF);
        assert_eq!((Bf16::Truncated.round(above), Bf16::Truncated.round(-above)), (1.0, -1.0));
        assert_eq!(Bf16::Nearest.round(above), f32::from_bits(0x3F81_0000));
        assert_eq!(Bf16::Nearest.round(f32::from_bits(0x3F80_8000)), 1.0);
    }

    #[test]
    fn products_are_exact() {
        let x: Vec<f64> = (0..22).map(f64::from).collect();
        let weight = |j: usize| (0..11).map(|k| (k * (j + 1)) as f64).collect();
        let y = product(2, &x, 11, 3, weight);
        let sum = |m: usize| (0..11).map(|k| x[m * 11 + k] * k as f64).sum::<f64>();
        assert_eq!(y, [sum(0), 2.0 * sum(0), 3.0 * sum(0), sum(1), 2.0 * sum(1), 3.0 * sum(1)]);
    }
}
