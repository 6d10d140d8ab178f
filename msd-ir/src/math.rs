//! The transcendental functions, each one F32 polynomial written once over [`Lanes`]. The
//! evaluator instantiates it with scalars, the JIT with vectors of IR values, so both compute the
//! same bits. No libm: its results differ between machines.
//!
//! Each function is branch-free, right for every F32 input, and within 2 ulp of the real function
//! (1 ulp = the distance of F32 values in the binade of the exact result, 2^-149 below normal).
//! Largest error over all 2^32 inputs, measured by `every_f32_is_within_two_ulp` below:
//!
//! | function | ulp |
//! |---|---|
//! | [`exp`] | 1.013 |
//! | [`log`] | 0.941 |
//! | [`tanh`] | 1.332 |
//! | [`erf`] | 1.034 |
//!
//! Coefficients come from our own Remez exchange in 40 digits (mpmath), minimising the error
//! relative to the function's result. They were rounded to F32 from the lowest power up, the
//! exchange repeated for the powers still free (`log`: rounded at once). The error that remains
//! after rounding stands beside each polynomial.

/// The arithmetic the polynomials are written in. Every operation is elementwise and correctly
/// rounded; `Mask` is the result of a comparison.
#[allow(clippy::wrong_self_convention, reason = "`self` is where code is emitted, not the value converted")]
pub trait Lanes {
    /// F32 lanes.
    type F: Copy;
    /// I32 lanes.
    type I: Copy;
    /// Truth lanes.
    type Mask: Copy;

    /// A constant in every lane.
    fn float(&mut self, value: f32) -> Self::F;
    /// A constant in every lane.
    fn int(&mut self, value: i32) -> Self::I;
    /// `a + b`
    fn add(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`
    fn sub(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`
    fn mul(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`
    fn div(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once
    fn fma(&mut self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// `a < b`, false for NaN
    fn lt(&mut self, a: Self::F, b: Self::F) -> Self::Mask;
    /// `a == b`, false for NaN
    fn eq(&mut self, a: Self::F, b: Self::F) -> Self::Mask;
    /// `a` where the mask holds, else `b`
    fn select(&mut self, mask: Self::Mask, a: Self::F, b: Self::F) -> Self::F;
    /// The bits of each lane.
    fn bits(&mut self, a: Self::F) -> Self::I;
    /// The float with these bits.
    fn from_bits(&mut self, a: Self::I) -> Self::F;
    /// Conversion, nearest even.
    fn to_float(&mut self, a: Self::I) -> Self::F;
    /// `a + b` modulo 2^32
    fn iadd(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// `a - b` modulo 2^32
    fn isub(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise and.
    fn and(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise or.
    fn or(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// Shift left by a constant.
    fn shl(&mut self, a: Self::I, by: u8) -> Self::I;
    /// Arithmetic shift right by a constant.
    fn sar(&mut self, a: Self::I, by: u8) -> Self::I;
}

/// Scalars: what the evaluator computes with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scalar;

impl Lanes for Scalar {
    type F = f32;
    type I = i32;
    type Mask = bool;

    fn float(&mut self, value: f32) -> f32 {
        value
    }
    fn int(&mut self, value: i32) -> i32 {
        value
    }
    fn add(&mut self, a: f32, b: f32) -> f32 {
        a + b
    }
    fn sub(&mut self, a: f32, b: f32) -> f32 {
        a - b
    }
    fn mul(&mut self, a: f32, b: f32) -> f32 {
        a * b
    }
    fn div(&mut self, a: f32, b: f32) -> f32 {
        a / b
    }
    fn fma(&mut self, a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
    fn lt(&mut self, a: f32, b: f32) -> bool {
        a < b
    }
    fn eq(&mut self, a: f32, b: f32) -> bool {
        a == b
    }
    fn select(&mut self, mask: bool, a: f32, b: f32) -> f32 {
        if mask { a } else { b }
    }
    fn bits(&mut self, a: f32) -> i32 {
        a.to_bits() as i32
    }
    fn from_bits(&mut self, a: i32) -> f32 {
        f32::from_bits(a as u32)
    }
    fn to_float(&mut self, a: i32) -> f32 {
        a as f32
    }
    fn iadd(&mut self, a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }
    fn isub(&mut self, a: i32, b: i32) -> i32 {
        a.wrapping_sub(b)
    }
    fn and(&mut self, a: i32, b: i32) -> i32 {
        a & b
    }
    fn or(&mut self, a: i32, b: i32) -> i32 {
        a | b
    }
    fn shl(&mut self, a: i32, by: u8) -> i32 {
        a << by
    }
    fn sar(&mut self, a: i32, by: u8) -> i32 {
        a >> by
    }
}

/// `c[0] + c[1] x + c[2] x^2 + ...` by Horner's rule, fused. `c` is not empty.
fn polynomial<L: Lanes>(l: &mut L, x: L::F, c: &[f32]) -> L::F {
    let (last, rest) = c.split_last().unwrap_or((&0.0, &[]));
    let mut sum = l.float(*last);
    for c in rest.iter().rev() {
        let c = l.float(*c);
        sum = l.fma(sum, x, c);
    }
    sum
}

/// `min(x, bound)`; NaN stays NaN.
fn at_most<L: Lanes>(l: &mut L, x: L::F, bound: f32) -> L::F {
    let bound = l.float(bound);
    let above = l.lt(bound, x);
    l.select(above, bound, x)
}

/// `|x|` and the sign bit of `x`.
fn split_sign<L: Lanes>(l: &mut L, x: L::F) -> (L::F, L::I) {
    let bits = l.bits(x);
    let (magnitude, sign) = (l.int(i32::MAX), l.int(i32::MIN));
    let magnitude = l.and(bits, magnitude);
    (l.from_bits(magnitude), l.and(bits, sign))
}

fn with_sign<L: Lanes>(l: &mut L, magnitude: L::F, sign: L::I) -> L::F {
    let bits = l.bits(magnitude);
    let bits = l.or(bits, sign);
    l.from_bits(bits)
}

/// `2^i` for `-126 <= i <= 127`.
fn power_of_two<L: Lanes>(l: &mut L, i: L::I) -> L::F {
    let bias = l.int(127);
    let biased = l.iadd(i, bias);
    let bits = l.shl(biased, 23);
    l.from_bits(bits)
}

/// (e^r, n) with `x = n ln2 + r`, `|r| <= ln2 / 2`, for `|x| <= 2^20`. NaN gives (NaN, anything).
fn reduced_exp<L: Lanes>(l: &mut L, x: L::F) -> (L::F, L::I) {
    // Adding 1.5 * 2^23 leaves the nearest integer in the low mantissa bits: no conversion.
    const ROUNDER: f32 = 12_582_912.0;
    let (log2_e, rounder) = (l.float(std::f32::consts::LOG2_E), l.float(ROUNDER));
    let shifted = l.fma(x, log2_e, rounder);
    let n = l.sub(shifted, rounder);
    let (bits, base) = (l.bits(shifted), l.int(ROUNDER.to_bits() as i32));
    let i = l.isub(bits, base);

    // ln2 in two parts; the first step is exact because r is small and n has few bits.
    let (high, low) = (l.float(-std::f32::consts::LN_2), l.float(1.904_654_3e-9));
    let r = l.fma(n, high, x);
    let r = l.fma(n, low, r);

    // (e^r - 1 - r) / r^2, 2^-28.2
    let q = polynomial(l, r, &[0.499_999_94, 0.166_665_17, 0.041_668_102, 0.008_369_165_5, 0.001_383_800_3]);
    let square = l.mul(r, r);
    let tail = l.fma(square, q, r);
    let one = l.float(1.0);
    (l.add(one, tail), i)
}

/// `e^x`: +inf above 88.72, through the subnormals to +0 below -103.97, NaN for NaN.
pub fn exp<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    // Beyond these the result is +inf or +0 anyway, and n stays small.
    let low = l.float(-104.0);
    let below = l.lt(x, low);
    let x = l.select(below, low, x);
    let x = at_most(l, x, 89.0);
    let (p, n) = reduced_exp(l, x);
    // 2^n in two normal factors: the first product is exact, the second rounds a subnormal.
    let half = l.sar(n, 1);
    let rest = l.isub(n, half);
    let (first, second) = (power_of_two(l, half), power_of_two(l, rest));
    let p = l.mul(p, first);
    l.mul(p, second)
}

/// Natural logarithm: NaN below zero, -inf at zero, +inf at +inf.
pub fn log<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let (least_normal, up) = (l.float(f32::MIN_POSITIVE), l.float(8_388_608.0));
    let (zero, down) = (l.float(0.0), l.float(-23.0));
    let subnormal = l.lt(x, least_normal);
    let scaled = l.mul(x, up);
    let normal = l.select(subnormal, scaled, x);
    let shift = l.select(subnormal, down, zero);

    // x = 2^n m with m in [2/3, 4/3), so that log(m) never cancels n ln2.
    let (bits, two_thirds) = (l.bits(normal), l.int(0x3F2A_AAAB));
    let above = l.isub(bits, two_thirds);
    let exponent_field = l.int(0xFF80_0000_u32 as i32);
    let exponent = l.and(above, exponent_field);
    let m = l.isub(bits, exponent);
    let m = l.from_bits(m);
    let (n, unit) = (l.to_float(exponent), l.float(f32::EPSILON));
    let n = l.fma(n, unit, shift);

    let one = l.float(1.0);
    let f = l.sub(m, one);
    // (log(1+f) - f + f^2/2) / f^3, 2^-27.4
    const Q: [f32; 8] = [
        0.333_332_15,
        -0.249_997_97,
        0.200_104_06,
        -0.166_804_88,
        0.140_058_7,
        -0.121_842_61,
        0.139_844_36,
        -0.128_916_87,
    ];
    let q = polynomial(l, f, &Q);
    let minus_half = l.float(-0.5);
    let q = l.fma(q, f, minus_half);
    let square = l.mul(f, f);
    let log_m = l.fma(q, square, f);
    let ln2 = l.float(std::f32::consts::LN_2);
    let result = l.fma(n, ln2, log_m);

    let infinity = l.float(f32::INFINITY);
    let finite = l.lt(x, infinity);
    let result = l.select(finite, result, x);
    let (negative, nan) = (l.lt(x, zero), l.float(f32::NAN));
    let result = l.select(negative, nan, result);
    let (is_zero, minus_infinity) = (l.eq(x, zero), l.float(f32::NEG_INFINITY));
    l.select(is_zero, minus_infinity, result)
}

/// Hyperbolic tangent: odd, -0 stays -0, exactly ±1 beyond 9.02.
pub fn tanh<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let (a, sign) = split_sign(l, x);

    // (tanh(a)/a - 1) / a^2 in a^2, for a < 0.6: 2^-28.4
    let square = l.mul(a, a);
    let q = polynomial(l, square, &[-0.333_333, 0.133_319_36, -0.053_784_717, 0.020_798_625, -0.005_897_966_7]);
    let cube = l.mul(a, square);
    let small = l.fma(cube, q, a);

    // 1 - 2 / (e^2a + 1); from 10 on the quotient no longer counts.
    let capped = at_most(l, a, 10.0);
    let doubled = l.add(capped, capped);
    let (p, n) = reduced_exp(l, doubled);
    let scale = power_of_two(l, n);
    let (one, two) = (l.float(1.0), l.float(2.0));
    let denominator = l.fma(p, scale, one);
    let quotient = l.div(two, denominator);
    let large = l.sub(one, quotient);

    let bound = l.float(0.6);
    let is_small = l.lt(a, bound);
    let magnitude = l.select(is_small, small, large);
    with_sign(l, magnitude, sign)
}

/// Error function: odd, -0 stays -0, exactly ±1 beyond 3.84.
pub fn erf<L: Lanes>(l: &mut L, x: L::F) -> L::F {
    let (a, sign) = split_sign(l, x);

    // erf(a)/a - 1 in a^2, for a < 0.875: 2^-26.0
    let square = l.mul(a, a);
    const SMALL: [f32; 6] =
        [0.128_379_15, -0.376_125_04, 0.112_819_22, -0.026_770_486, 0.004_998_928, -0.000_602_049_1];
    let q = polynomial(l, square, &SMALL);
    let small = l.fma(q, a, a);

    // 1 - e^(-a + a q(a)), q fitted to (log(erfc(a)) + a) / a: 2^-29.8 of erf
    const LARGE: [f32; 7] =
        [-0.128_622_9, -0.635_256_9, -0.106_059_65, 0.023_607_247, -0.003_568_294_5, 0.000_304_340_27, -9.365_757e-6];
    let capped = at_most(l, a, 4.0);
    let q = polynomial(l, capped, &LARGE);
    let (zero, one) = (l.float(0.0), l.float(1.0));
    let minus = l.sub(zero, capped);
    let exponent = l.fma(q, capped, minus);
    let (p, n) = reduced_exp(l, exponent);
    let scale = power_of_two(l, n);
    let complement = l.mul(p, scale);
    let large = l.sub(one, complement);

    let bound = l.float(0.875);
    let is_small = l.lt(a, bound);
    let magnitude = l.select(is_small, small, large);
    with_sign(l, magnitude, sign)
}

#[cfg(test)]
mod tests;
