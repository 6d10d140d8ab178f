//! Vector instructions that change the type of elements, choose among them, or make one of a row.

use msd_ir::dtype::DType;

use super::element::{Round, floats, ints, ints_for, put_floats, put_ints, rounded};
use super::vector::{extents, fetch, greatest, put};
use crate::isa::Issue;
use crate::isa::region::{self, BLOCK};
use crate::values::movement::{slice, slice_mut};
use crate::values::{Fault, View};

pub(crate) fn copy(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let (rows, cols) = extents(issue);
    let mut row = Vec::new();
    for i in 0..rows {
        fetch(view, &issue.places[1], i, region::bytes(cols, issue.dtype()), &mut row)?;
        put(view, &issue.places[0], i, &row)?;
    }
    Ok(())
}

/// Floats become integers as `round` says, and narrower floats by rounding to the nearest even, whatever it
/// says.
pub(crate) fn cast(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let (rows, cols) = extents(issue);
    let (from, to) = (issue.dtype(), issue.to());
    let round = Round::of(issue.ints[2]);
    let mut raw = Vec::new();
    let mut as_floats = vec![0.0; cols.max(0) as usize];
    let mut as_ints = vec![0; cols.max(0) as usize];
    for i in 0..rows {
        fetch(view, &issue.places[1], i, region::bytes(cols, from), &mut raw)?;
        match from.is_float() {
            true => floats(from, &raw, &mut as_floats)?,
            false => ints(from, &raw, &mut as_ints)?,
        }
        match (from.is_float(), to.is_float()) {
            (true, true) | (false, false) => {}
            (true, false) => rounded(&as_floats, round, &mut as_ints),
            (false, true) => ints_for(to, &as_ints, &mut as_floats),
        }
        match to.is_float() {
            true => put_floats(to, &as_floats, &mut raw)?,
            false => put_ints(to, &as_ints, &mut raw)?,
        }
        put(view, &issue.places[0], i, &raw)?;
    }
    Ok(())
}

/// Whether a condition holds, by its word.
fn holds<T: PartialOrd>(condition: i64, a: &T, b: &T) -> bool {
    match condition {
        0 => a < b,
        1 => a <= b,
        2 => a == b,
        3 => a != b,
        4 => a >= b,
        _ => a > b,
    }
}

/// The bits of a row: element `j` is bit `j % 8` of byte `j / 8`.
fn compared<T: PartialOrd>(condition: i64, a: &[T], b: &[T], bits: &mut Vec<u8>) {
    bits.clear();
    let bytes = a.chunks(8).zip(b.chunks(8));
    bits.extend(bytes.map(|(a, b)| {
        let held = a.iter().zip(b).map(|(a, b)| u8::from(holds(condition, a, b)));
        held.enumerate().fold(0, |byte, (bit, held)| byte | held << bit)
    }));
}

pub(crate) fn cmp(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let (rows, cols) = extents(issue);
    let (dtype, condition) = (issue.dtype(), issue.ints[2]);
    let [dst, a, b, ..] = &issue.places;
    let bytes = region::bytes(cols, dtype);
    let (mut of_a, mut of_b, mut bits) = (Vec::new(), Vec::new(), Vec::new());
    let mut as_floats = [vec![0.0; cols.max(0) as usize], vec![0.0; cols.max(0) as usize]];
    let mut as_ints = [vec![0; cols.max(0) as usize], vec![0; cols.max(0) as usize]];
    for i in 0..rows {
        fetch(view, a, i, bytes, &mut of_a)?;
        fetch(view, b, i, bytes, &mut of_b)?;
        if dtype.is_float() {
            let [a, b] = &mut as_floats;
            floats(dtype, &of_a, a)?;
            floats(dtype, &of_b, b)?;
            compared(condition, a, b, &mut bits);
        } else {
            let [a, b] = &mut as_ints;
            ints(dtype, &of_a, a)?;
            ints(dtype, &of_b, b)?;
            compared(condition, a, b, &mut bits);
        }
        put(view, dst, i, &bits)?;
    }
    Ok(())
}

/// Moves bits as they are: NaN stays the same NaN.
pub(crate) fn sel(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let (rows, cols) = extents(issue);
    let [dst, mask, a, b, ..] = &issue.places;
    let bytes = region::bytes(cols, issue.dtype());
    let size = region::bytes(1, issue.dtype()) as usize;
    let (mut bits, mut of_a, mut of_b) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..rows {
        fetch(view, mask, i, region::round_up(cols, 8) / 8, &mut bits)?;
        fetch(view, a, i, bytes, &mut of_a)?;
        fetch(view, b, i, bytes, &mut of_b)?;
        let chosen = bits.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
        for ((of_a, of_b), is_a) in of_a.chunks_mut(size).zip(of_b.chunks(size)).zip(chosen) {
            if !is_a {
                of_a.copy_from_slice(of_b);
            }
        }
        put(view, dst, i, &of_a)?;
    }
    Ok(())
}

/// One element of each row; results lie as far apart as the row of the result says, or follow each other.
fn reduce(issue: &Issue, view: &mut View<'_>, fold: impl Fn(&mut Vec<f32>) -> Result<f32, Fault>) -> Result<(), Fault> {
    let (rows, cols) = extents(issue);
    let dtype = issue.dtype();
    let [dst, a, ..] = &issue.places;
    let size = region::bytes(1, dtype);
    let (mut raw, mut values) = (Vec::new(), Vec::new());
    for i in 0..rows {
        fetch(view, a, i, region::bytes(cols, dtype), &mut raw)?;
        values.resize(cols.max(0) as usize, 0.0);
        floats(dtype, &raw, &mut values)?;
        let result = fold(&mut values)?;
        put_floats(dtype, &[result], &mut raw)?;
        let start = dst.offset + i * dst.row.unwrap_or(size);
        slice_mut(view.bytes_mut(dst), start, size)?.copy_from_slice(&raw);
    }
    Ok(())
}

pub(crate) fn row_max(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    reduce(issue, view, |values| Ok(values.iter().copied().fold(f32::NEG_INFINITY, greatest)))
}

/// `x[j] + x[j + half]`, rounded to the type, for rows filled with zeros to a power of two, until one element
/// is left.
pub(crate) fn row_sum(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let dtype = issue.dtype();
    reduce(issue, view, |values| {
        values.resize(values.len().next_power_of_two(), 0.0);
        let mut rounded = Vec::new();
        while values.len() > 1 {
            let half = values.len() / 2;
            let (low, high) = values.split_at_mut(half);
            low.iter_mut().zip(high).for_each(|(x, y)| *x += *y);
            values.truncate(half);
            if dtype != DType::F32 {
                put_floats(dtype, values, &mut rounded)?;
                floats(dtype, &rounded, values)?;
            }
        }
        Ok(values.first().copied().unwrap_or_default())
    })
}

pub(crate) fn broadcast(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let [rows, ..] = issue.ints;
    let [dst, a, ..] = &issue.places;
    let size = region::bytes(1, issue.dtype());
    let elements = slice(view.bytes(a), a.offset, rows * size)?.to_vec();
    let blocks = slice_mut(view.bytes_mut(dst), dst.offset, rows * BLOCK)?;
    for (block, element) in blocks.chunks_mut(BLOCK as usize).zip(elements.chunks(size as usize)) {
        block.chunks_mut(element.len()).for_each(|copy| copy.copy_from_slice(element));
    }
    Ok(())
}
