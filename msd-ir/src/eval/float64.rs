//! Float64.

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
