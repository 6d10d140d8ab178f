//! Windows into tensors of GM. Owns strides; sizes are known numbers here.

use msd_ir::dtype::DType;

use crate::expr::Expr;

/// A strided window. Strides and offset count elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct View {
    pub(crate) tensor: u16,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<i64>,
    pub(crate) strides: Vec<i64>,
    pub(crate) offset: i64,
}

impl View {
    /// A whole tensor, the last axis fastest. The rows of 4-bit elements start with a byte each.
    pub(crate) fn dense(tensor: u16, dtype: DType, shape: Vec<i64>) -> View {
        let mut strides = vec![1; shape.len()];
        let mut apart = 1;
        for (axis, size) in shape.iter().enumerate().rev() {
            strides[axis] = apart;
            apart *= if axis + 1 == shape.len() { stored_row(*size, dtype) } else { *size };
        }
        View { tensor, dtype, shape, strides, offset: 0 }
    }

    pub(crate) fn rank(&self) -> usize {
        self.shape.len()
    }

    /// How many elements.
    pub(crate) fn count(&self) -> i64 {
        self.shape.iter().product()
    }

    /// Stretched to `shape` by NumPy's rule.
    pub(crate) fn stretched(&self, shape: &[i64]) -> View {
        let missing = shape.len().saturating_sub(self.rank());
        let stride = |axis: usize| match axis.checked_sub(missing) {
            Some(own) if self.shape[own] == shape[axis] => self.strides[own],
            _ => 0,
        };
        View { strides: (0..shape.len()).map(stride).collect(), shape: shape.to_vec(), ..self.clone() }
    }

    /// Axis `i` of the result is axis `axes[i]`.
    pub(crate) fn transposed(&self, axes: &[usize]) -> View {
        let shape = axes.iter().map(|a| self.shape[*a]).collect();
        let strides = axes.iter().map(|a| self.strides[*a]).collect();
        View { shape, strides, ..self.clone() }
    }

    /// From `start` to before `stop` along an axis.
    pub(crate) fn sliced(&self, axis: usize, start: i64, stop: i64) -> View {
        let mut view = self.clone();
        view.offset += start * view.strides[axis];
        view.shape[axis] = stop - start;
        view
    }

    /// One place along an axis, which is gone.
    pub(crate) fn at(&self, axis: usize, index: i64) -> View {
        let mut view = self.sliced(axis, index, index + 1);
        view.shape.remove(axis);
        view.strides.remove(axis);
        view
    }

    /// The same elements in row-major order as another shape, where strides can say that.
    pub(crate) fn reshaped(&self, shape: &[i64]) -> Option<View> {
        let empty = shape.contains(&0);
        let mut strides = vec![0; shape.len()];
        let (mut own, mut axis) = (0, 0);
        // Runs of axes on both sides with as many elements: each run of ours must be evenly apart.
        while !empty && (own < self.rank() || axis < shape.len()) {
            let (from, to) = (own, axis);
            let (mut mine, mut theirs) = (1, 1);
            while own < self.rank() || axis < shape.len() {
                if own < self.rank() && (mine <= theirs || axis == shape.len()) {
                    mine *= self.shape[own];
                    own += 1;
                } else {
                    theirs *= shape[axis];
                    axis += 1;
                }
                if mine == theirs && own > from && axis > to {
                    break;
                }
            }
            if mine != theirs {
                return None;
            }
            let run: Vec<(i64, i64)> =
                (from..own).filter(|a| self.shape[*a] != 1).map(|a| (self.shape[a], self.strides[a])).collect();
            let is_even = run.windows(2).all(|w| w[0].1 == w[1].1 * w[1].0);
            if !is_even {
                return None;
            }
            let mut apart = run.last().map_or(0, |(_, stride)| *stride);
            for axis in (to..axis).rev() {
                strides[axis] = apart;
                apart *= shape[axis];
            }
        }
        Some(View { shape: shape.to_vec(), strides, ..self.clone() })
    }

    /// Where an element is, whose place along each axis is an expression.
    pub(crate) fn at_expr(&self, place: &[Expr]) -> Expr {
        let steps = place.iter().zip(&self.strides).filter(|(_, stride)| **stride != 0);
        let offset = steps.map(|(index, stride)| index.clone() * *stride).reduce(|sum, step| sum + step);
        match offset {
            Some(offset) => offset + self.offset,
            None => Expr::from(self.offset),
        }
    }
}

impl View {
    /// Whether columns of a right operand lie one element after the other: a weight as stored.
    pub(crate) fn is_by_columns(&self) -> bool {
        let rank = self.rank();
        self.strides[rank - 2] == 1 || self.strides[rank - 1] != 1
    }

    /// Elements from row to row along an axis counted from the end, from 1. A single row of 4-bit elements may have any
    /// distance; instructions want whole bytes.
    pub(crate) fn apart(&self, axis: usize) -> i64 {
        let stride = self.rank().checked_sub(axis).map_or(0, |at| self.strides[at]);
        stored_row(stride, self.dtype)
    }
}

/// Makes one axis of two where they lie one in the other in every view; the last stays as it is where rows have
/// a meaning. There are two axes at least in the end, and elements of a row follow each other in the last `outs` views.
pub(crate) fn merge_axes(shape: &mut Vec<i64>, views: &mut [&mut View], keeps_rows: bool, outs: usize) {
    let last = shape.len().saturating_sub(1);
    for axis in (1..shape.len()).rev().filter(|axis| !(keeps_rows && *axis == last)) {
        let (outer, inner) = (shape[axis - 1], shape[axis]);
        let fits = |view: &View| outer == 1 || inner == 1 || view.strides[axis - 1] == view.strides[axis] * inner;
        if !views.iter().all(|view| fits(view)) {
            continue;
        }
        for view in views.iter_mut() {
            if inner != 1 {
                view.strides[axis - 1] = view.strides[axis];
            }
            view.shape[axis - 1] = outer * inner;
            view.strides.remove(axis);
            view.shape.remove(axis);
        }
        shape[axis - 1] = outer * inner;
        shape.remove(axis);
    }
    let is_apart = |view: &&mut View| view.strides.last().is_some_and(|stride| *stride != 1);
    let first_out = views.len() - outs;
    if shape.last().is_some_and(|size| *size > 1) && views[first_out..].iter().any(is_apart) {
        shape.push(1);
        for view in views.iter_mut() {
            view.shape.push(1);
            view.strides.push(1);
        }
    }
    while shape.len() < 2 {
        shape.insert(0, 1);
        for view in views.iter_mut() {
            view.shape.insert(0, 1);
            view.strides.insert(0, 0);
        }
    }
}

/// Elements that a row of so many takes in GM.
pub(crate) fn stored_row(cols: i64, dtype: DType) -> i64 {
    if dtype.bits() == 4 { cols + cols % 2 } else { cols }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshapes_where_strides_can_say_it() {
        let dense = View::dense(0, DType::F32, vec![4, 6]);
        assert_eq!(dense.reshaped(&[24]).map(|v| v.strides), Some(vec![1]));
        assert_eq!(dense.reshaped(&[2, 2, 3, 2]).map(|v| v.strides), Some(vec![12, 6, 2, 1]));
        let turned = dense.transposed(&[1, 0]);
        assert_eq!(turned.strides, [1, 6]);
        assert_eq!(turned.reshaped(&[24]), None);
        assert_eq!(turned.reshaped(&[3, 2, 4]).map(|v| v.strides), Some(vec![2, 1, 6]));
        assert_eq!(turned.reshaped(&[6, 1, 4]).map(|v| v.strides[2]), Some(6));
        // Rows of 4-bit elements start with a byte.
        let nibbles = View::dense(0, DType::I4, vec![3, 5]);
        assert_eq!(nibbles.strides, [6, 1]);
        assert_eq!(nibbles.reshaped(&[15]), None);
    }
}
