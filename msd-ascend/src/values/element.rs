//! Elements as numbers: what the bytes of a type mean, and which bytes a number becomes. Owns rounding and
//! saturation of every type; floats are computed with as F32, integers as I32, which hold every value of
//! the types that a program can name.

use super::Fault;
use std::sync::LazyLock;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use msd_ir::dtype::{DType, e8m0_code, e8m0_value, f32_to_bf16};

/// How a float becomes an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Round {
    /// To the nearest, ties to even.
    Rint,
    /// Down.
    Floor,
    /// Up.
    Ceil,
    /// Towards zero.
    Trunc,
}

impl Round {
    /// In the order of the words that name them.
    pub(crate) fn of(word: i64) -> Round {
        match word {
            1 => Round::Floor,
            2 => Round::Ceil,
            3 => Round::Trunc,
            _ => Round::Rint,
        }
    }
}

/// Values of all codes of a type of at most 8 bits.
type Table = LazyLock<[f32; 256]>;

static E4M3: Table = LazyLock::new(|| small(DType::E4M3));
static E5M2: Table = LazyLock::new(|| small(DType::E5M2));
static E2M1: Table = LazyLock::new(|| small(DType::E2M1));
static E1M2: Table = LazyLock::new(|| small(DType::E1M2));
static E8M0: Table = LazyLock::new(|| std::array::from_fn(|code| e8m0_value(code as u8)));

fn small(dtype: DType) -> [f32; 256] {
    std::array::from_fn(|code| dtype.minifloat().map_or(f32::NAN, |format| format.decode(code as u8)))
}

fn refused(dtype: DType) -> String {
    format!("elements of type {} have no meaning here", dtype.name())
}

/// The exact values of floats, and of integers that F32 has: as many as fit `out`.
pub(crate) fn floats(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<(), Fault> {
    match dtype {
        DType::F32 => each(bytes, out, f32::from_le_bytes),
        DType::BF16 => each(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        DType::F16 => halves(bytes, out),
        DType::I16 => each(bytes, out, |b| f32::from(i16::from_le_bytes(b))),
        DType::I8 => each(bytes, out, |[b]| f32::from(b as i8)),
        DType::U8 => each(bytes, out, |[b]| f32::from(b)),
        DType::I4 => nibbles(bytes, out, |b| f32::from((b << 4) as i8 >> 4)),
        DType::U4 => nibbles(bytes, out, f32::from),
        DType::E4M3 => codes(bytes, out, &E4M3),
        DType::E5M2 => codes(bytes, out, &E5M2),
        DType::E8M0 => codes(bytes, out, &E8M0),
        DType::E2M1 => packed(bytes, out, &E2M1),
        DType::E1M2 => packed(bytes, out, &E1M2),
        DType::I32 | DType::Bool | DType::I64 | DType::F64 => return Err(refused(dtype).into()),
    }
    Ok(())
}

/// Integers: as many as fit `out`.
pub(crate) fn ints(dtype: DType, bytes: &[u8], out: &mut [i32]) -> Result<(), Fault> {
    match dtype {
        DType::I32 => each(bytes, out, i32::from_le_bytes),
        DType::I16 => each(bytes, out, |b| i32::from(i16::from_le_bytes(b))),
        DType::I8 => each(bytes, out, |[b]| i32::from(b as i8)),
        DType::U8 => each(bytes, out, |[b]| i32::from(b)),
        DType::I4 => nibbles(bytes, out, |b| i32::from((b << 4) as i8 >> 4)),
        DType::U4 => nibbles(bytes, out, i32::from),
        _ => return Err(refused(dtype).into()),
    }
    Ok(())
}

fn each<const N: usize, T>(bytes: &[u8], out: &mut [T], value: impl Fn([u8; N]) -> T) {
    for (out, element) in out.iter_mut().zip(bytes.as_chunks().0) {
        *out = value(*element);
    }
}

fn nibbles<T>(bytes: &[u8], out: &mut [T], value: impl Fn(u8) -> T) {
    for (pair, byte) in out.chunks_mut(2).zip(bytes) {
        for (out, code) in pair.iter_mut().zip([byte & 15, byte >> 4]) {
            *out = value(code);
        }
    }
}

fn codes(bytes: &[u8], out: &mut [f32], table: &Table) {
    let table: &[f32; 256] = table;
    each(bytes, out, |[code]| table[usize::from(code)]);
}

fn packed(bytes: &[u8], out: &mut [f32], table: &Table) {
    let table: &[f32; 256] = table;
    nibbles(bytes, out, |code| table[usize::from(code)]);
}

/// 16 at a time, since `half` asks what the machine can do once per call.
fn halves(bytes: &[u8], out: &mut [f32]) {
    for (out, bytes) in out.chunks_mut(16).zip(bytes.chunks(32)) {
        let mut values = [f16::ZERO; 16];
        each(bytes, &mut values, f16::from_le_bytes);
        if let Some(values) = values.get(..out.len()) {
            values.convert_to_f32_slice(out);
        }
    }
}

/// Rounds to a type of floats, ties to even; small floats saturate. NaN becomes the type's own. The last byte
/// of an odd number of halves of a byte is filled with zeros.
pub(crate) fn put_floats(dtype: DType, values: &[f32], out: &mut Vec<u8>) -> Result<(), Fault> {
    out.clear();
    match dtype {
        DType::F32 => put_each(values, out, |v| v.to_le_bytes()),
        DType::BF16 => put_each(values, out, |v| f32_to_bf16(v).to_le_bytes()),
        DType::F16 => put_halves(values, out),
        DType::E8M0 => out.extend(values.iter().map(|v| e8m0_code(*v))),
        _ => {
            let format = dtype.minifloat().ok_or_else(|| refused(dtype))?;
            match dtype.bits() {
                4 => pack(values.iter().map(|v| format.encode(*v)), out),
                _ => out.extend(values.iter().map(|v| format.encode(*v))),
            }
        }
    }
    Ok(())
}

/// Integers of a type, saturated.
pub(crate) fn put_ints(dtype: DType, values: &[i32], out: &mut Vec<u8>) -> Result<(), Fault> {
    out.clear();
    let (low, high) = dtype.int_range().ok_or_else(|| refused(dtype))?;
    let (low, high) = (low.max(i64::from(i32::MIN)) as i32, high.min(i64::from(i32::MAX)) as i32);
    match dtype.bits() {
        4 => pack(values.iter().map(|v| (*v).clamp(low, high) as u8), out),
        8 => put_each(values, out, |v| [v.clamp(low, high) as u8]),
        16 => put_each(values, out, |v| (v.clamp(low, high) as u16).to_le_bytes()),
        32 => put_each(values, out, i32::to_le_bytes),
        _ => return Err(refused(dtype).into()),
    }
    Ok(())
}

fn put_each<const N: usize, T: Copy>(values: &[T], out: &mut Vec<u8>, bytes: impl Fn(T) -> [u8; N]) {
    out.resize(values.len() * N, 0);
    for (element, value) in out.as_chunks_mut().0.iter_mut().zip(values) {
        *element = bytes(*value);
    }
}

fn put_halves(values: &[f32], out: &mut Vec<u8>) {
    out.resize(values.len() * 2, 0);
    for (values, out) in values.chunks(16).zip(out.chunks_mut(32)) {
        let mut halves = [f16::ZERO; 16];
        if let Some(halves) = halves.get_mut(..values.len()) {
            halves.convert_from_f32_slice(values);
        }
        for (element, half) in out.as_chunks_mut().0.iter_mut().zip(halves) {
            // What is left of NaN's bits depends on the machine.
            *element = if half.is_nan() { f16::NAN } else { half }.to_le_bytes();
        }
    }
}

fn pack(codes: impl Iterator<Item = u8>, out: &mut Vec<u8>) {
    for (index, code) in codes.enumerate() {
        match out.last_mut() {
            Some(byte) if index % 2 == 1 => *byte |= code << 4,
            _ => out.push(code & 15),
        }
    }
}

/// Floats as integers: beyond I32 they saturate, NaN becomes 0. Written without calls of a library, so that
/// several are converted at once.
pub(crate) fn rounded(values: &[f32], round: Round, out: &mut Vec<i32>) {
    out.clear();
    let values = values.iter().map(|v| (*v, nearest(*v)));
    match round {
        Round::Rint => out.extend(values.map(|(_, n)| n as i32)),
        Round::Floor => out.extend(values.map(|(v, n)| down(v, n) as i32)),
        Round::Ceil => out.extend(values.map(|(v, n)| up(v, n) as i32)),
        Round::Trunc => out.extend(values.map(|(v, _)| v as i32)),
    }
}

/// The nearest integer, ties to even. Above 2^23 every float is one; below, adding 2^23 leaves no room for a
/// fraction.
fn nearest(x: f32) -> f32 {
    const ROUNDER: f32 = 8_388_608.0;
    let rounder = ROUNDER.copysign(x);
    if x.abs() < ROUNDER { (x + rounder) - rounder } else { x }
}

fn down(x: f32, nearest: f32) -> f32 {
    if nearest > x { nearest - 1.0 } else { nearest }
}

fn up(x: f32, nearest: f32) -> f32 {
    if nearest < x { nearest + 1.0 } else { nearest }
}

/// Integers as floats on their way to the type `to`, where they are rounded once more. BF16 alone reaches beyond
/// the integers that F32 has; for it they are rounded to odd, so that the second rounding is as if it were the
/// only one.
pub(crate) fn ints_for(to: DType, values: &[i32], out: &mut Vec<f32>) {
    out.clear();
    match to {
        DType::BF16 => out.extend(values.iter().map(|v| to_odd(f64::from(*v)))),
        _ => out.extend(values.iter().map(|v| *v as f32)),
    }
}

/// The value if F32 has it, else of the two floats beside it the one with an odd mantissa. Rounding that to a type
/// with at least two bits fewer gives what rounding the value gives.
pub(crate) fn to_odd(value: f64) -> f32 {
    let near = value as f32;
    let missing = value - f64::from(near);
    match near.to_bits() & 1 {
        0 if missing > 0.0 => near.next_up(),
        0 if missing < 0.0 => near.next_down(),
        _ => near,
    }
}
