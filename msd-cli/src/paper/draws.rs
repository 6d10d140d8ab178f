//! The distributions of the paper's experiments. Owns their shapes; the generator is
//! [`crate::inputs::random`].

use crate::inputs::random::{Stream, circle, ln};

/// What elements are drawn from, independently of each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Distribution {
    /// Mean 0 and this standard deviation.
    Normal(f64),
    /// Between plus and minus this.
    Uniform(f64),
    /// Mean 0, scale 1.
    Laplace,
    /// Student's t with 3 degrees of freedom.
    StudentT3,
    /// Student's t with 1.
    Cauchy,
}

impl Distribution {
    /// As the paper writes it.
    pub(crate) fn name(self) -> String {
        match self {
            Distribution::Normal(std) => format!("N(0,{std})"),
            Distribution::Uniform(half) => format!("U(-{half},{half})"),
            Distribution::Laplace => "Laplace".into(),
            Distribution::StudentT3 => "t3".into(),
            Distribution::Cauchy => "Cauchy".into(),
        }
    }

    /// Element `i` of a stream.
    pub(crate) fn draw(self, stream: Stream, i: u64) -> f32 {
        // Of (0, 1], so that its logarithm is finite.
        let open = |i| 1.0 - stream.unit(i);
        let value = match self {
            Distribution::Normal(std) => std * stream.normal(i),
            Distribution::Uniform(half) => half * (2.0 * stream.unit(i) - 1.0),
            Distribution::Laplace => {
                // Either tail is exponential.
                let magnitude = -ln(open(2 * i));
                if stream.unit(2 * i + 1) < 0.5 { -magnitude } else { magnitude }
            }
            Distribution::StudentT3 => {
                let [z, a, b, c] = [0, 1, 2, 3].map(|j| stream.normal(4 * i + j));
                z / ((a * a + b * b + c * c) / 3.0).sqrt()
            }
            Distribution::Cauchy => {
                // The tangent of an angle that is uniform over half a turn.
                let (sin, cos) = circle(stream.unit(i) / 2.0);
                sin / cos
            }
        };
        value as f32
    }

    /// Elements `range` of a stream.
    pub(crate) fn draws(self, stream: Stream, range: std::ops::Range<u64>) -> Vec<f32> {
        range.map(|i| self.draw(stream, i)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quartiles, and the share beyond twice the upper one, against the distributions' own: five
    /// standard deviations of each estimate.
    #[test]
    fn quantiles_are_those_of_the_distribution() {
        const N: u64 = 40_000;
        let cases = [
            // Upper quartile, share of magnitudes beyond 4 upper quartiles.
            (Distribution::Normal(1.0), 0.674490, 0.006976),
            (Distribution::Normal(0.1), 0.0674490, 0.006976),
            (Distribution::Uniform(3.0), 1.5, 0.0),
            (Distribution::Laplace, std::f64::consts::LN_2, 0.0625),
            (Distribution::StudentT3, 0.764892, 0.054913),
            (Distribution::Cauchy, 1.0, 0.155958),
        ];
        for (distribution, quartile, tail) in cases {
            let draws = distribution.draws(Stream::new(1, 0), 0..N);
            assert!(draws.iter().all(|x| x.is_finite()));
            let share =
                |test: &dyn Fn(f64) -> bool| draws.iter().filter(|x| test(f64::from(**x))).count() as f64 / N as f64;
            let near = |share: f64, p: f64| (share - p).abs() <= 5.0 * (p * (1.0 - p) / N as f64).sqrt();
            let name = distribution.name();
            assert!(near(share(&|x| x > quartile), 0.25), "{name}");
            assert!(near(share(&|x| x < -quartile), 0.25), "{name}");
            assert!(near(share(&|x| x < 0.0), 0.5), "{name}");
            assert!(near(share(&|x| x.abs() > 4.0 * quartile), tail), "{name}");
        }
    }

    #[test]
    fn a_row_is_that_row() {
        for distribution in [Distribution::Laplace, Distribution::StudentT3, Distribution::Normal(2.0)] {
            let stream = Stream::new(7, 1);
            assert_eq!(distribution.draws(stream, 0..64)[32..], distribution.draws(stream, 32..64));
        }
        assert_eq!(Distribution::Normal(0.5).name(), "N(0,0.5)");
    }
}
