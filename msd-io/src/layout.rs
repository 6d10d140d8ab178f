//! Stored elements to and from ours. Owns the table of which stored type feeds which declared
//! type, element order, and the packing of 4-bit codes; refuses file formats (the readers) and
//! whether a scale's values make sense beyond `e8m0` (the binding of inputs).

use std::io::{self, Write};

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dtype::{DType, bf16_to_f32, f16_to_f32, f32_to_bf16, f32_to_f16};
use msd_ir::tensor::{Data, Tensor};

use crate::input::reserve;
use crate::raw::{Bytes, Order, Origin, RawTensor, Stored};

/// Turns a stored tensor into one of type `declared`.
///
/// `expected` has an entry per axis of the declared shape: its size where that is known without
/// this tensor. 4-bit codes are taken one per byte, or two per byte (low nibble first) where the
/// last axis in the file is exactly half of a known size.
///
/// | declared | stored |
/// |---|---|
/// | `f32`, `f16`, `bf16` | float32, float16, bfloat16 (npy: `V2`, for `bf16` only), nearest even |
/// | `i32`, `i8`, `u8` | the same type |
/// | `i4` | int8 values -8..=7; packed in uint8 or int8 |
/// | `u4`, `e2m1`, `e1m2` | uint8 codes 0..=15; packed in uint8; `e2m1` also float4_e2m1 |
/// | `e4m3`, `e5m2`, `e8m0` | uint8 codes, or the float8 type of that name |
/// | `bool` | bool, or uint8 of 0 and 1 |
///
/// # Errors
/// `InputType` if the stored type is not in the table's row; `InputShape` if the shape is not
/// the expected one; `CodeOutOfRange` if a 4-bit or truth value is out of range; `ScaleNotFinite`
/// for an `e8m0` code 0xFF; `TooLarge` if memory does not suffice.
pub fn convert(raw: RawTensor, declared: DType, expected: &[Option<usize>]) -> Result<Tensor, Diagnostic> {
    let packed = is_packed(&raw, declared, expected);
    let mut shape = raw.shape.clone();
    if packed && let Some(last) = shape.last_mut() {
        *last *= 2; // Equals a known size, so it does not overflow.
    }
    if shape.len() != expected.len() || shape.iter().zip(expected).any(|(s, e)| e.is_some_and(|e| e != *s)) {
        return Err(wrong_shape(&raw, declared, expected));
    }
    let RawTensor { origin, stored, shape: stored_shape, order, bytes } = raw;
    let bytes = match order {
        Order::Fortran if !is_same_in_both_orders(&stored_shape) => {
            Bytes::Read(to_c_order(&into_vec(bytes, &origin)?, &stored_shape, stored.bits() / 8, &origin)?)
        }
        Order::C | Order::Fortran => bytes,
    };
    let data = if packed {
        decode_packed(bytes, declared, &origin)?
    } else {
        decode(bytes, stored, declared, &origin)?.ok_or_else(|| wrong_type(&origin, stored, declared))?
    };
    check_codes(&data, declared, &shape, &origin)?;
    Tensor::new(declared, shape, data)
        .map_err(|d| origin.fault(Code::Internal, format!("was decoded to what does not fit: {d}")))
}

fn is_packed(raw: &RawTensor, declared: DType, expected: &[Option<usize>]) -> bool {
    let pairs_of_codes = match declared {
        DType::I4 => matches!(raw.stored, Stored::U8 | Stored::I8),
        DType::U4 | DType::E2M1 | DType::E1M2 => raw.stored == Stored::U8,
        _ => false,
    };
    match (raw.shape.last(), expected.last()) {
        (Some(stored), Some(Some(known))) => {
            pairs_of_codes && *stored > 0 && stored.checked_mul(2) == Some(*known) && raw.shape.len() == expected.len()
        }
        _ => false,
    }
}

/// The table of [`convert`] without packing: `None` for a pair that is not in it.
fn decode(bytes: Bytes, stored: Stored, declared: DType, origin: &Origin) -> Result<Option<Data>, Diagnostic> {
    use DType as D;
    use Stored as S;
    let f32s = |b: [u8; 4]| f32::from_le_bytes(b);
    let f16s = |b: [u8; 2]| f16_to_f32(u16::from_le_bytes(b));
    let bf16s = |b: [u8; 2]| bf16_to_f32(u16::from_le_bytes(b));
    Ok(Some(match (stored, declared) {
        (S::F32, D::F32) => Data::F32(elements(&bytes, origin, f32s)?),
        (S::F16, D::F32) => Data::F32(elements(&bytes, origin, f16s)?),
        (S::BF16, D::F32) => Data::F32(elements(&bytes, origin, bf16s)?),
        (S::F32, D::F16) => Data::U16(elements(&bytes, origin, |b| f32_to_f16(f32s(b)))?),
        (S::BF16, D::F16) => Data::U16(elements(&bytes, origin, |b| f32_to_f16(bf16s(b)))?),
        (S::F32, D::BF16) => Data::U16(elements(&bytes, origin, |b| f32_to_bf16(f32s(b)))?),
        (S::F16, D::BF16) => Data::U16(elements(&bytes, origin, |b| f32_to_bf16(f16s(b)))?),
        (S::F16, D::F16) | (S::BF16 | S::Void16, D::BF16) => Data::U16(elements(&bytes, origin, u16::from_le_bytes)?),
        (S::I32, D::I32) => Data::I32(elements(&bytes, origin, i32::from_le_bytes)?),
        (S::I8, D::I8 | D::I4) => Data::I8(into_vec(bytes, origin)?.into_iter().map(|b| b as i8).collect()),
        (S::U8, D::U8 | D::U4 | D::E2M1 | D::E1M2 | D::E4M3 | D::E5M2 | D::E8M0 | D::Bool)
        | (S::Bool, D::Bool)
        | (S::F8E4M3, D::E4M3)
        | (S::F8E5M2, D::E5M2)
        | (S::F8E8M0, D::E8M0) => Data::U8(into_vec(bytes, origin)?),
        (S::F4, D::E2M1) => Data::U8(nibbles(&bytes, origin, |n| n)?),
        _ => return Ok(None),
    }))
}

fn decode_packed(bytes: Bytes, declared: DType, origin: &Origin) -> Result<Data, Diagnostic> {
    Ok(match declared {
        DType::I4 => Data::I8(nibbles(&bytes, origin, |n| ((n << 4) as i8) >> 4)?),
        _ => Data::U8(nibbles(&bytes, origin, |n| n)?),
    })
}

fn elements<const WIDTH: usize, T>(
    bytes: &Bytes,
    origin: &Origin,
    decode: impl Fn([u8; WIDTH]) -> T,
) -> Result<Vec<T>, Diagnostic> {
    let mut out = reserve(bytes.len() / WIDTH, origin)?;
    bytes.for_each_piece(|piece| out.extend(piece.as_chunks().0.iter().map(|b| decode(*b))));
    Ok(out)
}

fn nibbles<T>(bytes: &Bytes, origin: &Origin, decode: impl Fn(u8) -> T) -> Result<Vec<T>, Diagnostic> {
    let mut out = reserve(bytes.len().saturating_mul(2), origin)?;
    bytes.for_each_piece(|piece| out.extend(piece.iter().flat_map(|b| [decode(b & 0xF), decode(b >> 4)])));
    Ok(out)
}

/// The bytes themselves, without a copy where they were read.
fn into_vec(bytes: Bytes, origin: &Origin) -> Result<Vec<u8>, Diagnostic> {
    bytes.into_read().or_else(|mapped| elements(&mapped, origin, |[b]: [u8; 1]| b))
}

fn is_same_in_both_orders(shape: &[usize]) -> bool {
    shape.iter().filter(|s| **s != 1).count() <= 1 || shape.contains(&0)
}

/// Reorders elements of `width` bytes from Fortran to C order; `shape` has no zero.
fn to_c_order(bytes: &[u8], shape: &[usize], width: usize, origin: &Origin) -> Result<Vec<u8>, Diagnostic> {
    // Step in bytes along each axis of the source.
    let steps: Vec<usize> =
        shape.iter().scan(width, |step, size| Some(std::mem::replace(step, *step * *size))).collect();
    let mut out = reserve(bytes.len(), origin)?;
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    while out.len() < bytes.len() {
        out.extend_from_slice(&bytes[at..at + width]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += steps[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= steps[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    Ok(out)
}

/// Refuses codes that `declared` does not have.
fn check_codes(data: &Data, declared: DType, shape: &[usize], origin: &Origin) -> Result<(), Diagnostic> {
    let (low, high) = match declared {
        DType::I4 => (-8, 7),
        DType::Bool => (0, 1),
        DType::E8M0 => (0, 0xFE),
        d if d.bits() == 4 => (0, 15),
        _ => return Ok(()),
    };
    let bad = match data {
        Data::I8(v) => v.iter().position(|x| !(low..=high).contains(&(*x as i32))).map(|i| (i, v[i] as i32)),
        Data::U8(v) => v.iter().position(|x| !(low..=high).contains(&(*x as i32))).map(|i| (i, v[i] as i32)),
        _ => None,
    };
    let Some((position, value)) = bad else { return Ok(()) };
    let index = index_text(position, shape);
    if declared == DType::E8M0 {
        return Err(origin
            .fault(Code::ScaleNotFinite, format_args!("holds the code 0xFF, which is NaN in `e8m0`, at {index}"))
            .help("`e8m0` codes are 0..=254, meaning 2^(code - 127)"));
    }
    let name = declared.name();
    let fault = origin.fault(Code::CodeOutOfRange, format_args!("holds {value} at {index}, which `{name}` cannot be"));
    Err(match declared {
        DType::Bool => fault.help("a `bool` is 0 or 1"),
        _ => fault.help(format!(
            "`{name}` takes one value of {low}..={high} per byte, or two per byte if the last dimension \
             is half of a size known otherwise"
        )),
    })
}

fn index_text(mut position: usize, shape: &[usize]) -> String {
    let mut index = Vec::new();
    for size in shape.iter().rev() {
        index.push((position % size).to_string());
        position /= size;
    }
    index.reverse();
    format!("[{}]", index.join(", "))
}

fn wrong_type(origin: &Origin, stored: Stored, declared: DType) -> Diagnostic {
    let sources = match declared {
        DType::F32 | DType::F16 => "float32, float16 or bfloat16",
        DType::BF16 => "float32, float16 or bfloat16 (npy `V2`)",
        DType::I32 => "int32",
        DType::I8 => "int8",
        DType::U8 => "uint8",
        DType::I4 => "int8 values -8..=7, or pairs packed in uint8 if the last dimension is known otherwise",
        DType::U4 | DType::E1M2 => "uint8 codes 0..=15",
        DType::E2M1 => "uint8 codes 0..=15 or float4_e2m1",
        DType::E4M3 => "uint8 codes or float8_e4m3",
        DType::E5M2 => "uint8 codes or float8_e5m2",
        DType::E8M0 => "uint8 codes or float8_e8m0",
        DType::Bool => "bool, or uint8 of 0 and 1",
        DType::I16 | DType::I64 | DType::F64 => "no file",
    };
    let (stored, declared) = (stored.name(), declared.name());
    origin
        .fault(Code::InputType, format_args!("holds {stored} elements, which cannot feed `{declared}`"))
        .help(format!("`{declared}` is read from {sources}"))
}

fn wrong_shape(raw: &RawTensor, declared: DType, expected: &[Option<usize>]) -> Diagnostic {
    let sizes = |s: Option<usize>| s.map_or("_".to_string(), |s| s.to_string());
    let text = |shape: Vec<String>| format!("[{}]", shape.join(", "));
    let wanted = text(expected.iter().map(|s| sizes(*s)).collect());
    let found = text(raw.shape.iter().map(|s| sizes(Some(*s))).collect());
    let fault = raw.origin.fault(Code::InputShape, format_args!("has shape {found}, but {wanted} is expected"));
    let last = expected.last().copied().flatten().filter(|s| s.is_multiple_of(2));
    match last {
        Some(last) if declared.bits() == 4 => {
            fault.help(format!("the last dimension is {last} with a 4-bit code per byte, {} with two", last / 2))
        }
        _ if expected.contains(&None) => fault.help("`_` stands for any size"),
        _ => fault,
    }
}

/// Writes elements as they are stored here, little-endian; 4-bit types one per byte.
pub(crate) fn write_elements(out: &mut impl Write, data: &Data) -> io::Result<()> {
    match data {
        Data::F32(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
        Data::F64(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
        Data::U16(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
        Data::I16(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
        Data::I32(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
        Data::I64(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
        Data::I8(v) => v.iter().try_for_each(|x| out.write_all(&x.to_le_bytes())),
        Data::U8(v) => out.write_all(v),
    }
}

/// Writes `f16` and `bf16` elements as the F32 values they are.
pub(crate) fn write_widened(out: &mut impl Write, tensor: &Tensor) -> io::Result<()> {
    (0..tensor.len()).try_for_each(|i| out.write_all(&(tensor.value(i) as f32).to_le_bytes()))
}
