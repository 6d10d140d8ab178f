//! Ops over the last axis. Their order of arithmetic is fixed: 16 interleaved partials, then a
//! binary tree, which is how 4-, 8- and 16-lane machines all can compute.

use std::ops::{Add, Div, Sub};

use super::array::{Array, Elements, Kind};
use super::elementwise::{EXP, greatest};
use crate::dtype::DType;

/// Combines `x[i]` into partial `i mod 16`, then partials 8, 4, 2 and 1 apart.
fn tree<T: Copy>(row: impl Iterator<Item = T>, start: T, combine: impl Fn(T, T) -> T) -> T {
    let mut partials = [start; 16];
    for (i, x) in row.enumerate() {
        let partial = &mut partials[i % 16];
        *partial = combine(x, *partial);
    }
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            partials[i] = combine(partials[i + half], partials[i]);
        }
    }
    partials[0]
}

/// One value per row; a row of size 0 gives `start`.
fn reduce<T: Copy>(x: &Array, values: &[T], start: T, combine: impl Fn(T, T) -> T) -> Vec<T> {
    let (columns, outer) = x.shape.split_last().map_or((1, &[][..]), |(last, outer)| (*last, outer));
    let rows = 0..outer.iter().product();
    rows.map(|i| tree(values[i * columns..(i + 1) * columns].iter().copied(), start, &combine)).collect()
}

/// Sum of each row, from +0.
pub(super) fn sum(x: &Array, kind: Kind) -> Elements {
    let e = &x.elements;
    match kind {
        Kind::Single => Elements::Single(reduce(x, &e.single(), 0.0, |x, sum| x + sum)),
        Kind::Double => Elements::Double(reduce(x, &e.double(), 0.0, |x, sum| x + sum)),
        Kind::Integer => Elements::Integer(reduce(x, &e.integer(), 0, i64::wrapping_add)),
    }
}

/// Maximum of each row, from -inf or the least integer of the type.
pub(super) fn amax(x: &Array, kind: Kind, dtype: DType) -> Elements {
    let e = &x.elements;
    let least = dtype.int_range().map_or(i64::MIN, |(low, _)| low);
    match kind {
        Kind::Single => Elements::Single(reduce(x, &e.single(), f32::NEG_INFINITY, greatest)),
        Kind::Double => Elements::Double(reduce(x, &e.double(), f64::NEG_INFINITY, greatest)),
        Kind::Integer => Elements::Integer(reduce(x, &e.integer(), least, greatest)),
    }
}

/// `e / sum(e)` with `e = exp(x - amax(x))` for each row; a row of -inf gives zeros.
pub(super) fn softmax(x: &Array, kind: Kind) -> Elements {
    let columns = x.shape.last().copied().unwrap_or(1);
    match kind {
        Kind::Double => {
            let exp = |x| EXP.double(x);
            Elements::Double(softmax_rows(&x.elements.double(), columns, f64::NEG_INFINITY, exp))
        }
        // Its type rule never asks for integers.
        Kind::Single | Kind::Integer => {
            let exp = |x| EXP.single(x);
            Elements::Single(softmax_rows(&x.elements.single(), columns, f32::NEG_INFINITY, exp))
        }
    }
}

fn softmax_rows<T>(values: &[T], columns: usize, least: T, exp: impl Fn(T) -> T) -> Vec<T>
where
    T: Copy + Default + PartialOrd + Add<Output = T> + Sub<Output = T> + Div<Output = T>,
{
    let mut result = Vec::with_capacity(values.len());
    // A row of no columns has no elements to give.
    for row in values.chunks(columns.max(1)) {
        let m = tree(row.iter().copied(), least, greatest);
        if m == least {
            result.extend(row.iter().map(|_| T::default()));
            continue;
        }
        let e: Vec<T> = row.iter().map(|x| exp(*x - m)).collect();
        let total = tree(e.iter().copied(), T::default(), |x, sum| x + sum);
        result.extend(e.iter().map(|e| *e / total));
    }
    result
}
