//! Splitting token rows into digits (docs/numerics.md). Same steps as
//! `msd_ir::quant::decompose`, four elements at a time; the exponent work is done on integers
//! once per row, so no scale over- or underflows.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use msd_ir::dtype::Minifloat;
use msd_ir::quant::scheme::{Family, Scheme};

use super::frame::{Emit, Frame};
use super::lanes::{Access, Lane, WIDTH};
use crate::schedule::{Blocks, View, too_complex};

/// Bits of the smallest F32 that is not finite.
const INFINITE: i64 = 0x7F80_0000;

/// What a row's largest magnitude `Mx = mantissa * 2^exponent` gives.
struct RowScale {
    /// F32 in [1, 2).
    mantissa: Value,
    /// I64
    exponent: Value,
    is_zero: Value,
    is_finite: Value,
}

/// How an element becomes digits, with the row's constants in registers.
enum Splitter {
    /// `n = rne(x * f0 * f1 [* reciprocal])` within the limits, then split exactly.
    Integer { factors: [Value; 2], reciprocal: Option<Value>, limits: [i32; 2] },
    /// F64: each unit rounds what is left.
    Greedy { factor: Value, units: Vec<Value> },
    /// The code nearest to `x * f0 * f1`, then of what is left.
    Minifloat { factors: [Value; 2], format: Minifloat },
}

/// Elements of a row of `x`, from `source` on.
#[derive(Clone, Copy)]
struct Run<'v> {
    x: &'v View,
    source: Value,
    columns: Value,
}

impl Frame<'_> {
    pub(crate) fn emit_decompose(&mut self, scheme: Scheme, x: &View, digits: &View, scale: &View) -> Emit<()> {
        let columns = self.dim(&x.size_from_end(0))?;
        let outer = &x.shape[..x.shape.len() - 1];
        let (begin, end) = (self.begin, self.end);
        self.for_range(begin, end, 1, |f, unit| {
            let indices = f.unflatten(unit, outer)?;
            let run = Run { x, source: f.locate(x, &indices)?, columns };
            let largest = f.largest_magnitude(run)?;
            let row = f.row_scale(largest);
            let (splitter, unit) = f.splitter(scheme, &row);
            f.store_unit(&row, unit, scale, &indices)?;
            let is_kept = f.has_digits(&row, &row);
            f.store_digits(scheme, &splitter, is_kept, run, digits, &indices)
        })
    }

    /// As [`Frame::emit_decompose`], each block of a row by its own largest magnitude.
    pub(crate) fn emit_decompose_blocks(
        &mut self,
        scheme: Scheme,
        x: &View,
        digits: &View,
        scale: &View,
        blocks: &Blocks,
    ) -> Emit<()> {
        let columns = self.dim(&x.size_from_end(0))?;
        let (size, count) = (self.dim(&blocks.size)?, self.dim(&digits.size_from_end(2))?);
        let outer = &x.shape[..x.shape.len() - 1];
        let step = blocks.size.mul(&x.stride_from_end(0)).ok_or_else(too_complex)?;
        let step = self.dim(&step)?;
        let step = self.b.ins().imul_imm_s(step, x.dtype.host_bytes() as i64);
        let (begin, end) = (self.begin, self.end);
        self.for_range(begin, end, 1, |f, unit| {
            let indices = f.unflatten(unit, outer)?;
            let source = f.locate(x, &indices)?;
            let largest = f.largest_magnitude(Run { x, source, columns })?;
            let row = f.row_scale(largest);
            let (_, row_unit) = f.splitter(scheme, &row);
            let row_unit = f.store_unit(&row, row_unit, scale, &indices)?;
            let zero = f.int(0);
            f.for_range(zero, count, 1, |f, index| {
                let skip = f.b.ins().imul(index, step);
                let run = Run { x, source: f.b.ins().iadd(source, skip), columns: size };
                let largest = f.largest_magnitude(run)?;
                let block = f.row_scale(largest);
                let (splitter, unit) = f.splitter(scheme, &block);
                let relative = f.b.ins().fdiv(unit, row_unit);
                let relative = f.b.ins().fdemote(types::F32, relative);
                // A block of zeros adds nothing; a row that is not finite has its NaN already.
                let none = f.b.ins().f32const(0.0);
                let relative = f.b.ins().select(block.is_zero, none, relative);
                let relative = f.b.ins().select(row.is_finite, relative, none);
                let (token, batch) = (indices[indices.len() - 1], &indices[..indices.len() - 1]);
                let at: Vec<Value> = batch.iter().copied().chain([index, token]).collect();
                let target = f.locate(&blocks.relative, &at)?;
                f.b.ins().store(Frame::flags(), relative, target, 0);
                let is_kept = f.has_digits(&row, &block);
                f.store_digits(scheme, &splitter, is_kept, run, digits, &at)
            })
        })
    }

    /// Whether a block has digits other than 0: not in a row that is not finite, nor of zeros, whose
    /// sign no digit keeps.
    fn has_digits(&mut self, row: &RowScale, block: &RowScale) -> Value {
        let none = self.b.ins().iconst(types::I8, 0);
        self.b.ins().select(block.is_zero, none, row.is_finite)
    }

    /// Stores the unit of a row: zero rows have 1, rows that are not finite poison their token.
    fn store_unit(&mut self, row: &RowScale, unit: Value, scale: &View, indices: &[Value]) -> Emit<Value> {
        let one = self.b.ins().f64const(1.0);
        let nan = self.b.ins().f64const(f64::NAN);
        let unit = self.b.ins().select(row.is_zero, one, unit);
        let unit = self.b.ins().select(row.is_finite, unit, nan);
        let target = self.locate(scale, indices)?;
        self.b.ins().store(Frame::flags(), unit, target, 0);
        Ok(unit)
    }

    /// The digits of a run, of the token that is the last of `indices`; all 0 unless `is_kept`.
    fn store_digits(
        &mut self,
        scheme: Scheme,
        splitter: &Splitter,
        is_kept: Value,
        run: Run<'_>,
        digits: &View,
        indices: &[Value],
    ) -> Emit<()> {
        let keep = self.b.ins().uextend(types::I32, is_kept);
        let keep = self.b.ins().ineg(keep);
        let keep = self.b.ins().splat(types::I32X4, keep);
        let tokens = self.dim(&run.x.size_from_end(1))?;
        let mut targets = Vec::new();
        let (token, outer) = (indices[indices.len() - 1], &indices[..indices.len() - 1]);
        let mut digit_row = token;
        for _ in scheme.weights() {
            let at: Vec<Value> = outer.iter().copied().chain([digit_row]).collect();
            targets.push(self.locate(digits, &at)?);
            digit_row = self.b.ins().iadd(digit_row, tokens);
        }
        self.over_row(run, |f, lane, column, access| {
            let value = f.f32_of(lane);
            for (digit, target) in f.split(splitter, scheme, value).into_iter().zip(&targets) {
                let digit = f.b.ins().band(digit, keep);
                let offset = f.b.ins().imul_imm_s(column, digits.dtype.host_bytes() as i64);
                let at = f.b.ins().iadd(*target, offset);
                f.store_lane(Lane::I32(digit), digits.dtype, at, access);
            }
            Ok(())
        })
    }

    /// Calls `body` for every group of elements of a row, then for each element of the tail.
    fn over_row(
        &mut self,
        Run { x, source, columns }: Run<'_>,
        mut body: impl FnMut(&mut Self, Lane, Value, Access) -> Emit<()>,
    ) -> Emit<()> {
        let zero = self.int(0);
        let main = self.round_down(columns, WIDTH);
        for (from, to, width) in [(zero, main, WIDTH), (main, columns, 1)] {
            self.for_range(from, to, width, |f, column| {
                let (at, access) = f.element(x, source, column, width == WIDTH)?;
                let lane = f.load_lane(x.dtype, at, access);
                body(f, lane, column, if width == WIDTH { Access::Vector } else { Access::One })
            })?;
        }
        Ok(())
    }

    /// Address of a row's element and how four from there lie.
    pub(crate) fn element(&mut self, x: &View, source: Value, column: Value, vector: bool) -> Emit<(Value, Access)> {
        let stride = x.stride_from_end(0);
        let elements = self.scaled(column, &stride)?;
        let bytes = self.b.ins().imul_imm_s(elements, x.dtype.host_bytes() as i64);
        let at = self.b.ins().iadd(source, bytes);
        let access = match (vector, stride.is_one()) {
            (false, _) => Access::One,
            (true, true) => Access::Vector,
            (true, false) => {
                let step = self.dim(&stride)?;
                Access::Strided(self.b.ins().imul_imm_s(step, x.dtype.host_bytes() as i64))
            }
        };
        Ok((at, access))
    }

    /// The bits of the largest magnitude of a row, as I32; NaN counts as largest of all.
    fn largest_magnitude(&mut self, Run { x, source, columns }: Run<'_>) -> Emit<Value> {
        let zero = self.int(0);
        let start = self.splat_i32(0);
        let main = self.round_down(columns, WIDTH);
        let magnitude = |f: &mut Self, column: Value, vector: bool| -> Emit<Value> {
            let (at, access) = f.element(x, source, column, vector)?;
            let lane = f.load_lane(x.dtype, at, access);
            let value = f.f32_of(lane);
            let bits = f.cast_bits(types::I32X4, value);
            let mask = f.splat_i32(i32::MAX);
            Ok(f.b.ins().band(bits, mask))
        };
        // Magnitudes are ordered like their bits, and NaN lies above infinity.
        let mut largest = start;
        for (from, to, width) in [(zero, main, WIDTH), (main, columns, 1)] {
            let carried = self.for_carry(from, to, width, &[largest], |f, column, carried| {
                let new = magnitude(f, column, width == WIDTH)?;
                Ok(vec![f.b.ins().smax(carried[0], new)])
            })?;
            largest = carried[0];
        }
        let lanes: Vec<Value> = (0..4).map(|i| self.b.ins().extractlane(largest, i as u8)).collect();
        let low = self.b.ins().smax(lanes[0], lanes[1]);
        let high = self.b.ins().smax(lanes[2], lanes[3]);
        Ok(self.b.ins().smax(low, high))
    }

    fn row_scale(&mut self, bits: Value) -> RowScale {
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
    fn splitter(&mut self, scheme: Scheme, row: &RowScale) -> (Splitter, Value) {
        match scheme.family() {
            Family::Pow2 { largest } => {
                let p = self.power_for(largest, row);
                let negative = self.b.ins().ineg(p);
                let factors = self.power_f32_pair(negative);
                let unit = self.power_f64(p);
                (Splitter::Integer { factors, reciprocal: None, limits: [-(largest as i32), largest as i32] }, unit)
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
                let limits = [least, largest as i32];
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

    /// The digits of four values, most significant first, as I32 lanes.
    fn split(&mut self, splitter: &Splitter, scheme: Scheme, value: Value) -> Vec<Value> {
        match splitter {
            Splitter::Integer { factors, reciprocal, limits } => {
                let mut scaled = self.b.ins().fmul(value, factors[0]);
                scaled = self.b.ins().fmul(scaled, factors[1]);
                if let Some(reciprocal) = reciprocal {
                    scaled = self.b.ins().fmul(scaled, *reciprocal);
                }
                let rounded = self.b.ins().nearest(scaled);
                let mut n = self.b.ins().fcvt_to_sint_sat(types::I32X4, rounded);
                let [low, high] = limits.map(|limit| self.splat_i32(limit));
                n = self.b.ins().smax(n, low);
                n = self.b.ins().smin(n, high);
                self.split_integer(n, scheme)
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
                    digits.push(self.b.ins().fcvt_to_sint_sat(types::I32X4, float));
                }
                digits
            }
            Splitter::Minifloat { factors, format } => {
                let mut scaled = self.b.ins().fmul(value, factors[0]);
                scaled = self.b.ins().fmul(scaled, factors[1]);
                self.nearest_floats(scheme, *format, scaled)
            }
        }
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
                self.b.ins().fcvt_to_sint_sat(types::I32X4, steps)
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
