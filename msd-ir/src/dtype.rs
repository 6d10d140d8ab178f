//! Element types: one table of names, widths and classes, and the exact value of every code.

use half::{bf16, f16};

/// What the bits of an element mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// IEEE-like float with the given exponent and mantissa widths.
    Float,
    /// Two's complement or unsigned integer.
    Int,
    /// Truth value.
    Bool,
}

macro_rules! dtypes {
    ($($variant:ident $name:literal $bits:literal $class:ident $doc:literal;)*) => {
        /// Element type of a tensor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DType { $(#[doc = $doc] $variant,)* }

        impl DType {
            /// Every element type.
            pub const ALL: &'static [DType] = &[$(DType::$variant,)*];

            /// Name in `.msd` text.
            pub fn name(self) -> &'static str {
                match self { $(DType::$variant => $name,)* }
            }

            /// Bits as stored by formats that pack.
            pub fn bits(self) -> u32 {
                match self { $(DType::$variant => $bits,)* }
            }

            /// Float, integer or truth value.
            pub fn class(self) -> Class {
                match self { $(DType::$variant => Class::$class,)* }
            }
        }
    };
}

dtypes! {
    F32  "f32"  32 Float "IEEE binary32";
    F16  "f16"  16 Float "IEEE binary16";
    BF16 "bf16" 16 Float "upper half of a binary32";
    I32  "i32"  32 Int   "32-bit signed";
    I8   "i8"   8  Int   "8-bit signed";
    U8   "u8"   8  Int   "8-bit unsigned";
    I4   "i4"   4  Int   "4-bit signed";
    U4   "u4"   4  Int   "4-bit unsigned";
    Bool "bool" 8  Bool  "truth value";
    E4M3 "e4m3" 8  Float "FP8 with 4 exponent bits, no infinities (OCP)";
    E5M2 "e5m2" 8  Float "FP8 with 5 exponent bits (OCP)";
    E2M1 "e2m1" 4  Float "FP4 {0, .5, 1, 1.5, 2, 3, 4, 6} (OCP)";
    E1M2 "e1m2" 4  Float "FP4 {0, .25, ..., 1.75}";
    E8M0 "e8m0" 8  Float "power of two, bias 127, 0xFF is NaN (OCP)";
    I16  "i16"  16 Int   "digit of 16 bits; only in rewritten graphs";
    I64  "i64"  64 Int   "exact accumulator; only in rewritten graphs";
    F64  "f64"  64 Float "scale with an extended exponent; only in rewritten graphs";
}

impl DType {
    /// The type of that name, accumulators included.
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.iter().copied().find(|d| d.name() == name)
    }

    /// Whether a parameter or result may have this type. Accumulators live inside graphs only.
    pub fn is_declarable(self) -> bool {
        !matches!(self, DType::I16 | DType::I64 | DType::F64)
    }

    /// Whether it is a float.
    pub fn is_float(self) -> bool {
        self.class() == Class::Float
    }

    /// Whether it is an integer.
    pub fn is_int(self) -> bool {
        self.class() == Class::Int
    }

    /// Bytes of one element in a [`crate::tensor::Tensor`], where 4-bit types take a byte each.
    pub fn host_bytes(self) -> usize {
        (self.bits() as usize).div_ceil(8)
    }

    /// Smallest and largest value of an integer type.
    pub fn int_range(self) -> Option<(i64, i64)> {
        match self {
            DType::I64 => Some((i64::MIN, i64::MAX)),
            DType::I32 => Some((i32::MIN as i64, i32::MAX as i64)),
            DType::I16 => Some((i16::MIN as i64, i16::MAX as i64)),
            DType::I8 => Some((-128, 127)),
            DType::U8 => Some((0, 255)),
            DType::I4 => Some((-8, 7)),
            DType::U4 => Some((0, 15)),
            _ => None,
        }
    }

    /// Smallest and largest stored code of an integer, `bool` or a float of 8 bits or fewer.
    pub fn code_range(self) -> Option<(i64, i64)> {
        match (self.class(), self.bits()) {
            (Class::Int, _) => self.int_range(),
            (Class::Bool, _) => Some((0, 1)),
            (Class::Float, bits) => (bits <= 8).then(|| (0, (1 << bits) - 1)),
        }
    }

    /// Layout of a float of 8 bits or fewer that has a mantissa.
    pub fn minifloat(self) -> Option<Minifloat> {
        match self {
            DType::E4M3 => Some(Minifloat::E4M3),
            DType::E5M2 => Some(Minifloat::E5M2),
            DType::E2M1 => Some(Minifloat::E2M1),
            DType::E1M2 => Some(Minifloat::E1M2),
            _ => None,
        }
    }
}

/// Which codes of a small float are not numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specials {
    /// None: every code is finite.
    None,
    /// The all-ones code is NaN, nothing is infinite.
    NanOnly,
    /// The largest exponent holds infinity and NaN.
    Ieee,
}

/// A float of 8 bits or fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Minifloat {
    /// Exponent bits.
    pub exp_bits: u32,
    /// Mantissa bits.
    pub man_bits: u32,
    /// Exponent bias.
    pub bias: i32,
    /// Codes that are not numbers.
    pub specials: Specials,
}

impl Minifloat {
    /// FP8 with 4 exponent bits.
    pub const E4M3: Minifloat = Minifloat { exp_bits: 4, man_bits: 3, bias: 7, specials: Specials::NanOnly };
    /// FP8 with 5 exponent bits.
    pub const E5M2: Minifloat = Minifloat { exp_bits: 5, man_bits: 2, bias: 15, specials: Specials::Ieee };
    /// FP4 with 2 exponent bits.
    pub const E2M1: Minifloat = Minifloat { exp_bits: 2, man_bits: 1, bias: 1, specials: Specials::None };
    /// FP4 with 1 exponent bit.
    pub const E1M2: Minifloat = Minifloat { exp_bits: 1, man_bits: 2, bias: 1, specials: Specials::None };

    /// The bits of a code but its sign.
    pub fn magnitude_mask(self) -> u8 {
        ((1u32 << (self.exp_bits + self.man_bits)) - 1) as u8
    }

    /// Largest finite code without its sign.
    pub fn largest_code(self) -> u8 {
        let mask = self.magnitude_mask();
        match self.specials {
            Specials::None => mask,
            Specials::NanOnly => mask - 1,
            Specials::Ieee => mask - (1 << self.man_bits),
        }
    }

    /// The smallest positive value. All others are multiples of it.
    pub fn step(self) -> f32 {
        self.decode(1)
    }

    /// The exact value of a code.
    pub fn decode(self, code: u8) -> f32 {
        let negative = code >> (self.exp_bits + self.man_bits) & 1 == 1;
        let magnitude = code & self.magnitude_mask();
        let mantissa = (magnitude & ((1 << self.man_bits) - 1)) as i32;
        let exponent = (magnitude >> self.man_bits) as i32;
        let value = if magnitude > self.largest_code() {
            if self.specials == Specials::Ieee && mantissa == 0 { f32::INFINITY } else { f32::NAN }
        } else if exponent == 0 {
            mantissa as f32 * exp2i(1 - self.bias - self.man_bits as i32)
        } else {
            (mantissa + (1 << self.man_bits)) as f32 * exp2i(exponent - self.bias - self.man_bits as i32)
        };
        if negative { -value } else { value }
    }

    /// The nearest code, ties to even, saturating at the largest finite value. NaN becomes the
    /// NaN code, or zero where the format has none.
    pub fn encode(self, value: f32) -> u8 {
        let sign = if value.is_sign_negative() { 1u8 << (self.exp_bits + self.man_bits) } else { 0 };
        if value.is_nan() {
            return match self.specials {
                Specials::None => 0,
                _ => self.magnitude_mask(),
            };
        }
        let target = value.abs();
        let (mut low, mut high) = (0u8, self.largest_code());
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.decode(middle) <= target { low = middle } else { high = middle - 1 }
        }
        if low < self.largest_code() {
            let below = target as f64 - self.decode(low) as f64;
            let above = self.decode(low + 1) as f64 - target as f64;
            if above < below || (above == below && low & 1 == 1) {
                low += 1;
            }
        }
        low | sign
    }

    /// The code of a value this format has: as [`Minifloat::encode`], but infinity stays infinity
    /// where the format has one.
    pub fn exact_code(self, value: f32) -> u8 {
        if self.specials != Specials::Ieee || !value.is_infinite() {
            return self.encode(value);
        }
        let sign = if value < 0.0 { 1u8 << (self.exp_bits + self.man_bits) } else { 0 };
        (((1 << self.exp_bits) - 1) << self.man_bits) | sign
    }
}

/// 2^e for exponents of normal F32 numbers.
fn exp2i(e: i32) -> f32 {
    f32::from_bits(((e + 127) as u32) << 23)
}

/// The value of an `e8m0` code: 2^(code - 127), exact (code 0 is subnormal in F32); 0xFF is NaN.
pub fn e8m0_value(code: u8) -> f32 {
    match code {
        0xFF => f32::NAN,
        0 => f32::from_bits(1 << 22),
        _ => f32::from_bits((code as u32) << 23),
    }
}

/// The power of two nearest to `value` (ties up) as an `e8m0` code, clamped to the format's range;
/// negative values and NaN become the NaN code.
pub fn e8m0_code(value: f32) -> u8 {
    if value.is_nan() || value < 0.0 {
        return 0xFF;
    }
    // The format's exponent is F32's; adding half a mantissa rounds at 1.5 times a power. Code 0
    // is subnormal in F32 and lies half a binade lower than that.
    let bits = value.to_bits() & 0x7FFF_FFFF;
    if bits < 0x60_0000 { 0 } else { ((bits + 0x40_0000) >> 23).min(254) as u8 }
}

/// Rounds an F32 to BF16, ties to even; NaN becomes the canonical quiet NaN.
pub fn f32_to_bf16(value: f32) -> u16 {
    if value.is_nan() { 0x7FC0 } else { bf16::from_f32(value).to_bits() }
}

/// Rounds an F32 to F16, ties to even; NaN becomes the canonical quiet NaN.
pub fn f32_to_f16(value: f32) -> u16 {
    if value.is_nan() { 0x7E00 } else { f16::from_f32(value).to_bits() }
}

/// The exact value of a BF16.
pub fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

/// The exact value of an F16.
pub fn f16_to_f32(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

#[cfg(test)]
mod tests;
