//! Random numbers that are the same on every machine. Owns the generator; what is drawn for a
//! parameter is [`super::generate`].
//!
//! Counter-based: draw `i` of a stream depends on nothing but its key and `i`. It is output
//! `i + 1` of SplitMix64 (Steele, Lea and Flood, 2014) started at the key:
//! `mix(key + (i + 1) * 0x9E3779B97F4A7C15)`. The key of stream `s` of a seed is `mix(seed + mix(s))`.
//! Normals are Box and Muller's: from uniforms `u` of (0, 1] and `t` of [0, 1), draws `2j` and
//! `2j + 1`, come normals `2j = r cos(2 pi t)` and `2j + 1 = r sin(2 pi t)`, `r = sqrt(-2 ln u)`.
//! Logarithm and circle are series of correctly rounded operations, since every platform's libm
//! rounds in its own way.

use std::f64::consts::{LN_2, SQRT_2, TAU};

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's finalizer, a bijection.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// An unending sequence of draws.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    key: u64,
}

impl Stream {
    /// Stream `index` of a seed; streams of one seed are unrelated.
    pub(crate) fn new(seed: u64, index: u64) -> Stream {
        Stream { key: mix(seed.wrapping_add(mix(index))) }
    }

    /// Draw `i`: 64 bits.
    fn bits(self, i: u64) -> u64 {
        mix(self.key.wrapping_add(i.wrapping_add(1).wrapping_mul(GOLDEN)))
    }

    /// Draw `i`: uniform over [0, 1), a multiple of 2^-53.
    pub(crate) fn unit(self, i: u64) -> f64 {
        (self.bits(i) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Draw `i`: a whole number of `low..=high`, uniform but for a bias below 2^-32 where the range
    /// is that of 32 bits.
    pub(crate) fn integer(self, i: u64, low: i64, high: i64) -> i64 {
        let count = (high as i128 - low as i128 + 1) as u128;
        (low as i128 + ((self.bits(i) as u128 * count) >> 64) as i128) as i64
    }

    /// Draw `i`: normal with mean 0 and standard deviation 1.
    pub(crate) fn normal(self, i: u64) -> f64 {
        let first = i & !1;
        let radius = (-2.0 * ln(1.0 - self.unit(first))).sqrt();
        let (sin, cos) = circle(self.unit(first.wrapping_add(1)));
        radius * if i == first { cos } else { sin }
    }
}

/// The natural logarithm of a normal positive number: `ln(2^e m) = e ln 2 + 2 artanh((m - 1)/(m + 1))`
/// with `m` around 1, error below 2^-50 of the larger term.
pub(crate) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    if mantissa > SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    // Horner's rule over 1/(2k + 1); |s| < 0.172, so the first term left out is below 2^-60.
    let series = (0..12).rev().fold(0.0, |sum, k| sum * square + 1.0 / (2 * k + 1) as f64);
    exponent as f64 * LN_2 + 2.0 * s * series
}

/// Sine and cosine of `t` turns, `t` in [0, 1).
pub(crate) fn circle(t: f64) -> (f64, f64) {
    let quarter = (t * 4.0).round();
    let a = (t - quarter / 4.0) * TAU;
    let square = a * a;
    // Taylor's series by Horner's rule; |a| <= pi/4.
    let series = |first: u32| {
        (0..9).rev().fold(1.0, |sum, k| {
            let n = (2 * k + first) as f64;
            1.0 - square / (n * (n + 1.0)) * sum
        })
    };
    let (sin, cos) = (a * series(2), series(1));
    match quarter as u8 % 4 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference outputs of SplitMix64 for the state 1234567.
    #[test]
    fn draws_are_splitmix64() {
        let stream = Stream { key: 1234567 };
        let draws: Vec<u64> = (0..3).map(|i| stream.bits(i)).collect();
        assert_eq!(draws, [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }

    #[test]
    fn the_series_are_the_functions() {
        for i in 1..=4096 {
            let x = i as f64 / 4096.0;
            assert!((ln(x) - x.ln()).abs() <= 1e-15 * x.ln().abs().max(1.0), "ln {x}");
            let t = (i - 1) as f64 / 4096.0;
            let (sin, cos) = circle(t);
            assert!((sin - (t * TAU).sin()).abs() < 2e-15 && (cos - (t * TAU).cos()).abs() < 2e-15, "circle {t}");
        }
        assert!((ln(f64::EPSILON) - f64::EPSILON.ln()).abs() < 1e-14);
    }

    #[test]
    fn moments() {
        let n = 100_000;
        for (seed, index) in [(0, 0), (1, 0), (u64::MAX, 3)] {
            let stream = Stream::new(seed, index);
            let moment = |p: i32| (0..n).map(|i| stream.normal(i).powi(p)).sum::<f64>() / n as f64;
            // Five standard deviations of each estimate.
            let near = |p: i32, expected: f64, variance: f64| {
                (moment(p) - expected).abs() < 5.0 * (variance / n as f64).sqrt()
            };
            assert!(near(1, 0.0, 1.0) && near(2, 1.0, 2.0) && near(3, 0.0, 15.0) && near(4, 3.0, 96.0));
            let neighbours = (0..n).map(|i| stream.normal(i) * stream.normal(i + 1)).sum::<f64>() / n as f64;
            assert!(neighbours.abs() < 5.0 / (n as f64).sqrt());
        }
    }

    #[test]
    fn integers_cover_their_range() {
        let stream = Stream::new(1, 0);
        let mut counts = [0; 15];
        (0..15_000).for_each(|i| counts[(stream.integer(i, -7, 7) + 7) as usize] += 1);
        assert!(counts.iter().all(|c| (840..1160).contains(c)), "{counts:?}");
        assert_eq!(stream.integer(0, 5, 5), 5);
    }

    #[test]
    fn seeds_and_streams_differ() {
        let draw = |seed, index| Stream::new(seed, index).bits(0);
        let all = [draw(0, 0), draw(0, 1), draw(1, 0), draw(1, 1), draw(2, 0)];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
    }
}
