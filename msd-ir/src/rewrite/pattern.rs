//! What rules look for: a dequantized parameter behind transposes and scalar factors, and the
//! alignment of its scale with a product's result.

use crate::builder::Builder;
use crate::diag::Diagnostic;
use crate::dim::Dim;
use crate::graph::{Kernel, Node, Value};
use crate::ops::Op;
use crate::span::Span;
use crate::types::{Part, QuantType, Type};
use std::sync::Arc;

/// A product operand that is a dequantized parameter seen through transposes and scalar factors.
pub struct Weight {
    /// The quantized parameter.
    pub param: Value,
    /// Its type.
    pub ty: Arc<QuantType>,
    /// Axis `i` of the operand is axis `axes[i]` of the codes.
    pub axes: Vec<usize>,
    /// Scalar ops around it, outermost first.
    pub factors: Vec<Factor>,
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

/// A value seen through transposes, negation and scalar factors.
pub struct Behind {
    /// What stands there, none of those itself.
    pub value: Value,
    /// Axis `i` of what is seen is axis `axes[i]` of `value`.
    pub axes: Vec<usize>,
    /// Scalar ops around it, outermost first.
    pub factors: Vec<Factor>,
}

impl Behind {
    /// Looks through `value`.
    pub fn find(b: &impl Graph, value: Value) -> Behind {
        let mut axes: Vec<usize> = (0..b.ty(value).shape().len()).collect();
        let mut factors = Vec::new();
        let mut at = value;
        loop {
            let node = b.node(at);
            let operands = &node.operands;
            match &node.op {
                Op::Transpose { axes: inner } => {
                    for axis in &mut axes {
                        *axis = inner[*axis];
                    }
                    at = operands[0];
                }
                Op::Neg => {
                    factors.push(Factor::Neg);
                    at = operands[0];
                }
                // A factor of higher rank would add axes; only true scalars leave the shape alone.
                Op::Mul | Op::Div if b.ty(operands[0]).shape() == b.ty(at).shape() && is_scalar(b, operands[1]) => {
                    let c = operands[1];
                    factors.push(if node.op == Op::Mul { Factor::Mul(c) } else { Factor::Div(c) });
                    at = operands[0];
                }
                Op::Mul if b.ty(operands[1]).shape() == b.ty(at).shape() && is_scalar(b, operands[0]) => {
                    factors.push(Factor::Mul(operands[0]));
                    at = operands[1];
                }
                _ => return Behind { value: at, axes, factors },
            }
        }
    }
}

impl Weight {
    /// Recognises `value`, following transposes, negation and scalar factors down to a `dequant`.
    pub fn find(b: &impl Graph, value: Value) -> Option<Weight> {
        let Behind { value, axes, factors } = Behind::find(b, value);
        let node = b.node(value);
        if node.op != Op::Dequant {
            return None;
        }
        let Type::Quant(ty) = b.ty(node.operands[0]) else { return None };
        Some(Weight { param: node.operands[0], ty: ty.clone(), axes, factors })
    }

    /// The codes under the operand's axes.
    pub fn codes(&self, b: &mut Builder, span: Span) -> Result<Value, Diagnostic> {
        let codes = b.codes(self.param, span)?;
        transposed(b, codes, &self.axes, span)
    }

    /// The dequantized tensor under the operand's axes, without the scalar factors.
    pub fn dequantized(&self, b: &mut Builder, span: Span) -> Result<Value, Diagnostic> {
        let float = b.dequant(self.param, span)?;
        transposed(b, float, &self.axes, span)
    }

    /// The scale with one axis per axis of the operand, size 1 where it does not vary. Needs a
    /// scale without groups.
    pub fn aligned_scale(&self, b: &mut Builder, span: Span) -> Result<Value, Diagnostic> {
        let scale = b.scale(self.param, span)?;
        let part = &self.ty.scale;
        // Part axes in the order of the codes' axes, then ones where nothing varies.
        let mut order: Vec<usize> = part.along.iter().flatten().map(|a| a.part_axis).collect();
        order.extend((0..part.ty.rank()).filter(|axis| !order.contains(axis)).collect::<Vec<_>>());
        let ordered = transposed(b, scale, &order, span)?;
        let shape = part.along.iter().map(|along| match along {
            Some(a) => part.ty.shape[a.part_axis].clone(),
            None => Dim::constant(1),
        });
        let shape: Vec<Dim> = shape.collect();
        let aligned = if b.ty(ordered).shape() == shape { ordered } else { b.reshape(ordered, shape, span)? };
        transposed(b, aligned, &self.axes, span)
    }

    /// Axis of the codes that a product contracts, when this is its right operand.
    pub fn contraction_axis(&self) -> usize {
        self.axes[self.axes.len() - 2]
    }
}

/// How a part varies along one axis of the codes.
pub fn varies(part: &Part, axis: usize) -> bool {
    part.along[axis].is_some()
}

/// `transpose(x, axes)`, or `x` where that changes nothing.
fn transposed(b: &mut Builder, x: Value, axes: &[usize], span: Span) -> Result<Value, Diagnostic> {
    if axes.iter().enumerate().all(|(i, a)| i == *a) { Ok(x) } else { b.transpose(x, axes.to_vec(), span) }
}
