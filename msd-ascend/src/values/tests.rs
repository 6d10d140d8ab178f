//! Every instruction against a second definition: loops over rows and columns with the layouts of the
//! documentation written out anew, bit by bit, and arithmetic that is exact before it is rounded once. Memories
//! start full of noise, and all of them are compared as a whole, so that a byte too many written shows as well
//! as a wrong one.
//!
//! Owns what the tests share: memories, bits, numbers and their rounding.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod movement;
mod product;
mod vector;

use half::{bf16, f16};
use microfloat::{f4e2m1fn, f8e4m3fn, f8e5m2};
use msd_ir::dtype::DType;
use proptest::prelude::*;

use super::{Fault, Local, View};
use crate::chip::Layout;
use crate::isa::memory::{Place, Space};
use crate::isa::{Issue, MAX_INTS, MAX_PLACES, Op};

const FACTORS: [DType; 8] =
    [DType::F16, DType::BF16, DType::I8, DType::I4, DType::E4M3, DType::E5M2, DType::E2M1, DType::E1M2];

/// A memory of each kind, and one tensor in GM.
#[derive(Clone)]
struct Memory {
    local: Local,
    gm: Vec<Vec<u8>>,
    l0a: Layout,
}

impl Memory {
    fn noise(seed: u64, l0a: Layout) -> Memory {
        let mut state = seed | 1;
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        let mut local = Local::new(|_| 1 << 15);
        local.memories.iter_mut().flatten().for_each(|b| *b = byte());
        Memory { local, gm: vec![(0..1 << 15).map(|_| byte()).collect()], l0a }
    }

    fn bytes(&self, space: Space) -> &Vec<u8> {
        if space == Space::Gm { &self.gm[0] } else { &self.local.memories[space as usize] }
    }

    fn bytes_mut(&mut self, space: Space) -> &mut Vec<u8> {
        if space == Space::Gm { &mut self.gm[0] } else { &mut self.local.memories[space as usize] }
    }

    /// An element, as the bits it has.
    fn code(&self, dtype: DType, space: Space, bit: i64) -> u32 {
        (0..i64::from(dtype.bits())).map(|b| self.bit(space, bit + b) << b).sum()
    }

    fn bit(&self, space: Space, bit: i64) -> u32 {
        u32::from(self.bytes(space)[(bit / 8) as usize] >> (bit % 8) & 1)
    }

    fn set_code(&mut self, dtype: DType, space: Space, bit: i64, code: u32) {
        for b in 0..i64::from(dtype.bits()) {
            self.set_bit(space, bit + b, code >> b & 1);
        }
    }

    fn set_bit(&mut self, space: Space, bit: i64, value: u32) {
        let byte = &mut self.bytes_mut(space)[(bit / 8) as usize];
        *byte = *byte & !(1 << (bit % 8)) | (value as u8) << (bit % 8);
    }

    fn value(&self, dtype: DType, space: Space, bit: i64) -> f64 {
        decode(dtype, self.code(dtype, space, bit))
    }

    /// Expects a number; which NaN does not matter.
    fn expect(&mut self, actual: &Memory, dtype: DType, space: Space, bit: i64, value: f64) {
        let found = actual.code(dtype, space, bit);
        let code = if value.is_nan() && decode(dtype, found).is_nan() { found } else { encode(dtype, value) };
        self.set_code(dtype, space, bit, code);
    }

    /// After an instruction.
    fn after(&self, issue: &Issue) -> Result<Memory, Fault> {
        let mut memory = self.clone();
        let mut view = View { local: &mut memory.local, gm: &mut memory.gm, l0a: memory.l0a };
        (issue.op.spec().run)(issue, &mut view)?;
        Ok(memory)
    }

    fn same_as(&self, expected: &Memory) -> Result<(), TestCaseError> {
        for space in Space::ALL {
            let mut pairs = self.bytes(space).iter().zip(expected.bytes(space));
            if let Some(at) = pairs.position(|(a, b)| a != b) {
                let (found, right) = (self.bytes(space)[at], expected.bytes(space)[at]);
                return Err(TestCaseError::fail(format!("{} byte {at}: {found:#x}, not {right:#x}", space.name())));
            }
        }
        Ok(())
    }
}

fn place(space: Space, offset: i64) -> Place {
    Place { space, tensor: 0, offset, row: None, block: 32 }
}

fn issue(op: Op, types: [Option<DType>; 2], operands: &[Place], numbers: &[i64]) -> Issue {
    let mut places = [place(Space::Ub, 0); MAX_PLACES];
    places[..operands.len()].copy_from_slice(operands);
    let mut ints = [0; MAX_INTS];
    ints[..numbers.len()].copy_from_slice(numbers);
    Issue { op, types, places, ints }
}

fn up(n: i64, multiple: i64) -> i64 {
    (n + multiple - 1) / multiple * multiple
}

fn width(dtype: DType) -> i64 {
    i64::from(dtype.bits())
}

/// Elements in 32 bytes.
fn c(dtype: DType) -> i64 {
    256 / width(dtype)
}

/// Bit of element `(i, j)` of an NZ matrix.
fn nz(dtype: DType, height: i64, i: i64, j: i64) -> i64 {
    (j / c(dtype) * height * 32 + i * 32) * 8 + j % c(dtype) * width(dtype)
}

/// Bit of element `(i, j)` of an operand in L0A of so many rows and columns.
fn l0a(layout: Layout, dtype: DType, (m, k): (i64, i64), i: i64, j: i64) -> i64 {
    let (down, across) = (up(m, 16) / 16, up(k, c(dtype)) / c(dtype));
    let fractal = match layout {
        Layout::Zz => i / 16 * across + j / c(dtype),
        Layout::Nz => j / c(dtype) * down + i / 16,
    };
    (fractal * 512 + i % 16 * 32) * 8 + j % c(dtype) * width(dtype)
}

/// Bit of element `(i, j)` of an operand in L0B with `n` columns: `i` along the contraction.
fn l0b(dtype: DType, n: i64, i: i64, j: i64) -> i64 {
    let fractal = i / c(dtype) * (up(n, 16) / 16) + j / 16;
    (fractal * 512 + j % 16 * 32) * 8 + i % c(dtype) * width(dtype)
}

/// Bit of an accumulator of a product with `m` rows.
fn l0c(m: i64, i: i64, j: i64) -> i64 {
    ((j / 16 * up(m, 16) + i) * 64 + j % 16 * 4) * 8
}

/// The exact value of an element.
fn decode(dtype: DType, code: u32) -> f64 {
    let signed = |bits: u32| f64::from((code << (32 - bits)) as i32 >> (32 - bits));
    match dtype {
        DType::F32 => f64::from(f32::from_bits(code)),
        DType::F16 => f16::from_bits(code as u16).to_f64(),
        DType::BF16 => bf16::from_bits(code as u16).to_f64(),
        DType::E4M3 => f64::from(f8e4m3fn::from_bits(code as u8).to_f32()),
        DType::E5M2 => f64::from(f8e5m2::from_bits(code as u8).to_f32()),
        DType::E2M1 => f64::from(f4e2m1fn::from_bits(code as u8).to_f32()),
        DType::E1M2 if code & 8 != 0 => -decode(dtype, code & 7),
        DType::E1M2 => f64::from(code) / 4.0,
        DType::E8M0 if code == 255 => f64::NAN,
        DType::E8M0 => (f64::from(code) - 127.0).exp2(),
        DType::U8 | DType::U4 => f64::from(code),
        _ => signed(dtype.bits()),
    }
}

/// The nearest element, ties to even; integers and small floats saturate.
fn encode(dtype: DType, value: f64) -> u32 {
    let integer = |low: f64, high: f64| value.round_ties_even().clamp(low, high) as i64 as u32;
    match dtype {
        DType::F32 => (value as f32).to_bits(),
        DType::F16 => f16::from_f64(nearest(value, 11, -14, 65504.0)).to_bits().into(),
        DType::BF16 => bf16::from_f64(nearest(value, 8, -126, f64::from(bf16::MAX))).to_bits().into(),
        DType::E4M3 | DType::E5M2 | DType::E2M1 | DType::E1M2 => small_code(dtype, value),
        DType::I32 => integer(-2f64.powi(31), 2f64.powi(31) - 1.0),
        DType::I16 => integer(-32768.0, 32767.0),
        DType::I8 => integer(-128.0, 127.0),
        DType::U8 => integer(0.0, 255.0),
        DType::I4 => integer(-8.0, 7.0) & 15,
        DType::U4 => integer(0.0, 15.0),
        _ => panic!("{} is not encoded", dtype.name()),
    }
}

/// `value` rounded to so many bits, with exponents from `least` on, and to infinity beyond `most`.
fn nearest(value: f64, bits: i32, least: i32, most: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    // F64's own exponent is exact where a logarithm is not; subnormals are far below `least`.
    let exponent = (value.to_bits() >> 52 & 0x7FF) as i32 - 1023;
    let unit = 2f64.powi(exponent.max(least) - bits + 1);
    let rounded = (value / unit).round_ties_even() * unit;
    if rounded.abs() > most { f64::INFINITY.copysign(value) } else { rounded }
}

/// Of all finite codes the one whose value is nearest, of two the even one.
fn small_code(dtype: DType, value: f64) -> u32 {
    let sign = 1 << (dtype.bits() - 1);
    if value.is_nan() {
        return if dtype.bits() == 4 { 0 } else { 0x7F };
    }
    let codes = (0..sign).filter(|code| decode(dtype, *code).is_finite());
    let largest = codes.clone().map(|code| decode(dtype, code)).fold(0.0, f64::max);
    let target = value.abs().min(largest);
    let distance = |code: u32| (decode(dtype, code) - target).abs();
    let near = codes.min_by(|a, b| distance(*a).total_cmp(&distance(*b)).then((a & 1).cmp(&(b & 1))));
    near.unwrap() | if value.is_sign_negative() { sign } else { 0 }
}

#[test]
fn rounding_of_the_tests_is_that_of_half() {
    for bits in 0..=u16::MAX {
        let (f, b) = (f16::from_bits(bits).to_f64(), bf16::from_bits(bits).to_f64());
        if !f.is_nan() {
            assert_eq!(encode(DType::F16, f), u32::from(bits));
        }
        if !b.is_nan() {
            assert_eq!(encode(DType::BF16, b), u32::from(bits));
        }
        let single = f32::from_bits(u32::from(bits) << 16 | 0x8000);
        if !single.is_nan() {
            assert_eq!(encode(DType::F16, single.into()), u32::from(f16::from_f32(single).to_bits()));
            assert_eq!(encode(DType::BF16, single.into()), u32::from(bf16::from_f32(single).to_bits()));
        }
    }
}
