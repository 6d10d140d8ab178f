//! The vector unit: rows of elements in UB, computed with one by one. Owns how operands of vector
//! instructions are addressed, and arithmetic; types are `element.rs`, and what mixes elements of a row
//! or changes their type is `rows.rs`.
//!
//! Row `i` of an operand starts at `i` times its row; its blocks of 32 bytes follow each other, or lie as far
//! apart as the operand says: 0 reads the same 32 bytes again and again. A row is read as a whole before its result is
//! written, so a result may take the place of an operand.
//!
//! F32 and F16 are computed in F32 and rounded to the type; F32 has so many more bits than F16 that rounding
//! twice changes nothing, but in `vmla`, which is computed more exactly. I32 and I16 wrap around.

use msd_ir::dtype::DType;
use msd_ir::math::{self, Scalar};

use super::element::{Round, floats, ints, put_floats, put_ints, rounded};
use super::movement::{slice, slice_mut};
pub(crate) use super::rows::{broadcast, cast, cmp, copy, row_max, row_sum, sel};
use super::{Fault, View};
use crate::isa::Issue;
use crate::isa::memory::Place;
use crate::isa::region::{self, BLOCK};

/// Reads row `i` of so many bytes.
pub(super) fn fetch(view: &View<'_>, place: &Place, i: i64, bytes: i64, out: &mut Vec<u8>) -> Result<(), Fault> {
    out.clear();
    let start = place.offset + i * place.row.unwrap_or(bytes);
    let memory = view.bytes(place);
    if place.block == BLOCK {
        out.extend_from_slice(slice(memory, start, bytes)?);
        return Ok(());
    }
    for block in 0..region::round_up(bytes, BLOCK) / BLOCK {
        let length = BLOCK.min(bytes - block * BLOCK);
        out.extend_from_slice(slice(memory, start + block * place.block, length)?);
    }
    Ok(())
}

/// Writes row `i`.
pub(super) fn put(view: &mut View<'_>, place: &Place, i: i64, row: &[u8]) -> Result<(), Fault> {
    let bytes = row.len() as i64;
    let start = place.offset + i * place.row.unwrap_or(bytes);
    let memory = view.bytes_mut(place);
    if place.block == BLOCK {
        slice_mut(memory, start, bytes)?.copy_from_slice(row);
        return Ok(());
    }
    for (block, data) in row.chunks(BLOCK as usize).enumerate() {
        slice_mut(memory, start + block as i64 * place.block, data.len() as i64)?.copy_from_slice(data);
    }
    Ok(())
}

/// Rows and columns.
pub(super) fn extents(issue: &Issue) -> (i64, i64) {
    let [rows, cols, ..] = issue.ints;
    (rows, cols)
}

/// `dst[i, j] = compute` of element `(i, j)` of each of `N` operands from the one at `first` on.
fn rowwise<T: Copy + Default, const N: usize>(
    issue: &Issue,
    view: &mut View<'_>,
    first: usize,
    get: impl Fn(DType, &[u8], &mut [T]) -> Result<(), Fault>,
    set: impl Fn(DType, &mut [T], &mut Vec<u8>) -> Result<(), Fault>,
    compute: impl Fn([T; N]) -> T,
) -> Result<(), Fault> {
    let (rows, cols) = extents(issue);
    let dtype = issue.dtype();
    let mut raw = Vec::new();
    let mut results = vec![T::default(); cols.max(0) as usize];
    let mut values: [Vec<T>; N] = std::array::from_fn(|_| results.clone());
    for i in 0..rows {
        for (values, place) in values.iter_mut().zip(issue.places.iter().skip(first)) {
            fetch(view, place, i, region::bytes(cols, dtype), &mut raw)?;
            get(dtype, &raw, values)?;
        }
        // All of `cols` elements: told once here, not checked at each element.
        let columns = values.each_ref().map(|values| &values[..results.len()]);
        for (j, result) in results.iter_mut().enumerate() {
            *result = compute(columns.map(|column| column[j]));
        }
        set(dtype, &mut results, &mut raw)?;
        put(view, &issue.places[0], i, &raw)?;
    }
    Ok(())
}

/// Computes with floats.
fn in_floats<const N: usize>(
    issue: &Issue,
    view: &mut View<'_>,
    first: usize,
    compute: impl Fn([f32; N]) -> f32,
) -> Result<(), Fault> {
    rowwise(issue, view, first, floats, |dtype, values, out| put_floats(dtype, values, out), compute)
}

/// Computes with integers, which wrap around.
fn in_ints<const N: usize>(
    issue: &Issue,
    view: &mut View<'_>,
    first: usize,
    compute: impl Fn([i32; N]) -> i32,
) -> Result<(), Fault> {
    let set = |dtype, values: &mut [i32], out: &mut Vec<u8>| {
        if dtype == DType::I16 {
            values.iter_mut().for_each(|v| *v = i32::from(*v as i16));
        }
        put_ints(dtype, values, out)
    };
    rowwise(issue, view, first, ints, set, compute)
}

/// Computes with whichever the elements are, on `N` sources.
fn numbers<const N: usize>(
    issue: &Issue,
    view: &mut View<'_>,
    float: impl Fn([f32; N]) -> f32,
    int: impl Fn([i32; N]) -> i32,
) -> Result<(), Fault> {
    match issue.dtype().is_float() {
        true => in_floats(issue, view, 1, float),
        false => in_ints(issue, view, 1, int),
    }
}

/// Operand `value` as an element of the type: floats to the nearest, integers too, and saturated.
fn value(issue: &Issue) -> Result<(f32, i32), Fault> {
    let dtype = issue.dtype();
    let said = [f32::from_bits(issue.ints[2] as u32)];
    let (mut raw, mut float, mut int) = (Vec::new(), [0.0], vec![0]);
    if dtype.is_float() {
        put_floats(dtype, &said, &mut raw)?;
        floats(dtype, &raw, &mut float)?;
    } else {
        rounded(&said, Round::Rint, &mut int);
        put_ints(dtype, &int, &mut raw)?;
        ints(dtype, &raw, &mut int)?;
    }
    Ok((float[0], int.first().copied().unwrap_or_default()))
}

/// `a` if it is greater or NaN, else `b`: NaN of either stays, and of zeros it is the second.
pub(super) fn greatest(a: f32, b: f32) -> f32 {
    if a > b || a.is_nan() { a } else { b }
}

/// `a` if it is less or NaN, else `b`.
fn least(a: f32, b: f32) -> f32 {
    if a < b || a.is_nan() { a } else { b }
}

pub(crate) fn dup(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let (float, int) = value(issue)?;
    numbers(issue, view, |[]| float, |[]| int)
}

pub(crate) fn abs(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    in_floats(issue, view, 1, |[a]| a.abs())
}

pub(crate) fn relu(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    in_floats(issue, view, 1, |[a]| greatest(a, 0.0))
}

pub(crate) fn adds(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let (float, int) = value(issue)?;
    numbers(issue, view, |[a]| a + float, |[a]| a.wrapping_add(int))
}

pub(crate) fn muls(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let (float, int) = value(issue)?;
    numbers(issue, view, |[a]| a * float, |[a]| a.wrapping_mul(int))
}

pub(crate) fn maxs(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let (float, int) = value(issue)?;
    numbers(issue, view, |[a]| greatest(a, float), |[a]| a.max(int))
}

pub(crate) fn mins(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let (float, int) = value(issue)?;
    numbers(issue, view, |[a]| least(a, float), |[a]| a.min(int))
}

pub(crate) fn shl(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let bits = issue.ints[2] as u32;
    in_ints(issue, view, 1, |[a]| a.wrapping_shl(bits))
}

pub(crate) fn shr(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let bits = issue.ints[2] as u32;
    in_ints(issue, view, 1, |[a]| a.wrapping_shr(bits))
}

pub(crate) fn exp(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    in_floats(issue, view, 1, |[a]| math::exp(&mut Scalar, a))
}

pub(crate) fn ln(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    in_floats(issue, view, 1, |[a]| math::log(&mut Scalar, a))
}

pub(crate) fn sqrt(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    in_floats(issue, view, 1, |[a]| a.sqrt())
}

pub(crate) fn add(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    numbers(issue, view, |[a, b]| a + b, |[a, b]| a.wrapping_add(b))
}

pub(crate) fn sub(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    numbers(issue, view, |[a, b]| a - b, |[a, b]| a.wrapping_sub(b))
}

pub(crate) fn mul(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    numbers(issue, view, |[a, b]| a * b, |[a, b]| a.wrapping_mul(b))
}

pub(crate) fn div(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    in_floats(issue, view, 1, |[a, b]| a / b)
}

pub(crate) fn max(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    numbers(issue, view, |[a, b]| greatest(a, b), |[a, b]| a.max(b))
}

pub(crate) fn min(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    numbers(issue, view, |[a, b]| least(a, b), |[a, b]| a.min(b))
}

pub(crate) fn and(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    in_ints(issue, view, 1, |[a, b]| a & b)
}

pub(crate) fn or(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    in_ints(issue, view, 1, |[a, b]| a | b)
}

pub(crate) fn mla(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    match issue.dtype() {
        DType::F16 => in_floats(issue, view, 0, |[sum, a, b]| fused_for_f16(a, b, sum)),
        _ => in_floats(issue, view, 0, |[sum, a, b]| a.mul_add(b, sum)),
    }
}

/// `a * b + c` of halves such that rounding it to F16 rounds the exact value: F32 alone would round it twice,
/// and the product has too many bits for that to be harmless. F64 loses bits only of a product so much smaller
/// than `c`, or of a `c` so much smaller than a product beyond F16, that they decide nothing.
fn fused_for_f16(a: f32, b: f32, c: f32) -> f32 {
    super::element::to_odd(f64::from(a) * f64::from(b) + f64::from(c))
}
