//! Decomposition schemes of the activations (docs/numerics.md): one table of names, digit
//! weights and certified bounds. How a row becomes digits is [`super::decompose`].

use std::fmt;
use std::str::FromStr;

use crate::diag::{Code, Diagnostic};
use crate::dtype::{DType, Minifloat};

/// How the integer behind the digits is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Each digit rounds what the digits before it left over. Computed in F64.
    Greedy {
        /// `Mx` is mapped to this multiple of the first digit's unit, in hundredths.
        largest_hundredths: u32,
    },
    /// One integer `n = rne(x/g)`, split exactly into digits; `g` is a power of two.
    Pow2 {
        /// Largest magnitude of `n`.
        largest: u32,
    },
    /// The same with `g = Mx / largest`.
    Radix {
        /// Largest magnitude of `n`.
        largest: u32,
    },
    /// Each digit is a small float, the one nearest to what the digits before it left over. Scales
    /// are powers of two, and all arithmetic is exact.
    Minifloat {
        /// The type of the digits.
        format: Minifloat,
        /// `Mx` is mapped to at most this many of the first digit's unit, in 1/128. What lies beyond
        /// the format's largest value saturates.
        limit_128ths: u32,
        /// Elements that share a unit, where that is not the whole row.
        block: Option<u64>,
    },
}

/// Elements of a row that share a unit in the MX formats (OCP Microscaling Formats 1.0, section 5).
const MX_BLOCK: Option<u64> = Some(32);

macro_rules! schemes {
    ($($variant:ident $name:literal $digit:ident $family:expr, $weights:expr, $bound:expr, $doc:literal;)*) => {
        /// A way to split activations into digits.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Scheme { $(#[doc = $doc] $variant,)* }

        impl Scheme {
            /// Every scheme.
            pub const ALL: &'static [Scheme] = &[$(Scheme::$variant,)*];

            /// The exact name of `--scheme` and `#[scheme(...)]`.
            pub fn name(self) -> &'static str {
                match self { $(Scheme::$variant => $name,)* }
            }

            /// How its digits are found.
            pub fn family(self) -> Family {
                match self { $(Scheme::$variant => $family,)* }
            }

            /// Element type of the digits. Signed integers are balanced, in [-128, 127] or [-8, 7];
            /// floats of 4 bits count as integers, in steps of their type (see `msd.steps`).
            pub fn digit_dtype(self) -> DType {
                match self { $(Scheme::$variant => DType::$digit,)* }
            }

            /// Integer weight of each digit: the number behind a value is `sum_d weight_d * digit_d`.
            pub fn weights(self) -> &'static [i64] {
                match self { $(Scheme::$variant => $weights,)* }
            }

            /// What it does, in a line.
            pub fn describe(self) -> &'static str {
                match self { $(Scheme::$variant => $doc,)* }
            }

            /// Worst-case error of one element over the largest magnitude `Mx` of its row, F32
            /// arithmetic included.
            pub fn bound(self) -> f64 {
                match self { $(Scheme::$variant => $bound,)* }
            }
        }
    };
}

/// Slack of the bounds whose arithmetic is F64: units, products and the final sum are each rounded
/// at most 2^-53 of Mx, together under 4 * 2^-53 Mx, while the smallest bound is 2^-24 Mx.
const F64_SLACK: f64 = 1.0 + 1.0 / (1u64 << 26) as f64;

/// Bound of a unit of `Mx / largest`: half a unit, and what three F32 roundings (1/Mx, the product,
/// the unit itself) of an integer up to `largest` shift it by.
const fn radix_bound(largest: u32) -> f64 {
    let shift = 3.001 * largest as f64 / (1u64 << 24) as f64;
    (0.5 + shift) / largest as f64
}

schemes! {
    Int8x1 "int8x1" I8 Family::Greedy { largest_hundredths: 12700 }, &[1], F64_SLACK / 254.0,
        "one digit, g = Mx/127";
    Int8x2Greedy "int8x2-greedy" I8 Family::Greedy { largest_hundredths: 12700 }, &[254, 1], F64_SLACK / 64516.0,
        "paper, Algorithm 2: a = Mx/127, b = a/254";
    Int8x2Fractional "int8x2-fractional" I8 Family::Greedy { largest_hundredths: 12749 }, &[12749, 50],
        F64_SLACK / 65014.8, "paper, 3.3: a = Mx/127.49, b = a/254.98";
    Int8x3Greedy "int8x3-greedy" I8 Family::Greedy { largest_hundredths: 12700 }, &[64516, 254, 1],
        F64_SLACK / 16387064.0, "paper, 3.4: each next scale is the previous / 254";
    Int8x2Pow2 "int8x2-pow2" I8 Family::Pow2 { largest: 32639 }, &[256, 1], 1.0 / 32639.0,
        "one 16-bit integer with a power-of-two unit; exact for BF16 elements of magnitude >= Mx/127";
    Int8x2Radix "int8x2-radix" I8 Family::Radix { largest: 32639 }, &[256, 1], radix_bound(32639),
        "one 16-bit integer with unit Mx/32639";
    Int8x3Pow2 "int8x3-pow2" I8 Family::Pow2 { largest: 8355711 }, &[65536, 256, 1], 1.0 / 8355711.0,
        "one 24-bit integer with a power-of-two unit; exact for BF16 elements of magnitude >= Mx/32000";
    Uint8x2 "uint8x2" U8 Family::Radix { largest: 65535 }, &[256, 1], radix_bound(65535),
        "one unsigned 16-bit integer with unit Mx/65535, for operands that are never negative";
    Int4x3Radix "int4x3-radix" I4 Family::Radix { largest: 1911 }, &[256, 16, 1], radix_bound(1911),
        "one 12-bit integer with unit Mx/1911, in digits of 4 bits";
    Int4x4Radix "int4x4-radix" I4 Family::Radix { largest: 30583 }, &[4096, 256, 16, 1], radix_bound(30583),
        "one 16-bit integer with unit Mx/30583, in digits of 4 bits";
    Int16Pow2 "int16-pow2" I16 Family::Pow2 { largest: 32639 }, &[1], 1.0 / 32639.0,
        "the integer of int8x2-pow2 in one digit: the same results";
    Int16Radix "int16-radix" I16 Family::Radix { largest: 32639 }, &[1], radix_bound(32639),
        "the integer of int8x2-radix in one digit: the same results";
    Mxfp4x1 "mxfp4x1" I8 small_float(Minifloat::E1M2, 238, MX_BLOCK), &[1], 1.0 / 7.4375,
        "the first digit of mxfp4x2 alone";
    Mxfp4x2 "mxfp4x2" I8 small_float(Minifloat::E1M2, 238, MX_BLOCK), &[16, 1], 1.0 / 59.5,
        "paper, Algorithm 1: FP4 E1M2 in blocks of 32, a = 2^ceil(log2(Mb/1.859375)), b = a/16";
    Mxfp4x2V1 "mxfp4x2-v1" I8 small_float(Minifloat::E1M2, 224, MX_BLOCK), &[8, 1], 1.0 / 56.0,
        "paper, table 1, v1: a = 2^ceil(log2(Mb/1.75)), b = a/8";
    Mxfp4x2V2 "mxfp4x2-v2" I8 small_float(Minifloat::E1M2, 224, MX_BLOCK), &[16, 1], 1.0 / 56.0,
        "paper, table 1, v2: a = 2^ceil(log2(Mb/1.75)), b = a/16";
    Mxfp4x2E2m1 "mxfp4x2-e2m1" I8 small_float(Minifloat::E2M1, 576, MX_BLOCK), &[8, 1], 1.0 / 36.0,
        "OCP FP4 E2M1 in blocks of 32, a = 2^ceil(log2(Mb/4.5)), b = a/8";
    Fp8x1 "fp8x1" E4M3 small_float(Minifloat::E4M3, 448 * 128, None), &[1], 1.0 / 16.0,
        "one FP8 E4M3 digit, a = 2^ceil(log2(Mx/448))";
    Fp8x2 "fp8x2" E4M3 small_float(Minifloat::E4M3, 448 * 128, None), &[16, 1], 1.0 / 512.0,
        "two FP8 E4M3 digits, b = a/16; exact for BF16 elements of magnitude >= Mx/14336";
    Mxfp8x1 "mxfp8x1" E4M3 small_float(Minifloat::E4M3, 448 * 128, MX_BLOCK), &[1], 1.0 / 16.0,
        "one FP8 E4M3 digit in blocks of 32, none of which clips";
}

const fn small_float(format: Minifloat, limit_128ths: u32, block: Option<u64>) -> Family {
    Family::Minifloat { format, limit_128ths, block }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scheme {
    type Err = Diagnostic;

    fn from_str(name: &str) -> Result<Scheme, Diagnostic> {
        Scheme::from_name(name).ok_or_else(|| {
            let names: Vec<&str> = Scheme::ALL.iter().map(|s| s.name()).collect();
            let fault = Diagnostic::new(Code::UnknownScheme, format!("there is no scheme `{name}`"));
            fault.help(format!("schemes are {}", names.join(", ")))
        })
    }
}

impl Scheme {
    /// The scheme of that name.
    pub fn from_name(name: &str) -> Option<Scheme> {
        Scheme::ALL.iter().copied().find(|s| s.name() == name)
    }

    /// The scheme with the same integers in one digit of 16 bits, for targets that multiply those
    /// as fast as bytes.
    pub fn recombined(self) -> Option<Scheme> {
        match self {
            Scheme::Int8x2Pow2 => Some(Scheme::Int16Pow2),
            Scheme::Int8x2Radix => Some(Scheme::Int16Radix),
            _ => None,
        }
    }

    /// Elements of the contraction that have a unit of their own whatever is asked for.
    pub fn block(self) -> Option<u64> {
        match self.family() {
            Family::Minifloat { block, .. } => block,
            Family::Greedy { .. } | Family::Pow2 { .. } | Family::Radix { .. } => None,
        }
    }

    /// Whether units are powers of two.
    pub fn has_power_units(self) -> bool {
        matches!(self.family(), Family::Pow2 { .. } | Family::Minifloat { .. })
    }

    /// Whether its digits stand for numbers that are never negative only.
    pub fn is_unsigned(self) -> bool {
        self.digit_dtype() == DType::U8
    }
}
