//! Which values of a kernel are never negative, whatever the inputs: what unsigned digits need.
//! NaN counts as not negative, since a row with a NaN has no digits at all.

use crate::graph::{Kernel, Node};
use crate::ops::{Class, Op};
use crate::types::Type;

/// For each node whether its results are never negative.
pub(super) fn never_negative(kernel: &Kernel) -> Vec<bool> {
    let mut known: Vec<bool> = Vec::with_capacity(kernel.nodes.len());
    for node in &kernel.nodes {
        let is_positive = of_node(node, &|i| known[node.operands[i].node]);
        known.push(is_positive);
    }
    known
}

fn of_node(node: &Node, operand: &dyn Fn(usize) -> bool) -> bool {
    let all = || (0..node.operands.len()).all(operand);
    // Integers wrap: a sum, a product or a magnitude of them may be negative.
    let is_float = node.types[0].tensor().is_some_and(|t| t.dtype.is_float());
    match &node.op {
        Op::Const { bits } => f32::from_bits(*bits) >= 0.0,
        Op::Param { .. } | Op::Codes => match &node.types[0] {
            Type::Tensor(t) => t.dtype.int_range().is_some_and(|(low, _)| low == 0),
            Type::Quant(_) => false,
        },
        Op::Exp | Op::Sqrt | Op::Softmax | Op::Size { .. } => true,
        Op::Abs => is_float,
        Op::Lt | Op::Le | Op::Gt | Op::Ge | Op::Eq | Op::Ne => true,
        Op::Max => operand(0) || operand(1),
        Op::Select => operand(1) && operand(2),
        Op::Cast { dtype } if dtype.int_range().is_some_and(|(low, _)| low == 0) => true,
        Op::Div | Op::Min | Op::Cast { .. } | Op::Amax => all(),
        Op::Add | Op::Mul | Op::Sum | Op::MatMul => is_float && all(),
        op => op.class() == Class::Movement && all(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::builder::Builder;
    use crate::dim::Dim;
    use crate::dtype::DType;
    use crate::graph::{Attributes, Value};
    use crate::span::Span;
    use crate::types::TensorType;

    /// What the analysis says of `make(x)`, `x` being `f32[M, K]`.
    fn says(make: impl Fn(&mut Builder, Value, Span) -> Value) -> bool {
        let span = Span::new(0, 0);
        let mut b = Builder::new();
        let ty = TensorType::new(DType::F32, vec![Dim::name("M"), Dim::name("K")]);
        let x = b.param("x", Type::Tensor(ty), span);
        let y = make(&mut b, x, span);
        let kernel = b.finish("f", vec![y], Attributes::default(), span);
        never_negative(&kernel)[kernel.results[0].node]
    }

    #[test]
    fn what_cannot_be_negative_is_known() {
        assert!(says(|b, x, s| b.softmax(x, s).unwrap()));
        assert!(says(|b, x, s| {
            let zero = b.constant(0.0, s);
            b.max(x, zero, s).unwrap()
        }));
        assert!(says(|b, x, s| {
            // The sigmoid as it is expanded.
            let (one, minus) = (b.constant(1.0, s), b.neg(x, s).unwrap());
            let e = b.exp(minus, s).unwrap();
            let sum = b.add(one, e, s).unwrap();
            let y = b.div(one, sum, s).unwrap();
            b.t(y, s).unwrap()
        }));
    }

    #[test]
    fn what_may_be_negative_is_not() {
        assert!(!says(|_, x, _| x));
        assert!(!says(|b, x, s| b.tanh(x, s).unwrap()));
        assert!(!says(|b, x, s| {
            let e = b.exp(x, s).unwrap();
            b.sub(e, e, s).unwrap()
        }));
        assert!(!says(|b, x, s| {
            let e = b.softmax(x, s).unwrap();
            b.mul(e, x, s).unwrap()
        }));
        assert!(!says(|b, x, s| {
            let e = b.softmax(x, s).unwrap();
            b.causal(e, s).unwrap()
        }));
    }

    #[test]
    fn integers_wrap() {
        let codes = |b: &mut Builder, x: Value, s: Span| b.cast(x, DType::U8, s).unwrap();
        assert!(says(|b, x, s| codes(b, x, s)));
        assert!(!says(|b, x, s| {
            let c = codes(b, x, s);
            let product = b.mul(c, c, s).unwrap();
            b.cast(product, DType::F32, s).unwrap()
        }));
        assert!(!says(|b, x, s| {
            let c = codes(b, x, s);
            b.sum(c, s).unwrap()
        }));
        assert!(!says(|b, x, s| {
            let wide = b.cast(x, DType::I32, s).unwrap();
            b.abs(wide, s).unwrap()
        }));
    }
}
