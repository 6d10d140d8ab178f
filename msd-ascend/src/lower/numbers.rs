//! Stored types to the F32 or I32 that vector cores compute with, and back. Owns the way through casts that a chip
//! has, and through bits where it has none.

use msd_ir::dtype::{DType, Minifloat, Specials};
use msd_ir::math::Lanes;

use super::code::{Code, Condition, Mask, Reg, What};
use crate::chip::Chip;
use crate::isa::Op;

use DType::{BF16, E1M2, E2M1, E8M0, F16, F32, F64, I4, I8, I16, I32, I64, U4, U8};

/// An element of the graph while it is computed with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    /// F32.
    Float(Reg),
    /// I32, which also stands for integers of 64 bits.
    Int(Reg),
    /// Whether a comparison holds.
    Truth(Mask),
}

/// Type in which a parameter or a result is stored on this chip: its own, if the chip has it. F64 and I64 are
/// F32 and I32, truth values are bytes, and so are 4-bit integers that vector cores cannot read.
pub(crate) fn stored(dtype: DType, chip: &Chip) -> DType {
    match dtype {
        F64 => F32,
        I64 => I32,
        DType::Bool => U8,
        I4 if !chip.casts(I4, F16) => I8,
        U4 if !chip.casts(I4, F16) => U8,
        as_it_is => as_it_is,
    }
}

/// The same of what vector cores compute: codes of 4-bit floats are bytes where they cannot write those.
pub(crate) fn computed(dtype: DType, chip: &Chip) -> DType {
    match dtype {
        E2M1 | E1M2 if !chip.casts(F16, I4) => U8,
        other => stored(other, chip),
    }
}

impl Code {
    /// A small float that is stored as a byte.
    pub(crate) fn widened_code(&mut self, reg: Reg, dtype: DType) -> Number {
        match dtype.minifloat() {
            Some(format) => Number::Float(self.decoded(reg, format, 8)),
            None => Number::Float(self.power(reg)),
        }
    }

    /// A loaded value as a number.
    pub(crate) fn widened(&mut self, reg: Reg, from: DType, chip: &Chip) -> Number {
        match from {
            F32 | F64 => Number::Float(reg),
            I32 | I64 => Number::Int(reg),
            F16 | BF16 => Number::Float(self.cast(from, F32, reg)),
            I16 => {
                let float = self.cast(I16, F32, reg);
                Number::Int(self.cast(F32, I32, float))
            }
            DType::Bool => {
                let (code, zero) = (self.code(reg, 8), self.int_number(0));
                Number::Truth(self.compare(Condition::Ne, I32, code, zero))
            }
            I8 => {
                let half = self.cast(I8, F16, reg);
                Number::Int(self.cast(F16, I32, half))
            }
            I4 => {
                let half = self.cast(I4, F16, reg);
                Number::Int(self.cast(F16, I32, half))
            }
            U8 | U4 => Number::Int(self.code(reg, from.bits())),
            E8M0 => Number::Float(self.power(reg)),
            E2M1 | E1M2 if chip.casts(from, BF16) => {
                let wide = self.cast(from, BF16, reg);
                Number::Float(self.cast(BF16, F32, wide))
            }
            small if chip.casts(small, F32) => Number::Float(self.cast(small, F32, reg)),
            small => match small.minifloat() {
                Some(format) => Number::Float(self.decoded(reg, format, small.bits())),
                None => Number::Int(reg),
            },
        }
    }

    /// A value as F32. Integers of up to 24 bits are exact.
    pub(crate) fn as_float(&mut self, number: Number) -> Reg {
        match number {
            Number::Float(reg) => reg,
            Number::Int(reg) => match self.halves_of(reg) {
                Some(half) => self.cast(F16, F32, half),
                None => self.cast(I32, F32, reg),
            },
            Number::Truth(mask) => {
                let (one, zero) = (self.number(1.0), self.number(0.0));
                self.choose(mask, one, zero)
            }
        }
    }

    /// A value as I32: floats to the nearest, saturated.
    pub(crate) fn as_int(&mut self, number: Number) -> Reg {
        match number {
            Number::Float(reg) => self.cast(F32, I32, reg),
            Number::Int(reg) => reg,
            Number::Truth(mask) => {
                let (one, zero) = (self.int_number(1), self.int_number(0));
                self.choose(mask, one, zero)
            }
        }
    }

    /// A value as `msd.cast` defines it, computed with further.
    pub(crate) fn converted(&mut self, number: Number, to: DType, chip: &Chip) -> Number {
        match to {
            F32 | F64 => Number::Float(self.as_float(number)),
            I64 => Number::Int(self.as_int(number)),
            DType::Bool => match number {
                Number::Truth(mask) => Number::Truth(mask),
                Number::Float(reg) => {
                    let zero = self.number(0.0);
                    Number::Truth(self.compare(Condition::Ne, F32, reg, zero))
                }
                Number::Int(reg) => {
                    let zero = self.int_number(0);
                    Number::Truth(self.compare(Condition::Ne, I32, reg, zero))
                }
            },
            F16 | BF16 => {
                let float = self.as_float(number);
                let narrow = self.cast(F32, to, float);
                Number::Float(self.cast(to, F32, narrow))
            }
            E8M0 => {
                let code = self.power_code(number);
                Number::Float(self.power_of(code))
            }
            small if small.is_float() => {
                let code = self.encoded(number, small, chip);
                match code {
                    Encoded::Code(code, format) => Number::Float(self.decoded_code(code, format)),
                    Encoded::Stored(reg) => self.widened(reg, small, chip),
                }
            }
            int => Number::Int(self.clamped(number, int)),
        }
    }

    /// A value as it is stored.
    pub(crate) fn narrowed(&mut self, number: Number, to: DType, chip: &Chip) -> Reg {
        match to {
            F32 | F64 => self.as_float(number),
            I32 | I64 => self.as_int(number),
            F16 | BF16 => {
                let float = self.as_float(number);
                self.widened_from(float, to).unwrap_or_else(|| self.cast(F32, to, float))
            }
            E8M0 => {
                let code = self.power_code(number);
                self.byte(code)
            }
            DType::Bool => {
                let mask = match self.converted(number, DType::Bool, chip) {
                    Number::Truth(mask) => mask,
                    Number::Float(_) | Number::Int(_) => return self.as_int(number),
                };
                let int = self.as_int(Number::Truth(mask));
                self.byte(int)
            }
            I16 => {
                let int = self.clamped(number, I16);
                let float = self.cast(I32, F32, int);
                self.cast(F32, I16, float)
            }
            small if small.is_float() => match self.encoded(number, small, chip) {
                Encoded::Stored(reg) => reg,
                Encoded::Code(code, _) if small.bits() == 4 && chip.casts(F16, I4) => self.nibble(code),
                Encoded::Code(code, _) => self.byte(code),
            },
            int => {
                if let (Number::Int(reg), true) = (number, int != U4)
                    && let Some(half) = self.halves_of(reg)
                {
                    // This cast saturates.
                    return self.source_of(half, int).unwrap_or_else(|| self.cast(F16, int, half));
                }
                let clamped = self.clamped(number, int);
                match int {
                    U4 => self.nibble(clamped),
                    U8 => self.byte(clamped),
                    _ => {
                        let half = self.half(clamped);
                        self.cast(F16, int, half)
                    }
                }
            }
        }
    }

    /// The halves that integers were made of.
    fn halves_of(&self, int: Reg) -> Option<Reg> {
        match &self.value(int).what {
            What::Op { op: Op::Vcast, types: [Some(F16), Some(I32)], args, .. } => Some(args[0]),
            _ => None,
        }
    }

    /// The value of a narrow type that a float is a widened one of.
    fn widened_from(&self, float: Reg, narrow: DType) -> Option<Reg> {
        let is_cast = self.value(float).dtype == F32;
        self.source_of(float, narrow).filter(|_| is_cast)
    }

    /// What a value was cast from, if that is of a type.
    fn source_of(&self, reg: Reg, dtype: DType) -> Option<Reg> {
        match &self.value(reg).what {
            What::Op { op: Op::Vcast, types: [Some(from), _], args, .. } if *from == dtype => Some(args[0]),
            _ => None,
        }
    }

    /// Steps of a small float, which are integers.
    pub(crate) fn steps(&mut self, number: Number, format: Option<Minifloat>) -> Number {
        let (step, largest) = format.map_or((1.0, f32::MAX), |f| (f.step(), f.decode(f.largest_code())));
        let float = self.as_float(number);
        if largest / step > 2048.0 {
            let steps = self.with_number(Op::Vmuls, F32, float, 1.0 / step);
            return Number::Int(self.as_int(Number::Float(steps)));
        }
        // Halves hold them.
        let half = match self.widened_from(float, F16) {
            Some(half) => half,
            None => self.cast(F32, F16, float),
        };
        let steps = self.with_number(Op::Vmuls, F16, half, 1.0 / step);
        Number::Int(self.cast(F16, I32, steps))
    }

    /// Small integers as F16.
    fn half(&mut self, int: Reg) -> Reg {
        let float = self.cast(I32, F32, int);
        self.cast(F32, F16, float)
    }

    /// Integers from 0 to 255 as bytes.
    fn byte(&mut self, int: Reg) -> Reg {
        let half = self.half(int);
        self.cast(F16, U8, half)
    }

    /// Integers from 0 to 15 as 4 bits: the unit that writes those knows -8 to 7.
    fn nibble(&mut self, int: Reg) -> Reg {
        let high = self.shift(Op::Vshl, I32, int, 28);
        let signed = self.sar(high, 28);
        let half = self.half(signed);
        self.cast(F16, I4, half)
    }

    /// A number as an integer within a type.
    fn clamped(&mut self, number: Number, to: DType) -> Reg {
        let (low, high) = to.int_range().unwrap_or((i64::from(i32::MIN), i64::from(i32::MAX)));
        if to.bits() >= 32 {
            return self.as_int(number);
        }
        match number {
            Number::Float(reg) => {
                let least = self.with_number(Op::Vmins, F32, reg, high as f32);
                let bounded = self.with_number(Op::Vmaxs, F32, least, low as f32);
                self.cast(F32, I32, bounded)
            }
            _ => {
                let reg = self.as_int(number);
                let least = self.with_number(Op::Vmins, I32, reg, high as f32);
                self.with_number(Op::Vmaxs, I32, least, low as f32)
            }
        }
    }

    /// Bits of a code without a sign, as an integer.
    fn code(&mut self, reg: Reg, bits: u32) -> Reg {
        let half = match bits {
            8 => self.cast(U8, F16, reg),
            _ => {
                let less = self.less_eight(reg);
                let half = self.cast(I4, F16, less);
                self.with_number(Op::Vadds, F16, half, 8.0)
            }
        };
        self.cast(F16, I32, half)
    }

    /// Codes of 4 bits less 8, which have a sign then: their highest bit turned, four of them at a time.
    fn less_eight(&mut self, reg: Reg) -> Reg {
        let highest = self.word(0x8888);
        let (with, alone) = (self.words(Op::Vor, &[reg, highest]), self.words(Op::Vand, &[reg, highest]));
        self.words(Op::Vsub, &[with, alone])
    }

    /// Small integers less a number.
    pub(crate) fn less(&mut self, number: Number, by: i64) -> Number {
        let Number::Int(int) = number else { return number };
        if by == 0 {
            return number;
        }
        let Some(half) = self.halves_of(int) else {
            return Number::Int(self.with_number(Op::Vadds, I32, int, -by as f32));
        };
        // What was added before is not added at all.
        let less = match &self.value(half).what {
            What::Op { op: Op::Vadds, args, extra: Some(added), .. } if *added == i64::from((by as f32).to_bits()) => {
                args[0]
            }
            _ => self.with_number(Op::Vadds, F16, half, -by as f32),
        };
        Number::Int(self.cast(F16, I32, less))
    }

    /// A power of two by its biased exponent.
    fn power(&mut self, reg: Reg) -> Reg {
        let code = self.code(reg, 8);
        self.power_of(code)
    }

    fn power_of(&mut self, code: Reg) -> Reg {
        let bits = self.shl(code, 23);
        let (zero, least) = (self.int_number(0), self.int_number(1 << 22));
        let is_least = self.compare(Condition::Eq, I32, code, zero);
        let bits = self.choose(is_least, least, bits);
        let (nan_code, nan) = (self.int_number(255), self.int_number(0x7FC0_0000));
        let is_nan = self.compare(Condition::Eq, I32, code, nan_code);
        self.choose(is_nan, nan, bits)
    }

    /// The biased exponent of the nearest power of two, as `e8m0_code` has it.
    fn power_code(&mut self, number: Number) -> Reg {
        let float = self.as_float(number);
        let magnitude_mask = self.int_number(0x7FFF_FFFF);
        let magnitude = self.and(float, magnitude_mask);
        let half = self.int_number(0x40_0000);
        let rounded = self.iadd(magnitude, half);
        let code = self.sar(rounded, 23);
        let code = self.with_number(Op::Vmins, I32, code, 254.0);
        let (subnormal, zero) = (self.int_number(0x60_0000), self.int_number(0));
        let is_least = self.compare(Condition::Lt, I32, magnitude, subnormal);
        let code = self.choose(is_least, zero, code);
        let (nan, none) = (self.int_number(255), self.number(0.0));
        let is_number = self.compare(Condition::Ge, F32, float, none);
        self.choose(is_number, code, nan)
    }

    /// A small float as it is stored: its bits where those of F16 are, its exponent put right by a product.
    fn decoded(&mut self, reg: Reg, format: Minifloat, bits: u32) -> Reg {
        let own = format.exp_bits + format.man_bits + 1;
        // Its sign is that of the code, if the code is as wide.
        let half = match (bits, bits == own) {
            (4, _) => self.cast(I4, F16, reg),
            (_, true) => self.cast(I8, F16, reg),
            _ => {
                let code = self.code(reg, bits);
                return self.decoded_code(code, format);
            }
        };
        let word = self.cast(F16, I16, half);
        let moved = self.shift(Op::Vshl, I16, word, 10 - format.man_bits as u8);
        // The sign's copies beside it are no part of the exponent.
        let kept = !(0x7FFF_u16 & (0xFFFF_u16 << (10 + format.exp_bits)));
        let mask = self.word(kept);
        let value = if kept == 0xFFFF { moved } else { self.binary(Op::Vand, I16, moved, mask) };
        let value = match 15 - format.bias {
            0 => value,
            more => self.with_number(Op::Vmuls, F16, value, power_of_two(more)),
        };
        // Infinities are where those of F16 are, if there are any.
        let value = match format.specials {
            Specials::None | Specials::Ieee => value,
            _ => {
                let magnitude = self.unary(Op::Vabs, F16, value);
                let largest = self.half_number(format.decode(format.largest_code()));
                let is_nan = self.compare(Condition::Gt, F16, magnitude, largest);
                let nan = self.word(0x7E00);
                self.choose(is_nan, nan, value)
            }
        };
        self.cast(F16, F32, value)
    }

    /// A small float by its code: its bits where those of F32 are, its exponent put right by a product.
    fn decoded_code(&mut self, code: Reg, format: Minifloat) -> Reg {
        let mask = self.int_number(i32::from(format.magnitude_mask()));
        let magnitude = self.and(code, mask);
        let bits = self.shl(magnitude, (23 - format.man_bits) as u8);
        let mut value = self.with_number(Op::Vmuls, F32, bits, power_of_two(127 - format.bias));
        if format.specials != Specials::None {
            let largest = self.int_number(i32::from(format.largest_code()));
            let nan = self.int_number(0x7FC0_0000);
            let is_nan = self.compare(Condition::Gt, I32, magnitude, largest);
            value = self.choose(is_nan, nan, value);
        }
        if format.specials == Specials::Ieee {
            let first = self.int_number(i32::from(format.largest_code()) + 1);
            let infinity = self.int_number(0x7F80_0000);
            let is_infinite = self.compare(Condition::Eq, I32, magnitude, first);
            value = self.choose(is_infinite, infinity, value);
        }
        let sign = self.sar(code, (format.exp_bits + format.man_bits) as u8);
        let sign = self.shl(sign, 31);
        self.or(value, sign)
    }

    /// The nearest small float, saturated; NaN is its code, or 0 where there is none.
    fn encoded(&mut self, number: Number, to: DType, chip: &Chip) -> Encoded {
        let float = self.as_float(number);
        let Some(format) = to.minifloat() else { return Encoded::Stored(float) };
        let largest = format.decode(format.largest_code());
        let bounded = self.with_number(Op::Vmins, F32, float, largest);
        let bounded = self.with_number(Op::Vmaxs, F32, bounded, -largest);
        if chip.casts(F32, to) {
            return Encoded::Stored(self.cast(F32, to, bounded));
        }
        let magnitude = self.unary(Op::Vabs, F32, bounded);
        let nearest = self.nearest_bounded(magnitude, format);
        let scaled = self.with_number(Op::Vmuls, F32, nearest, power_of_two(format.bias - 127));
        let code = self.sar(scaled, (23 - format.man_bits) as u8);
        let sign = self.sar(float, 31);
        let sign_mask = self.int_number(1 << (format.exp_bits + format.man_bits));
        let sign = self.and(sign, sign_mask);
        let code = self.or(code, sign);
        let nan_code = if format.specials == Specials::None { 0 } else { format.magnitude_mask() };
        let nan = self.int_number(i32::from(nan_code));
        let is_number = self.eq(float, float);
        Encoded::Code(self.choose(is_number, code, nan), format)
    }
}

impl Code {
    /// The value of a small float nearest to each element, saturated.
    pub(crate) fn nearest(&mut self, x: Reg, format: Minifloat) -> Reg {
        let largest = format.decode(format.largest_code());
        let bounded = self.with_number(Op::Vmins, F32, x, largest);
        let bounded = self.with_number(Op::Vmaxs, F32, bounded, -largest);
        self.nearest_bounded(bounded, format)
    }

    /// The same of elements that the format reaches.
    fn nearest_bounded(&mut self, x: Reg, format: Minifloat) -> Reg {
        // The distance of neighbours: that of the smallest normal numbers at least.
        let exponent_mask = self.int_number(0x7F80_0000);
        let exponent = self.and(x, exponent_mask);
        let least = power_of_two(1 - format.bias);
        let power = self.with_number(Op::Vmaxs, F32, exponent, least);
        let step = self.with_number(Op::Vmuls, F32, power, power_of_two(-(format.man_bits as i32)));
        let steps = self.div(x, step);
        let steps = self.cast(F32, I32, steps);
        let steps = self.cast(I32, F32, steps);
        self.mul(steps, step)
    }
}

/// A small float.
enum Encoded {
    /// As the chip casts it.
    Stored(Reg),
    /// Its code as an integer.
    Code(Reg, Minifloat),
}

/// 2^e as F32, subnormal where it has to be.
fn power_of_two(e: i32) -> f32 {
    2f64.powi(e) as f32
}
