//! Functions of the language that are built from ops: one row each, expanded when called.

use crate::builder::Builder;
use crate::diag::Diagnostic;
use crate::dim::Dim;
use crate::graph::Value;
use crate::span::Span;

/// A function that expands into ops.
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// Names of its arguments, all of them values.
    pub arguments: &'static [&'static str],
    /// What it computes.
    pub formula: &'static str,
    /// Builds it; `args` has as many entries as `arguments`.
    pub expand: fn(&mut Builder, &[Value], Span) -> Result<Value, Diagnostic>,
}

/// Every function, in the order of the reference.
pub static FUNCTIONS: &[Function] = &[
    Function { name: "matmul", arguments: &["a", "b"], formula: "a @ b", expand: |b, a, s| b.matmul(a[0], a[1], s) },
    Function { name: "t", arguments: &["x"], formula: "x.T", expand: |b, a, s| b.t(a[0], s) },
    Function { name: "rsqrt", arguments: &["x"], formula: "1 / sqrt(x)", expand: |b, a, s| rsqrt(b, a[0], s) },
    Function {
        name: "sigmoid",
        arguments: &["x"],
        formula: "1 / (1 + exp(-x))",
        expand: |b, a, s| {
            let one = b.constant(1.0, s);
            let below = one_plus_exp_neg(b, a[0], s)?;
            b.div(one, below, s)
        },
    },
    Function {
        name: "relu",
        arguments: &["x"],
        formula: "max(x, 0)",
        expand: |b, a, s| {
            let zero = b.constant(0.0, s);
            b.max(a[0], zero, s)
        },
    },
    Function {
        name: "silu",
        arguments: &["x"],
        formula: "x / (1 + exp(-x))",
        expand: |b, a, s| {
            let below = one_plus_exp_neg(b, a[0], s)?;
            b.div(a[0], below, s)
        },
    },
    Function {
        name: "gelu",
        arguments: &["x"],
        formula: "x/2 * (1 + erf(x / sqrt(2)))",
        expand: |b, a, s| {
            let scaled = scale(b, a[0], std::f32::consts::FRAC_1_SQRT_2, s)?;
            let inner = b.erf(scaled, s)?;
            half_one_plus(b, a[0], inner, s)
        },
    },
    Function {
        name: "gelu_tanh",
        arguments: &["x"],
        formula: "x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))",
        expand: |b, a, s| {
            let square = b.mul(a[0], a[0], s)?;
            let cube = b.mul(square, a[0], s)?;
            let small = scale(b, cube, 0.044715, s)?;
            let sum = b.add(a[0], small, s)?;
            let scaled = scale(b, sum, 0.797_884_6, s)?;
            let inner = b.tanh(scaled, s)?;
            half_one_plus(b, a[0], inner, s)
        },
    },
    Function {
        name: "mean",
        arguments: &["x"],
        formula: "sum(x) / size of the last dimension",
        expand: |b, a, s| mean(b, a[0], s),
    },
    Function {
        name: "rms_norm",
        arguments: &["x", "w", "eps"],
        formula: "x * rsqrt(mean(x*x) + eps) * w",
        expand: |b, a, s| {
            let normal = normalized(b, a[0], a[2], s)?;
            b.mul(normal, a[1], s)
        },
    },
    Function {
        name: "layer_norm",
        arguments: &["x", "w", "b", "eps"],
        formula: "c * rsqrt(mean(c*c) + eps) * w + b with c = x - mean(x)",
        expand: |b, a, s| {
            let center = mean(b, a[0], s)?;
            let centered = b.sub(a[0], center, s)?;
            let normal = normalized(b, centered, a[3], s)?;
            let scaled = b.mul(normal, a[1], s)?;
            b.add(scaled, a[2], s)
        },
    },
    Function {
        name: "rope",
        arguments: &["x", "cos", "sin"],
        formula: "(x1*cos - x2*sin, x2*cos + x1*sin), x1 and x2 the halves of the last dimension, \
                  cos and sin of half its size",
        expand: rope,
    },
];

/// The function of that name.
pub fn by_name(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|f| f.name == name)
}

fn scale(b: &mut Builder, x: Value, factor: f32, s: Span) -> Result<Value, Diagnostic> {
    let factor = b.constant(factor, s);
    b.mul(x, factor, s)
}

fn rsqrt(b: &mut Builder, x: Value, s: Span) -> Result<Value, Diagnostic> {
    let one = b.constant(1.0, s);
    let root = b.sqrt(x, s)?;
    b.div(one, root, s)
}

fn one_plus_exp_neg(b: &mut Builder, x: Value, s: Span) -> Result<Value, Diagnostic> {
    let one = b.constant(1.0, s);
    let negative = b.neg(x, s)?;
    let e = b.exp(negative, s)?;
    b.add(one, e, s)
}

fn half_one_plus(b: &mut Builder, x: Value, inner: Value, s: Span) -> Result<Value, Diagnostic> {
    let one = b.constant(1.0, s);
    let half = scale(b, x, 0.5, s)?;
    let sum = b.add(one, inner, s)?;
    b.mul(half, sum, s)
}

fn mean(b: &mut Builder, x: Value, s: Span) -> Result<Value, Diagnostic> {
    let last = b.ty(x).shape().last().cloned().unwrap_or(Dim::constant(1));
    let total = b.sum(x, s)?;
    let count = b.size(last, s)?;
    b.div(total, count, s)
}

/// `x * rsqrt(mean(x*x) + eps)`
fn normalized(b: &mut Builder, x: Value, eps: Value, s: Span) -> Result<Value, Diagnostic> {
    let square = b.mul(x, x, s)?;
    let mean = mean(b, square, s)?;
    let sum = b.add(mean, eps, s)?;
    let factor = rsqrt(b, sum, s)?;
    b.mul(x, factor, s)
}

fn rope(b: &mut Builder, a: &[Value], s: Span) -> Result<Value, Diagnostic> {
    let last = b.ty(a[0]).shape().last().cloned().unwrap_or(Dim::constant(0));
    let axis = b.ty(a[0]).shape().len().saturating_sub(1);
    let half = b.quotient(&last, &Dim::constant(2)).unwrap_or(Dim::constant(0));
    let first = b.slice(a[0], axis, Dim::constant(0), half.clone(), s)?;
    let second = b.slice(a[0], axis, half, last, s)?;
    let mut rotated = [first, second];
    for (out, (x, y)) in [(first, second), (second, first)].into_iter().enumerate() {
        let along = b.mul(x, a[1], s)?;
        let across = b.mul(y, a[2], s)?;
        rotated[out] = if out == 0 { b.sub(along, across, s)? } else { b.add(along, across, s)? };
    }
    b.concat(rotated[0], rotated[1], axis, s)
}
