//! Ops that move elements: all of them read positions that are a sum over the axes.

use std::borrow::Cow;

use super::array::{Array, Elements, Kind};

/// Row-major strides.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// For each element of `shape` in row-major order, `start + sum over axes of step(axis, index)`.
pub(super) fn positions(shape: &[usize], start: usize, step: impl Fn(usize, usize) -> usize) -> Vec<usize> {
    if shape.contains(&0) {
        return Vec::new();
    }
    let mut positions = vec![start];
    for (axis, size) in shape.iter().enumerate() {
        let steps: Vec<usize> = (0..*size).map(|i| step(axis, i)).collect();
        positions = positions.iter().flat_map(|base| steps.iter().map(move |s| base + s)).collect();
    }
    positions
}

/// The elements repeated along axes of size 1, and along new outer axes, to fill `shape`.
pub(super) fn broadcast<'a>(x: &'a Array, shape: &[usize]) -> Cow<'a, Elements> {
    if x.shape == shape {
        return Cow::Borrowed(&x.elements);
    }
    let new_axes = shape.len() - x.shape.len();
    let strides = strides(&x.shape);
    let step = |axis: usize, i: usize| match axis.checked_sub(new_axes) {
        Some(axis) if x.shape[axis] != 1 => i * strides[axis],
        _ => 0,
    };
    Cow::Owned(x.elements.gather(&positions(shape, 0, step)))
}

/// Axis `i` of the result is axis `axes[i]` of `x`.
pub(super) fn transpose(x: &Array, axes: &[usize], shape: &[usize]) -> Elements {
    let strides = strides(&x.shape);
    x.elements.gather(&positions(shape, 0, |axis, i| i * strides[axes[axis]]))
}

/// `x` from `start` along `axis`, as far as `shape` says.
pub(super) fn slice(x: &Array, axis: usize, start: usize, shape: &[usize]) -> Elements {
    let strides = strides(&x.shape);
    x.elements.gather(&positions(shape, start * strides[axis], |axis, i| i * strides[axis]))
}

/// `a` then `b` along `axis`.
pub(super) fn concat(a: &Array, b: &Array, axis: usize, kind: Kind) -> Elements {
    let block = |x: &Array| x.shape[axis..].iter().product();
    let blocks: (usize, usize) = (block(a), block(b));
    let (a, b) = (&a.elements, &b.elements);
    match kind {
        Kind::Single => Elements::Single(interleave(&a.single(), &b.single(), blocks)),
        Kind::Double => Elements::Double(interleave(&a.double(), &b.double(), blocks)),
        Kind::Integer => Elements::Integer(interleave(&a.integer(), &b.integer(), blocks)),
    }
}

/// Blocks of `a` and `b` in turn.
fn interleave<T: Copy>(a: &[T], b: &[T], blocks: (usize, usize)) -> Vec<T> {
    let mut joined = Vec::with_capacity(a.len() + b.len());
    let (mut rest_a, mut rest_b) = (a, b);
    while joined.len() < a.len() + b.len() {
        let (next_a, next_b);
        (next_a, rest_a) = rest_a.split_at(blocks.0);
        (next_b, rest_b) = rest_b.split_at(blocks.1);
        joined.extend_from_slice(next_a);
        joined.extend_from_slice(next_b);
    }
    joined
}

/// `-inf` where column j of the T of row i of the M lies beyond `i + T - M`.
pub(super) fn causal(s: &Array, kind: Kind) -> Elements {
    let (_, rows, columns) = s.matrices();
    match kind {
        Kind::Double => Elements::Double(masked(&s.elements.double(), rows, columns, f64::NEG_INFINITY)),
        // Its type rule never asks for integers.
        Kind::Single | Kind::Integer => {
            Elements::Single(masked(&s.elements.single(), rows, columns, f32::NEG_INFINITY))
        }
    }
}

fn masked<T: Copy>(s: &[T], rows: usize, columns: usize, masked: T) -> Vec<T> {
    let keeps = |position: usize| {
        let (i, j) = (position / columns % rows, position % columns);
        j + rows <= i + columns
    };
    s.iter().enumerate().map(|(position, x)| if keeps(position) { *x } else { masked }).collect()
}
