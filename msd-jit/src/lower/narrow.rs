//! Codes of floats narrower than F32, to and from F32 lanes: the exact value of a code, and the
//! nearest code of a value. Owns these formats and no memory access.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use msd_ir::dtype::{DType, Minifloat, Specials};

use super::frame::Frame;

impl Frame<'_> {
    /// The exact F32 of codes of a narrow float.
    pub(crate) fn decode(&mut self, dtype: DType, bits: Value) -> Value {
        match dtype {
            DType::BF16 => {
                let wide = self.b.ins().ishl_imm_s(bits, 16);
                self.cast_bits(types::F32X4, wide)
            }
            DType::E8M0 => self.decode_e8m0(bits),
            DType::F16 => self.decode_minifloat(F16, bits),
            _ => match dtype.minifloat() {
                Some(format) => self.decode_minifloat(format, bits),
                None => self.cast_bits(types::F32X4, bits),
            },
        }
    }

    /// Exponent and mantissa moved to F32's places, the exponent rebiased. A subnormal code stands as
    /// the mantissa of a normal number, from which its leading one is taken off: multiplying a
    /// subnormal F32 instead would be right as well, and a hundred times slower.
    pub(crate) fn decode_minifloat(&mut self, format: Minifloat, bits: Value) -> Value {
        let (e, m) = (format.exp_bits, format.man_bits);
        let magnitude_mask = self.splat_i32((1 << (e + m)) - 1);
        let magnitude = self.b.ins().band(bits, magnitude_mask);
        let placed = self.b.ins().ishl_imm_s(magnitude, 23 - m as i64);
        let [rebias, leading] = [127 - format.bias, 128 - format.bias].map(|e| self.splat_i32(e << 23));
        let normal = self.b.ins().iadd(placed, rebias);
        let normal = self.cast_bits(types::F32X4, normal);
        let marked = self.b.ins().bor(placed, leading);
        let (marked, leading) = (self.cast_bits(types::F32X4, marked), self.cast_bits(types::F32X4, leading));
        let subnormal = self.b.ins().fsub(marked, leading);
        let least_normal = self.splat_i32(1 << m);
        let is_subnormal = self.b.ins().icmp(IntCC::SignedLessThan, magnitude, least_normal);
        let mut value = self.choose(is_subnormal, subnormal, normal);
        let over = |f: &mut Self, limit: i32| {
            let limit = f.splat_i32(limit);
            f.b.ins().icmp(IntCC::SignedGreaterThan, magnitude, limit)
        };
        if format.specials != Specials::None {
            let special = over(self, largest_code(format));
            let nan = self.splat_f32(f32::NAN);
            value = self.choose(special, nan, value);
        }
        if format.specials == Specials::Ieee {
            let infinity_code = self.splat_i32(((1 << e) - 1) << m);
            let is_infinite = self.b.ins().icmp(IntCC::Equal, magnitude, infinity_code);
            let infinity = self.splat_f32(f32::INFINITY);
            value = self.choose(is_infinite, infinity, value);
        }
        let sign_mask = self.splat_i32(1 << (e + m));
        let sign = self.b.ins().band(bits, sign_mask);
        let sign = self.b.ins().ishl_imm_s(sign, 31 - (e + m) as i64);
        let value = self.cast_bits(types::I32X4, value);
        let signed = self.b.ins().bor(value, sign);
        self.cast_bits(types::F32X4, signed)
    }

    fn decode_e8m0(&mut self, bits: Value) -> Value {
        let placed = self.b.ins().ishl_imm_s(bits, 23);
        let (zero, smallest) = (self.splat_i32(0), self.splat_i32(1 << 22));
        let is_zero = self.b.ins().icmp(IntCC::Equal, bits, zero);
        let value = self.b.ins().bitselect(is_zero, smallest, placed);
        let (all_ones, nan) = (self.splat_i32(255), self.splat_i32(0x7FC0_0000));
        let is_nan = self.b.ins().icmp(IntCC::Equal, bits, all_ones);
        let value = self.b.ins().bitselect(is_nan, nan, value);
        self.cast_bits(types::F32X4, value)
    }

    /// The codes of F32 values in a narrow float: nearest even; f16 overflows to infinity, the
    /// smaller formats saturate.
    pub(crate) fn encode(&mut self, dtype: DType, value: Value) -> Value {
        match dtype {
            DType::BF16 => self.encode_bf16(value),
            DType::E8M0 => self.encode_e8m0(value),
            DType::F16 => self.encode_small(F16, 0x7C00, value),
            _ => match dtype.minifloat() {
                Some(format) => self.encode_minifloat(format, value),
                None => self.cast_bits(types::I32X4, value),
            },
        }
    }

    /// The nearest codes, saturating.
    pub(crate) fn encode_minifloat(&mut self, format: Minifloat, value: Value) -> Value {
        self.encode_small(format, largest_code(format), value)
    }

    /// The codes of values that the format has: [`Frame::encode`] without saturation of infinity.
    pub(crate) fn encode_exact(&mut self, dtype: DType, value: Value) -> Value {
        match dtype.minifloat() {
            Some(format) if format.specials == Specials::Ieee => {
                self.encode_small(format, largest_code(format) + 1, value)
            }
            _ => self.encode(dtype, value),
        }
    }

    fn encode_bf16(&mut self, value: Value) -> Value {
        let bits = self.cast_bits(types::I32X4, value);
        let (one, bias) = (self.splat_i32(1), self.splat_i32(0x7FFF));
        let high = self.b.ins().ushr_imm_s(bits, 16);
        let odd = self.b.ins().band(high, one);
        let rounded = self.b.ins().iadd(bits, bias);
        let rounded = self.b.ins().iadd(rounded, odd);
        let rounded = self.b.ins().ushr_imm_s(rounded, 16);
        let nan = self.splat_i32(0x7FC0);
        let is_nan = self.is_nan(value);
        self.b.ins().bitselect(is_nan, nan, rounded)
    }

    fn encode_e8m0(&mut self, value: Value) -> Value {
        let bits = self.cast_bits(types::I32X4, value);
        let (half, most) = (self.splat_i32(0x40_0000), self.splat_i32(254));
        let rounded = self.b.ins().iadd(bits, half);
        let code = self.b.ins().ushr_imm_s(rounded, 23);
        let code = self.b.ins().smin(code, most);
        // Code 0 is subnormal in F32 and lies half a binade lower than the sum above says.
        let (least, none) = (self.splat_i32(0x60_0000), self.splat_i32(0));
        let is_least = self.b.ins().icmp(IntCC::SignedLessThan, bits, least);
        let code = self.b.ins().bitselect(is_least, none, code);
        let zero = self.splat_f32(0.0);
        let fine = self.b.ins().fcmp(FloatCC::GreaterThanOrEqual, value, zero);
        let fine = self.cast_bits(types::I32X4, fine);
        let nan = self.splat_i32(255);
        self.b.ins().bitselect(fine, code, nan)
    }

    /// `largest` is the greatest magnitude code that rounding may give.
    fn encode_small(&mut self, format: Minifloat, largest: i32, value: Value) -> Value {
        let (e, m) = (format.exp_bits as i32, format.man_bits as i64);
        let bits = self.cast_bits(types::I32X4, value);
        let magnitude_mask = self.splat_i32(i32::MAX);
        let magnitude = self.b.ins().band(bits, magnitude_mask);
        let shift = 23 - m;

        // Normal results: rebias the exponent, round the mantissa in place.
        let one = self.splat_i32(1);
        let kept = self.b.ins().ushr_imm_s(magnitude, shift);
        let odd = self.b.ins().band(kept, one);
        let rebias = self.splat_i32(((1 << (shift - 1)) - 1) - ((127 - format.bias) << 23));
        let normal = self.b.ins().iadd(magnitude, rebias);
        let normal = self.b.ins().iadd(normal, odd);
        let normal = self.b.ins().sshr_imm_s(normal, shift);

        // Subnormal results: adding a power of two whose last place is the format's smallest
        // step lets the float adder round.
        let anchor = (127 + 1 - format.bias + shift as i32) << 23;
        let anchor_bits = self.splat_i32(anchor);
        let anchor_value = self.cast_bits(types::F32X4, anchor_bits);
        let magnitude_value = self.cast_bits(types::F32X4, magnitude);
        let sum = self.b.ins().fadd(magnitude_value, anchor_value);
        let sum = self.cast_bits(types::I32X4, sum);
        let subnormal = self.b.ins().isub(sum, anchor_bits);

        let least_normal = self.splat_i32((127 + 1 - format.bias) << 23);
        let is_small = self.b.ins().icmp(IntCC::SignedLessThan, magnitude, least_normal);
        let code = self.b.ins().bitselect(is_small, subnormal, normal);
        // Far overflow would wrap in the integer rebias; infinity compares above every finite.
        let largest = self.splat_i32(largest);
        let code = self.b.ins().smin(code, largest);
        let sign = self.b.ins().ushr_imm_s(bits, 31);
        let sign = self.b.ins().ishl_imm_s(sign, e as i64 + m);
        let code = self.b.ins().bor(code, sign);
        let nan_code = match format.specials {
            Specials::None => 0,
            Specials::NanOnly => (1 << (e as i64 + m)) - 1,
            Specials::Ieee if m == 10 => 0x7E00,
            Specials::Ieee => (1 << (e as i64 + m)) - 1,
        };
        let nan = self.splat_i32(nan_code);
        let is_nan = self.is_nan(value);
        self.b.ins().bitselect(is_nan, nan, code)
    }
}

/// IEEE binary16 seen as one more small float.
const F16: Minifloat = Minifloat { exp_bits: 5, man_bits: 10, bias: 15, specials: Specials::Ieee };

/// Largest finite magnitude code; wider than [`Minifloat::largest_code`], for binary16.
fn largest_code(format: Minifloat) -> i32 {
    let mask = (1 << (format.exp_bits + format.man_bits)) - 1;
    match format.specials {
        Specials::None => mask,
        Specials::NanOnly => mask - 1,
        Specials::Ieee => mask - (1 << format.man_bits),
    }
}
