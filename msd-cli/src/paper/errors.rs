//! How far values are from what they should be, in the paper's measures. Owns the measures; what is
//! compared is the tables'.

/// Errors of values, added up as they come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Errors {
    count: u64,
    error: f64,
    norm: f64,
    /// How many values have a relative error beyond each of [`SHARES`].
    beyond: [u64; SHARES.len()],
    /// How many have a relative error of `10^(i/4)` to `10^((i+1)/4)` times [`LEAST`].
    histogram: [u64; BINS],
}

/// Relative errors whose shares the paper counts.
pub(crate) const SHARES: [f64; 4] = [1e-3, 5e-3, 1e-2, 5e-2];

/// Where the histogram begins; what lies below or beyond its ends counts in the outermost bins.
pub(crate) const LEAST: f64 = 1e-8;
const BINS: usize = 32;
/// Bins of a factor of 10.
pub(crate) const BINS_PER_DECADE: usize = 4;

impl Errors {
    /// The errors of `values`.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>, truth: impl IntoIterator<Item = f64>) -> Errors {
        let mut errors = Errors::default();
        values.into_iter().zip(truth).for_each(|(value, truth)| errors.add(value, truth));
        errors
    }

    /// Adds one value.
    pub(crate) fn add(&mut self, value: f64, truth: f64) {
        let error = (value - truth).abs();
        self.count += 1;
        self.error += error * error;
        self.norm += truth * truth;
        let relative = if error == 0.0 { 0.0 } else { error / truth.abs() };
        for (count, share) in self.beyond.iter_mut().zip(SHARES) {
            *count += u64::from(relative > share);
        }
        let bin = (relative / LEAST).log10() * BINS_PER_DECADE as f64;
        self.histogram[(bin.max(0.0) as usize).min(BINS - 1)] += 1;
    }

    /// Adds what was added elsewhere.
    pub(crate) fn merge(mut self, other: &Errors) -> Errors {
        self.count += other.count;
        self.error += other.error;
        self.norm += other.norm;
        self.beyond.iter_mut().zip(other.beyond).for_each(|(a, b)| *a += b);
        self.histogram.iter_mut().zip(other.histogram).for_each(|(a, b)| *a += b);
        self
    }

    /// `||y - y*|| / ||y*||`.
    pub(crate) fn l2(&self) -> f64 {
        (self.error / self.norm).sqrt()
    }

    /// Effective bits in the sense of the paper's tables: `-log2` of [`Errors::l2`].
    pub(crate) fn bits(&self) -> f64 {
        -self.l2().log2()
    }

    /// Percent of the values whose relative error is beyond each of [`SHARES`].
    pub(crate) fn shares(&self) -> [f64; SHARES.len()] {
        self.beyond.map(|count| 100.0 * count as f64 / self.count as f64)
    }

    /// Percent of the values in each bin.
    pub(crate) fn histogram(&self) -> Vec<f64> {
        self.histogram.iter().map(|count| 100.0 * *count as f64 / self.count as f64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures() {
        let errors = Errors::of([1.002, 0.0, 2.0], [1.0, 0.0, 1.0]);
        assert!((errors.l2() - (1.000004f64 / 2.0).sqrt()).abs() < 1e-12);
        assert!((errors.bits() - 0.5).abs() < 1e-5);
        let third = 100.0 / 3.0;
        assert_eq!(errors.shares(), [2.0 * third, third, third, third]);
        let histogram = errors.histogram();
        // No error at all is below any.
        assert_eq!((histogram[0], histogram[31]), (third, third));
        // 2e-3 is 10^5.3 times the least.
        assert_eq!(histogram[21], third);
        let twice = errors.clone().merge(&errors);
        assert_eq!((twice.l2(), twice.shares()), (errors.l2(), errors.shares()));
    }
}
