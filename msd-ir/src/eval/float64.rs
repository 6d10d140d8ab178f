//! The float64 value of a graph: the yardstick that errors are measured against. It shares the
//! evaluator's walk and definitions, but computes every float in F64 and rounds nothing, so what
//! remains are errors of about 2^-53 per operation. It uses the platform's F64 functions: its last
//! bits may differ between machines, which no measured error shows.

use super::array::Precision;
use crate::diag::Diagnostic;
use crate::dim::Sizes;
use crate::graph::Kernel;
use crate::input::Input;

/// Runs a source graph in F64: the arguments of [`super::evaluate`], and one row-major vector of
/// values per result. Integer ops are exact as ever; casts to floats keep their operand. Matrix
/// products take M*N*K steps, so for large kernels pass a sample of the rows as input.
pub fn evaluate_f64(kernel: &Kernel, sizes: &Sizes, inputs: &[Input]) -> Result<Vec<Vec<f64>>, Diagnostic> {
    let results = super::run(kernel, sizes, inputs, Precision::Double)?;
    Ok(results.into_iter().map(|array| array.elements.double().into_owned()).collect())
}

/// Error function, within a few units of the last place of F64.
pub(crate) fn erf(x: f64) -> f64 {
    let a = x.abs();
    if x.is_nan() || a > 6.0 {
        // 1 - erf(6) is below 2^-54.
        return if x.is_nan() { x } else { 1f64.copysign(x) };
    }
    if a < 2.5 {
        // 2/sqrt(pi) e^(-x^2) sum_n 2^n x^(2n+1) / (2n+1)!!: all terms positive.
        let (mut term, mut sum, mut odd) = (x, x, 1.0);
        while term.abs() > sum.abs() * 1e-17 {
            odd += 2.0;
            term *= 2.0 * x * x / odd;
            sum += term;
        }
        return std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum;
    }
    // erfc(a) = e^(-a^2)/sqrt(pi) / (a + (1/2)/(a + (2/2)/(a + (3/2)/(a + ...))))
    let fraction = (1..=60).rev().fold(a, |below, n| a + n as f64 / 2.0 / below);
    let complement = (-a * a).exp() * std::f64::consts::FRAC_2_SQRT_PI / 2.0 / fraction;
    (1.0 - complement).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::erf;

    #[test]
    fn erf_of_tabulated_arguments() {
        // mpmath, 25 digits.
        let table = [
            (1e-30, 1.1283791670955127e-30),
            (1e-05, 1.1283791670579e-05),
            (0.25, 0.27632639016823696),
            (0.875, 0.7840750610598597),
            (1.0, 0.8427007929497149),
            (2.0, 0.9953222650189527),
            (2.4999, 0.9995928300996666),
            (2.5, 0.999593047982555),
            (3.0, 0.9999779095030014),
            (4.0, 0.9999999845827421),
            (5.5, 0.9999999999999927),
        ];
        for (x, y) in table {
            assert!((erf(x) - y).abs() <= 4.0 * f64::EPSILON * y, "erf({x}) = {} not {y}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
        assert_eq!(erf(0.0).to_bits(), 0);
        assert_eq!(erf(f64::INFINITY), 1.0);
        assert!(erf(f64::NAN).is_nan());
    }
}
