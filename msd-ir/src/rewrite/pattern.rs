//! What rules look for: a dequantized parameter behind transposes, slices and scalar factors, and
//! the alignment of its scale and zero point with a product.

use crate::builder::Builder;
use crate::diag::{Code, Diagnostic};
use crate::dim::Dim;
use crate::graph::{Kernel, Node, Value};
use crate::ops::Op;
use crate::span::Span;
use crate::types::{Part, QuantType, Type};
use std::sync::Arc;

/// A product operand that is a dequantized parameter seen through transposes, slices and scalar
/// factors.
pub struct Weight {
    /// The quantized parameter.
    pub param: Value,
    /// Its type.
    pub ty: Arc<QuantType>,
    /// Axis `i` of the operand is axis `axes[i]` of the codes.
    pub axes: Vec<usize>,
    /// The part of the codes that is seen; at most one window for an axis.
    pub windows: Vec<Window>,
    /// Scalar ops around it, outermost first.
    pub factors: Vec<Factor>,
}

/// Part of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    /// The axis of the codes.
    pub axis: usize,
    /// First index.
    pub start: Dim,
    /// Index behind the last.
    pub stop: Dim,
}

/// A scalar op around a dequantized parameter.
#[derive(Clone, Copy)]
pub enum Factor {
    /// `-d`
    Neg,
    /// `d * c` or `c * d`
    Mul(Value),
    /// `d / c`
    Div(Value),
}

/// A graph that patterns can look into: one under construction, or a finished kernel.
pub trait Graph {
    /// The node of a value.
    fn node(&self, value: Value) -> &Node;
    /// The type of a value.
    fn ty(&self, value: Value) -> &Type;
}

impl Graph for Builder {
    fn node(&self, value: Value) -> &Node {
        Builder::node(self, value)
    }
    fn ty(&self, value: Value) -> &Type {
        Builder::ty(self, value)
    }
}

impl Graph for Kernel {
    fn node(&self, value: Value) -> &Node {
        Kernel::node(self, value)
    }
    fn ty(&self, value: Value) -> &Type {
        Kernel::ty(self, value)
    }
}

/// Whether `value` is one number.
fn is_scalar(b: &impl Graph, value: Value) -> bool {
    matches!(b.ty(value), Type::Tensor(t) if t.shape.iter().all(Dim::is_one))
}

/// Most scalar ops around one value that are moved: each product with it repeats them.
pub const MOST_FACTORS: usize = 64;

/// A value seen through transposes, slices, negation and scalar factors.
pub struct Behind {
    /// What stands there, none of those itself.
    pub value: Value,
    /// Axis `i` of what is seen is axis `axes[i]` of `value`.
    pub axes: Vec<usize>,
    /// The part of `value` that is seen; at most one window for an axis.
    pub windows: Vec<Window>,
    /// Scalar ops around it, outermost first.
    pub factors: Vec<Factor>,
}

impl Behind {
    /// Looks through `value`.
    pub fn find(b: &impl Graph, value: Value) -> Behind {
        let axes = (0..b.ty(value).shape().len()).collect();
        Behind { value, axes, windows: Vec::new(), factors: Vec::new() }.further(b)
    }

    /// `value`, which has the shape of this one, seen as this one is.
    pub fn with(&self, value: Value) -> Behind {
        Behind { value, axes: self.axes.clone(), windows: self.windows.clone(), factors: Vec::new() }
    }

    /// Looks on from here.
    pub fn further(mut self, b: &impl Graph) -> Behind {
        loop {
            let node = b.node(self.value);
            let operands = &node.operands;
            let shape = b.ty(self.value).shape();
            let mut inner = 0;
            match &node.op {
                Op::Transpose { axes } => {
                    self.axes.iter_mut().for_each(|axis| *axis = axes[*axis]);
                    self.windows.iter_mut().for_each(|w| w.axis = axes[w.axis]);
                }
                Op::Slice { axis, start, stop } => match within(&self.windows, *axis, start, stop) {
                    Some(windows) => self.windows = windows,
                    None => return self,
                },
                Op::Neg => self.factors.push(Factor::Neg),
                // A factor of higher rank would add axes; only true scalars leave the shape alone.
                Op::Mul | Op::Div if b.ty(operands[0]).shape() == shape && is_scalar(b, operands[1]) => {
                    let c = operands[1];
                    self.factors.push(if node.op == Op::Mul { Factor::Mul(c) } else { Factor::Div(c) });
                }
                Op::Mul if b.ty(operands[1]).shape() == shape && is_scalar(b, operands[0]) => {
                    self.factors.push(Factor::Mul(operands[0]));
                    inner = 1;
                }
                _ => return self,
            }
            self.value = operands[inner];
        }
    }

    /// What is seen as a weight, if a `dequant` stands here.
    pub fn weight(&self, b: &impl Graph) -> Option<Weight> {
        let node = b.node(self.value);
        let (Op::Dequant, true) = (&node.op, self.factors.len() <= MOST_FACTORS) else { return None };
        let Type::Quant(ty) = b.ty(node.operands[0]) else { return None };
        Some(Weight {
            param: node.operands[0],
            ty: ty.clone(),
            axes: self.axes.clone(),
            windows: self.windows.clone(),
            factors: self.factors.clone(),
        })
    }
}

/// `windows` of a slice as windows of what it is a slice of, unless their ends grow too complex.
fn within(windows: &[Window], axis: usize, start: &Dim, stop: &Dim) -> Option<Vec<Window>> {
    let mut windows = windows.to_vec();
    match windows.iter_mut().find(|w| w.axis == axis) {
        // A window of a window counts from where the inner one starts.
        Some(outer) => {
            outer.start = outer.start.add(start)?;
            outer.stop = outer.stop.add(start)?;
        }
        None => windows.push(Window { axis, start: start.clone(), stop: stop.clone() }),
    }
    Some(windows)
}

impl Weight {
    /// Recognises `value`, following transposes, slices, negation and scalar factors down to a
    /// `dequant`.
    pub fn find(b: &impl Graph, value: Value) -> Option<Weight> {
        Behind::find(b, value).weight(b)
    }

    /// The codes under the operand's axes.
    pub fn codes(&self, b: &mut Builder, span: Span) -> Result<Value, Diagnostic> {
        let codes = b.codes(self.param, span)?;
        let seen = self.seen(b, codes, span)?;
        transposed(b, seen, &self.axes, span)
    }

    /// The codes `[.., K, N]` as `[.., K/unit, unit, N]`.
    pub fn codes_in_groups(&self, b: &mut Builder, unit: u64, span: Span) -> Result<Value, Diagnostic> {
        let codes = b.codes(self.param, span)?;
        let seen = self.seen(b, codes, span)?;
        // Split where they are stored, so that a dense tensor is only looked at otherwise.
        let grouped = in_groups(b, seen, self.contraction_axis(), unit, span)?;
        transposed(b, grouped, &self.axes_in_groups(), span)
    }

    /// The operand's axes, of a tensor whose contracted axis is two.
    fn axes_in_groups(&self) -> Vec<usize> {
        let contracted = self.contraction_axis();
        let behind = |axis: &usize| axis + usize::from(*axis > contracted);
        let mut order: Vec<usize> = self.axes.iter().map(behind).collect();
        order.insert(order.len() - 1, contracted + 1);
        order
    }

    /// The dequantized tensor under the operand's axes, without the scalar factors.
    pub fn dequantized(&self, b: &mut Builder, span: Span) -> Result<Value, Diagnostic> {
        let float = b.dequant(self.param, span)?;
        let seen = self.seen(b, float, span)?;
        transposed(b, seen, &self.axes, span)
    }

    /// The windows of a tensor that lies as the codes do.
    fn seen(&self, b: &mut Builder, mut tensor: Value, span: Span) -> Result<Value, Diagnostic> {
        for w in &self.windows {
            tensor = b.slice(tensor, w.axis, w.start.clone(), w.stop.clone(), span)?;
        }
        Ok(tensor)
    }

    /// A part, given as the value `tensor`, with one axis per axis of the operand: as long as the
    /// codes where it varies, 1 where it does not. With a `unit` it is aligned with the codes in
    /// groups: `[.., K/unit, 1, N]`.
    pub fn aligned(
        &self,
        b: &mut Builder,
        tensor: Value,
        part: &Part,
        unit: Option<u64>,
        span: Span,
    ) -> Result<Value, Diagnostic> {
        // Part axes in the order of the codes' axes, then ones where nothing varies.
        let mut order: Vec<usize> = part.along.iter().flatten().map(|a| a.part_axis).collect();
        order.extend((0..part.ty.rank()).filter(|axis| !order.contains(axis)).collect::<Vec<_>>());
        let ordered = transposed(b, tensor, &order, span)?;
        let shape = part.along.iter().map(|along| match along {
            Some(a) => part.ty.shape[a.part_axis].clone(),
            None => Dim::constant(1),
        });
        let mut value = reshaped(b, ordered, shape.collect(), span)?;
        for w in &self.windows {
            if let Some(along) = &part.along[w.axis] {
                let by = Dim::constant(along.group);
                let ends = [&w.start, &w.stop].map(|end| end.div(&by).ok_or_else(too_complex));
                let [start, stop] = ends;
                value = b.slice(value, w.axis, start?, stop?, span)?;
            }
        }
        for (axis, along) in part.along.iter().enumerate() {
            let Some(along) = along else { continue };
            let kept = unit.filter(|_| axis == self.contraction_axis()).unwrap_or(1);
            value = repeated(b, value, axis, along.group / kept, span)?;
        }
        if unit.is_none() {
            return transposed(b, value, &self.axes, span);
        }
        let mut apart = b.ty(value).shape().to_vec();
        apart.insert(self.contraction_axis() + 1, Dim::constant(1));
        let apart = reshaped(b, value, apart, span)?;
        transposed(b, apart, &self.axes_in_groups(), span)
    }

    /// Axis of the codes that a product contracts, when this is its right operand.
    pub fn contraction_axis(&self) -> usize {
        self.axes[self.axes.len() - 2]
    }

    /// Axis of the codes that becomes the result's columns.
    pub fn channel_axis(&self) -> usize {
        self.axes[self.axes.len() - 1]
    }

    /// Size of an axis of the codes, as far as it is seen.
    pub fn size(&self, axis: usize) -> Option<Dim> {
        match self.windows.iter().find(|w| w.axis == axis) {
            Some(w) => w.stop.sub(&w.start),
            None => Some(self.ty.codes.shape[axis].clone()),
        }
    }
}

/// `tensor` with an axis of size `k` as two, `k/unit` and `unit`.
pub fn in_groups(b: &mut Builder, tensor: Value, axis: usize, unit: u64, span: Span) -> Result<Value, Diagnostic> {
    let mut shape = b.ty(tensor).shape().to_vec();
    let unit = Dim::constant(unit);
    shape[axis] = shape[axis].div(&unit).ok_or_else(too_complex)?;
    shape.insert(axis + 1, unit);
    b.reshape(tensor, shape, span)
}

/// Each element `count` times along an axis.
fn repeated(b: &mut Builder, tensor: Value, axis: usize, count: u64, span: Span) -> Result<Value, Diagnostic> {
    if count == 1 {
        return Ok(tensor);
    }
    let shape = b.ty(tensor).shape().to_vec();
    let mut apart = shape.clone();
    apart.insert(axis + 1, Dim::constant(1));
    let apart = reshaped(b, tensor, apart, span)?;
    let mut wide = b.ty(apart).shape().to_vec();
    wide[axis + 1] = Dim::constant(count);
    let wide = b.broadcast(apart, wide, span)?;
    let mut joined = shape;
    joined[axis] = joined[axis].mul(&Dim::constant(count)).ok_or_else(too_complex)?;
    reshaped(b, wide, joined, span)
}

/// `reshape(x, shape)`, or `x` where that changes nothing. One reshape after another is one.
fn reshaped(b: &mut Builder, mut x: Value, shape: Vec<Dim>, span: Span) -> Result<Value, Diagnostic> {
    if let Op::Reshape { .. } = b.node(x).op {
        x = b.node(x).operands[0];
    }
    if b.ty(x).shape() == shape { Ok(x) } else { b.reshape(x, shape, span) }
}

fn too_complex() -> Diagnostic {
    Diagnostic::new(Code::DimensionTooComplex, "a group size is too complex").help("give the size a name of its own")
}

/// `transpose(x, axes)`, or `x` where that changes nothing.
pub fn transposed(b: &mut Builder, x: Value, axes: &[usize], span: Span) -> Result<Value, Diagnostic> {
    if axes.iter().enumerate().all(|(i, a)| i == *a) { Ok(x) } else { b.transpose(x, axes.to_vec(), span) }
}
