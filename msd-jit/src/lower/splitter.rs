//! How the elements of a row become digits: what its largest magnitude gives, and the arithmetic of each
//! family of schemes on four elements. Same steps as `msd_ir::quant::decompose`; the exponent work is done on
//! integers once per row, so no scale over- or underflows. Owns no loop.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use msd_ir::dtype::Minifloat;
use msd_ir::quant::scheme::{Family, Scheme};

use super::frame::Frame;
use super::lanes::Lane;

/// Bits of the smallest F32 that is not finite.
const INFINITE: i64 = 0x7F80_0000;

/// What a row's largest magnitude `Mx = mantissa * 2^exponent` gives.
pub(crate) struct RowScale {
    /// F32 in [1, 2).
    mantissa: Value,
    /// I64
    exponent: Value,
    pub(crate) is_zero: Value,
    pub(crate) is_finite: Value,
}

/// How an element becomes digits, with the row's constants in registers.
pub(crate) enum Splitter {
    /// `n = rne(x * f0 * f1 [* reciprocal])`, within the limits where rounding might leave them, then split
    /// exactly.
    Integer { factors: [Value; 2], reciprocal: Option<Value>, limits: Option<[i32; 2]> },
    /// F64: each unit rounds what is left.
    Greedy { factor: Value, units: Vec<Value> },
    /// The code nearest to `x * f0 * f1`, then of what is left.
    Minifloat { factors: [Value; 2], format: Minifloat },
}

impl Frame<'_> {
    pub(crate) fn row_scale(&mut self, bits: Value) -> RowScale {
        let is_zero = self.b.ins().icmp_imm_s(IntCC::Equal, bits, 0);
        let is_finite = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, bits, INFINITE);
        // A subnormal is shifted until its leading one stands where a normal number's hides.
        let leading = self.b.ins().clz(bits);
        let shift = self.b.ins().iadd_imm_s(leading, -8);
        let none = self.b.ins().iconst(types::I32, 0);
        let shift = self.b.ins().smax(shift, none);
        let shifted = self.b.ins().ishl(bits, shift);
        let fraction = self.b.ins().band_imm_s(shifted, 0x7F_FFFF);
        let one = self.b.ins().bor_imm_s(fraction, 0x3F80_0000);
        let mantissa = self.cast_bits(types::F32, one);
        let biased = self.b.ins().ushr_imm_s(bits, 23);
        let least = self.b.ins().iconst(types::I32, 1);
        let biased = self.b.ins().smax(biased, least);
        let exponent = self.b.ins().isub(biased, shift);
        let exponent = self.b.ins().iadd_imm_s(exponent, -127);
        let exponent = self.b.ins().sextend(types::I64, exponent);
        RowScale { mantissa, exponent, is_zero, is_finite }
    }

    /// 2^e in F64, for e well inside its range.
    fn power_f64(&mut self, exponent: Value) -> Value {
        let biased = self.b.ins().iadd_imm_s(exponent, 1023);
        let bits = self.b.ins().ishl_imm_s(biased, 52);
        self.cast_bits(types::F64, bits)
    }

    /// Two F32 factors whose product is 2^e; e may lie outside F32's range, its halves do not.
    fn power_f32_pair(&mut self, exponent: Value) -> [Value; 2] {
        let half = self.b.ins().sshr_imm_s(exponent, 1);
        let rest = self.b.ins().isub(exponent, half);
        [half, rest].map(|e| {
            let e = self.b.ins().ireduce(types::I32, e);
            let biased = self.b.ins().iadd_imm_s(e, 127);
            let bits = self.b.ins().ishl_imm_s(biased, 23);
            let scalar = self.cast_bits(types::F32, bits);
            self.b.ins().splat(types::F32X4, scalar)
        })
    }

    /// The smallest p, in I64, with `Mx <= largest * 2^p`.
    fn power_for(&mut self, largest: u32, row: &RowScale) -> Value {
        let bits = 31 - largest.leading_zeros();
        // Once the exponents are level, mantissas decide.
        let limit = self.b.ins().f32const(largest as f32 / (1u32 << bits) as f32);
        let over = self.b.ins().fcmp(FloatCC::GreaterThan, row.mantissa, limit);
        let over = self.b.ins().uextend(types::I64, over);
        let p = self.b.ins().iadd_imm_s(row.exponent, -(bits as i64));
        self.b.ins().iadd(p, over)
    }

    /// The row's splitter and the value of the digits' unit.
    pub(crate) fn splitter(&mut self, scheme: Scheme, row: &RowScale) -> (Splitter, Value) {
        match scheme.family() {
            Family::Pow2 { largest } => {
                let p = self.power_for(largest, row);
                let negative = self.b.ins().ineg(p);
                let factors = self.power_f32_pair(negative);
                let unit = self.power_f64(p);
                (Splitter::Integer { factors, reciprocal: None, limits: None }, unit)
            }
            Family::Radix { largest } => {
                let most = self.b.ins().f32const(largest as f32);
                let reciprocal = self.b.ins().fdiv(most, row.mantissa);
                let reciprocal = self.b.ins().splat(types::F32X4, reciprocal);
                let unit = self.b.ins().fdiv(row.mantissa, most);
                let negative = self.b.ins().ineg(row.exponent);
                let factors = self.power_f32_pair(negative);
                let unit = self.b.ins().fpromote(types::F64, unit);
                let power = self.power_f64(row.exponent);
                let unit = self.b.ins().fmul(unit, power);
                // What is negative in spite of an unsigned scheme counts as 0.
                let least = if scheme.is_unsigned() { 0 } else { -(largest as i32) };
                let limits = Some([least, largest as i32]);
                (Splitter::Integer { factors, reciprocal: Some(reciprocal), limits }, unit)
            }
            Family::Greedy { largest_hundredths } => {
                let mantissa = self.b.ins().fpromote(types::F64, row.mantissa);
                let most = self.b.ins().f64const(largest_hundredths as f64 / 100.0);
                let first = self.b.ins().fdiv(mantissa, most);
                let whole = self.b.ins().f64const(scheme.weights()[0] as f64);
                let mut units = Vec::new();
                for weight in scheme.weights() {
                    let weight = self.b.ins().f64const(*weight as f64);
                    let unit = self.b.ins().fmul(first, weight);
                    let unit = self.b.ins().fdiv(unit, whole);
                    units.push(self.b.ins().splat(types::F64X2, unit));
                }
                let negative = self.b.ins().ineg(row.exponent);
                let factor = self.power_f64(negative);
                let factor = self.b.ins().splat(types::F64X2, factor);
                let unit = self.b.ins().fdiv(first, whole);
                let power = self.power_f64(row.exponent);
                let unit = self.b.ins().fmul(unit, power);
                (Splitter::Greedy { factor, units }, unit)
            }
            Family::Minifloat { format, limit_128ths, .. } => {
                let p = self.power_for(limit_128ths, row);
                let p = self.b.ins().iadd_imm_s(p, 7);
                let negative = self.b.ins().ineg(p);
                let factors = self.power_f32_pair(negative);
                let step = if scheme.digit_dtype().is_int() { format.step() } else { 1.0 };
                let ratio = self.b.ins().f64const(step as f64 / scheme.weights()[0] as f64);
                let power = self.power_f64(p);
                (Splitter::Minifloat { factors, format }, self.b.ins().fmul(power, ratio))
            }
        }
    }

    /// The digits of four values, most significant first, as I32 lanes; 0 where nothing is kept.
    pub(crate) fn split(&mut self, splitter: &Splitter, scheme: Scheme, keep: Value, value: Value) -> Vec<Value> {
        let digits = match splitter {
            Splitter::Integer { factors, reciprocal, limits } => {
                let mut scaled = self.b.ins().fmul(value, factors[0]);
                scaled = self.b.ins().fmul(scaled, factors[1]);
                if let Some(reciprocal) = reciprocal {
                    scaled = self.b.ins().fmul(scaled, *reciprocal);
                }
                let rounded = self.b.ins().nearest(scaled);
                let mut n = self.small_integer(rounded);
                if let Some(limits) = limits {
                    let [low, high] = limits.map(|limit| self.splat_i32(limit));
                    n = self.b.ins().smax(n, low);
                    n = self.b.ins().smin(n, high);
                }
                let n = self.b.ins().band(n, keep);
                return self.split_integer(n, scheme);
            }
            Splitter::Greedy { factor, units } => {
                let mut rest = self.f64_of(Lane::F32(value)).map(|part| self.b.ins().fmul(part, *factor));
                let mut digits = Vec::new();
                for unit in units {
                    let digit = rest.map(|part| {
                        let quotient = self.b.ins().fdiv(part, *unit);
                        self.b.ins().nearest(quotient)
                    });
                    for (part, d) in rest.iter_mut().zip(digit) {
                        let taken = self.b.ins().fmul(d, *unit);
                        *part = self.b.ins().fsub(*part, taken);
                    }
                    // Digits are small integers, exact in F32, whose lanes convert in one step.
                    let float = self.f32_of(Lane::F64(digit));
                    digits.push(self.small_integer(float));
                }
                digits
            }
            Splitter::Minifloat { factors, format } => {
                let mut scaled = self.b.ins().fmul(value, factors[0]);
                scaled = self.b.ins().fmul(scaled, factors[1]);
                self.nearest_floats(scheme, *format, scaled)
            }
        };
        digits.into_iter().map(|digit| self.b.ins().band(digit, keep)).collect()
    }

    /// Integer values as I32. Those of rows that are not finite may come out as anything; their digits
    /// are not kept.
    fn small_integer(&mut self, rounded: Value) -> Value {
        if self.is_x86 {
            return self.b.ins().x86_cvtt2dq(types::I32X4, rounded);
        }
        self.b.ins().fcvt_to_sint_sat(types::I32X4, rounded)
    }

    /// The digits of four values in F32 as floats nearest to what is left, each exact: codes, or where
    /// digits are integers their steps.
    fn nearest_floats(&mut self, scheme: Scheme, format: Minifloat, mut rest: Value) -> Vec<Value> {
        let mut digits = Vec::new();
        for (d, weight) in scheme.weights().iter().enumerate() {
            if let Some(before) = d.checked_sub(1).and_then(|d| scheme.weights().get(d)) {
                let ratio = self.splat_f32((before / weight) as f32);
                rest = self.b.ins().fmul(rest, ratio);
            }
            let code = self.encode_minifloat(format, rest);
            let nearest = self.decode_minifloat(format, code);
            rest = self.b.ins().fsub(rest, nearest);
            digits.push(if scheme.digit_dtype().is_int() {
                let steps = self.splat_f32(1.0 / format.step());
                let steps = self.b.ins().fmul(nearest, steps);
                self.small_integer(steps)
            } else {
                // No digit is -0.
                let zero = self.splat_i32(0);
                let none = self.splat_f32(0.0);
                let is_zero = self.b.ins().fcmp(FloatCC::Equal, nearest, none);
                let is_zero = self.cast_bits(types::I32X4, is_zero);
                self.b.ins().bitselect(is_zero, zero, code)
            });
        }
        digits
    }

    /// `n` in the base of the scheme's digits: the low digit is the low bits, with their sign if
    /// digits have one. A single digit is `n` itself.
    fn split_integer(&mut self, n: Value, scheme: Scheme) -> Vec<Value> {
        let bits = scheme.digit_dtype().bits() as i64;
        let mut digits = Vec::new();
        let mut rest = n;
        for _ in 1..scheme.weights().len() {
            let low = self.b.ins().ishl_imm_s(rest, 32 - bits);
            let low = if scheme.is_unsigned() {
                self.b.ins().ushr_imm_s(low, 32 - bits)
            } else {
                self.b.ins().sshr_imm_s(low, 32 - bits)
            };
            let above = self.b.ins().isub(rest, low);
            rest = self.b.ins().sshr_imm_s(above, bits);
            digits.push(low);
        }
        digits.push(rest);
        digits.reverse();
        digits
    }
}
