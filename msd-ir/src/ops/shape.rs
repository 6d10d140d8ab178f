//! Type rules: one function per kind of op, from operand types to result types. They report
//! what is wrong in the language's terms; the builder adds the place.

use super::Op;
use crate::diag::{Code, Diagnostic};
use crate::dim::Dim;
use crate::dtype::DType;
use crate::quant::scheme::Scheme;
use crate::types::{Shape, TensorType, Type, broadcast, shape_text};

type Types = Result<Vec<Type>, Diagnostic>;

fn one(dtype: DType, shape: Shape) -> Types {
    Ok(vec![Type::Tensor(TensorType::new(dtype, shape))])
}

fn tensor<'a>(op: &Op, ty: &'a Type) -> Result<&'a TensorType, Diagnostic> {
    ty.tensor().ok_or_else(|| {
        let message = format!("`{}` needs a plain tensor, this one is quantized: `{ty}`", op.spelled());
        Diagnostic::new(Code::NotDequantized, message).help("write `dequant(...)` around it")
    })
}

fn number<'a>(op: &Op, ty: &'a Type) -> Result<&'a TensorType, Diagnostic> {
    let t = tensor(op, ty)?;
    if t.dtype == DType::Bool {
        let message = format!("`{}` needs numbers, this is `{t}`", op.spelled());
        return Err(Diagnostic::new(Code::WrongType, message).help("choose numbers with `where(c, a, b)`"));
    }
    Ok(t)
}

/// The type two numbers are computed in.
fn promote(a: DType, b: DType) -> DType {
    if a.is_int() && b.is_int() {
        if a == DType::I64 || b == DType::I64 { DType::I64 } else { DType::I32 }
    } else if a == DType::F64 || b == DType::F64 {
        DType::F64
    } else {
        DType::F32
    }
}

fn broadcast_of(op: &Op, a: &TensorType, b: &TensorType) -> Result<Shape, Diagnostic> {
    broadcast(&a.shape, &b.shape).map_err(|(x, y)| {
        let message = format!("`{}` cannot broadcast `{a}` with `{b}`: `{x}` against `{y}`", op.spelled());
        Diagnostic::new(Code::ShapeMismatch, message).help("dimensions must be equal or 1, counted from the last")
    })
}

fn min_rank(op: &Op, t: &TensorType, rank: usize) -> Result<(), Diagnostic> {
    if t.rank() >= rank {
        return Ok(());
    }
    let message = format!(
        "`{}` needs at least {rank} dimension{}, `{t}` has {}",
        op.spelled(),
        if rank == 1 { "" } else { "s" },
        t.rank()
    );
    Err(Diagnostic::new(Code::RankTooLow, message).help("add dimensions with `reshape(x, [...])`"))
}

fn axis_in(op: &Op, axis: usize, t: &TensorType) -> Result<(), Diagnostic> {
    if axis < t.rank() {
        return Ok(());
    }
    let message = format!("`{}` has no such axis in `{t}`", op.spelled());
    Err(Diagnostic::new(Code::AxisOutOfRange, message).help(format!(
        "axes run from 0 to {}, or from -{} to -1",
        t.rank().max(1) - 1,
        t.rank()
    )))
}

fn too_complex(what: &str) -> Diagnostic {
    Diagnostic::new(Code::DimensionTooComplex, format!("{what} is too complex"))
        .help("give the intermediate size a name of its own")
}

/// Whether this is a number, but negative or a fraction: `K - (K + 1)`.
fn is_no_size(dim: &Dim) -> bool {
    dim.names().is_empty() && dim.as_constant().is_none()
}

pub(super) fn size(op: &Op, _: &[&Type]) -> Types {
    debug_assert!(matches!(op, Op::Size { .. }));
    one(DType::F32, Vec::new())
}

pub(super) fn dequant(_: &Op, args: &[&Type]) -> Types {
    match args[0] {
        Type::Quant(q) => one(DType::F32, q.codes.shape.clone()),
        Type::Tensor(t) => Err(nothing_to_dequant(t)),
    }
}

fn nothing_to_dequant(t: &TensorType) -> Diagnostic {
    let message = format!("`{t}` carries no scale");
    let help = "declare one, as in `W: i8[N, K] scale f32[N]`, or use `cast(x, f32)`";
    Diagnostic::new(Code::NothingToDequant, message).help(help)
}

pub(super) fn part(op: &Op, args: &[&Type]) -> Types {
    let q = match args[0] {
        Type::Quant(q) => q,
        Type::Tensor(t) => return Err(nothing_to_dequant(t)),
    };
    let ty = match op {
        Op::Scale => Some(&q.scale.ty),
        Op::Zero => q.zero.as_ref().map(|z| &z.ty),
        _ => Some(&q.codes),
    };
    let ty = ty.ok_or_else(|| {
        Diagnostic::new(Code::NothingToDequant, format!("`{}` has no zero point", args[0]))
            .help("declare one, as in `zero u4[N, K/128]`")
    })?;
    Ok(vec![Type::Tensor(ty.clone())])
}

pub(super) fn float(op: &Op, args: &[&Type]) -> Types {
    let t = number(op, args[0])?;
    one(DType::F32, t.shape.clone())
}

pub(super) fn signed(op: &Op, args: &[&Type]) -> Types {
    let t = number(op, args[0])?;
    one(promote(t.dtype, t.dtype), t.shape.clone())
}

pub(super) fn arithmetic(op: &Op, args: &[&Type]) -> Types {
    let (a, b) = (number(op, args[0])?, number(op, args[1])?);
    one(promote(a.dtype, b.dtype), broadcast_of(op, a, b)?)
}

pub(super) fn division(op: &Op, args: &[&Type]) -> Types {
    let (a, b) = (number(op, args[0])?, number(op, args[1])?);
    let wide = a.dtype == DType::F64 || b.dtype == DType::F64;
    one(if wide { DType::F64 } else { DType::F32 }, broadcast_of(op, a, b)?)
}

pub(super) fn comparison(op: &Op, args: &[&Type]) -> Types {
    let (a, b) = (number(op, args[0])?, number(op, args[1])?);
    one(DType::Bool, broadcast_of(op, a, b)?)
}

pub(super) fn select(op: &Op, args: &[&Type]) -> Types {
    let c = tensor(op, args[0])?;
    if c.dtype != DType::Bool {
        let message = format!("the condition of `where` must be `bool`, this is `{c}`");
        return Err(Diagnostic::new(Code::WrongType, message).help("compare first, as in `x > 0`"));
    }
    let (a, b) = (number(op, args[1])?, number(op, args[2])?);
    let values = TensorType::new(promote(a.dtype, b.dtype), broadcast_of(op, a, b)?);
    one(values.dtype, broadcast_of(op, c, &values)?)
}

pub(super) fn cast(op: &Op, args: &[&Type]) -> Types {
    let t = tensor(op, args[0])?;
    match op {
        Op::Cast { dtype } => one(*dtype, t.shape.clone()),
        _ => one(t.dtype, t.shape.clone()),
    }
}

pub(super) fn steps(op: &Op, args: &[&Type]) -> Types {
    let t = number(op, args[0])?;
    if t.dtype.is_float() && t.dtype.bits() == 4 {
        return one(DType::I8, t.shape.clone());
    }
    let message = format!("`{}` counts the steps of floats of 4 bits, this is `{t}`", op.spelled());
    Err(Diagnostic::new(Code::WrongType, message).help("multiply other types with `@`"))
}

pub(super) fn causal(op: &Op, args: &[&Type]) -> Types {
    let t = number(op, args[0])?;
    min_rank(op, t, 2)?;
    one(DType::F32, t.shape.clone())
}

pub(super) fn reduction(op: &Op, args: &[&Type]) -> Types {
    let t = number(op, args[0])?;
    min_rank(op, t, 1)?;
    let mut shape = t.shape.clone();
    shape[t.rank() - 1] = Dim::constant(1);
    one(promote(t.dtype, t.dtype), shape)
}

pub(super) fn softmax(op: &Op, args: &[&Type]) -> Types {
    let t = number(op, args[0])?;
    min_rank(op, t, 1)?;
    one(DType::F32, t.shape.clone())
}

pub(super) fn transpose(op: &Op, args: &[&Type]) -> Types {
    let t = tensor(op, args[0])?;
    let Op::Transpose { axes } = op else { return one(t.dtype, t.shape.clone()) };
    let mut seen = vec![false; t.rank()];
    for axis in axes {
        axis_in(op, *axis, t)?;
        seen[*axis] = true;
    }
    if axes.len() != t.rank() || seen.contains(&false) {
        let message = format!("`transpose` needs each of the {} axes of `{t}` once", t.rank());
        return Err(Diagnostic::new(Code::AxisOutOfRange, message).help("for example `transpose(x, [1, 0])`"));
    }
    one(t.dtype, axes.iter().map(|a| t.shape[*a].clone()).collect())
}

pub(super) fn reshape(op: &Op, args: &[&Type]) -> Types {
    let t = tensor(op, args[0])?;
    let Op::Reshape { shape } = op else { return one(t.dtype, t.shape.clone()) };
    let count = |s: &[Dim]| s.iter().try_fold(Dim::constant(1), |n, d| n.mul(d));
    match (count(&t.shape), count(shape)) {
        (Some(a), Some(b)) if a == b => one(t.dtype, shape.clone()),
        (Some(a), Some(b)) => {
            let message = format!("`{t}` has `{a}` elements, `{}` has `{b}`", shape_text(shape));
            Err(Diagnostic::new(Code::ReshapeSize, message).help("the products of the dimensions must be equal"))
        }
        _ => Err(too_complex("the number of elements")),
    }
}

pub(super) fn concat(op: &Op, args: &[&Type]) -> Types {
    let (a, b) = (tensor(op, args[0])?, tensor(op, args[1])?);
    let Op::Concat { axis } = *op else { return one(a.dtype, a.shape.clone()) };
    axis_in(op, axis, a)?;
    let others_agree = a.rank() == b.rank() && (0..a.rank()).all(|i| i == axis || a.shape[i] == b.shape[i]);
    if !others_agree {
        let message = format!("`concat` along axis {axis} needs the other dimensions equal: `{a}` and `{b}`");
        return Err(Diagnostic::new(Code::ShapeMismatch, message).help("`reshape` or `transpose` one of them first"));
    }
    if (a.dtype == DType::Bool) != (b.dtype == DType::Bool) {
        let message = format!("`concat` of `{a}` and `{b}`");
        return Err(Diagnostic::new(Code::WrongType, message).help("both must be numbers or both `bool`"));
    }
    let mut shape = a.shape.clone();
    shape[axis] = a.shape[axis].add(&b.shape[axis]).ok_or_else(|| too_complex("the joined dimension"))?;
    one(if a.dtype == b.dtype { a.dtype } else { promote(a.dtype, b.dtype) }, shape)
}

pub(super) fn slice(op: &Op, args: &[&Type]) -> Types {
    let t = tensor(op, args[0])?;
    let Op::Slice { axis, start, stop } = op else { return one(t.dtype, t.shape.clone()) };
    axis_in(op, *axis, t)?;
    let whole = &t.shape[*axis];
    let length = stop.sub(start).ok_or_else(|| too_complex("the length of the slice"))?;
    let behind = whole.sub(stop).ok_or_else(|| too_complex("what the slice leaves"))?;
    if [&length, &behind, start].into_iter().any(is_no_size) {
        let message = format!("`slice` from `{start}` to `{stop}` does not lie in `{whole}`");
        return Err(Diagnostic::new(Code::BadSlice, message).help("0 <= start <= stop <= size"));
    }
    let mut shape = t.shape.clone();
    shape[*axis] = length;
    one(t.dtype, shape)
}

fn product(op: &Op, a: &TensorType, b: &TensorType) -> Result<Shape, Diagnostic> {
    min_rank(op, a, 2)?;
    min_rank(op, b, 2)?;
    let (a_outer, a_inner) = a.shape.split_at(a.rank() - 2);
    let (b_outer, b_inner) = b.shape.split_at(b.rank() - 2);
    if a_inner[1] != b_inner[0] {
        let message = format!(
            "`{}` of `{a}` and `{b}`: inner dimensions `{}` and `{}` differ",
            op.spelled(),
            a_inner[1],
            b_inner[0]
        );
        let transposed = a_inner[1] == b_inner[1];
        return Err(Diagnostic::new(Code::ShapeMismatch, message).help(if transposed {
            "transpose the right side: `a @ b.T`, or `a.matmul(b.t())`"
        } else {
            "the last dimension on the left must equal the last but one on the right"
        }));
    }
    let mut shape = broadcast(a_outer, b_outer).map_err(|(x, y)| {
        let message = format!("`{}` of `{a}` and `{b}`: batch dimensions `{x}` and `{y}` differ", op.spelled());
        Diagnostic::new(Code::ShapeMismatch, message).help("batch dimensions must be equal or 1")
    })?;
    shape.extend([a_inner[0].clone(), b_inner[1].clone()]);
    Ok(shape)
}

pub(super) fn matmul(op: &Op, args: &[&Type]) -> Types {
    let (a, b) = (number(op, args[0])?, number(op, args[1])?);
    one(promote(a.dtype, b.dtype), product(op, a, b)?)
}

/// Refuses operands wider than the exact sums allow for.
fn narrow_int(op: &Op, t: &TensorType, bits: u32) -> Result<(), Diagnostic> {
    if t.dtype.is_int() && t.dtype.bits() <= bits {
        return Ok(());
    }
    let message = format!("`{}` needs integers of at most {bits} bits here, this is `{t}`", op.spelled());
    let is_fp4 = t.dtype.is_float() && t.dtype.bits() == 4;
    let help = if is_fp4 { "floats of 4 bits are integers in `msd.steps(x)`" } else { "for other types use `@`" };
    Err(Diagnostic::new(Code::WrongType, message).help(help))
}

pub(super) fn dot(op: &Op, args: &[&Type]) -> Types {
    let (a, b) = (number(op, args[0])?, number(op, args[1])?);
    narrow_int(op, a, 16)?;
    narrow_int(op, b, 8)?;
    one(DType::I64, product(op, a, b)?)
}

/// A shape of which each token's row is stacked once per digit.
fn stacked(scheme: Scheme, shape: &[Dim]) -> Result<Shape, Diagnostic> {
    let mut digits = shape.to_vec();
    let rows = digits.len() - 2;
    let count = Dim::constant(scheme.weights().len() as u64);
    digits[rows] = count.mul(&digits[rows]).ok_or_else(|| too_complex("the stacked token dimension"))?;
    Ok(digits)
}

/// The inverse of [`stacked`]: one row for each token.
fn unstacked(op: &Op, scheme: Scheme, t: &TensorType) -> Result<Shape, Diagnostic> {
    let mut shape = t.shape.clone();
    let rows = shape.len() - 2;
    let digits = Dim::constant(scheme.weights().len() as u64);
    let tokens = shape[rows].div(&digits).ok_or_else(|| too_complex("the token dimension"))?;
    if is_no_size(&tokens) {
        let message = format!("`{}` needs {digits} rows for each token, `{t}` has `{}`", op.spelled(), shape[rows]);
        return Err(Diagnostic::new(Code::ShapeMismatch, message).help("the scheme must be the one of `msd.decompose`"));
    }
    shape[rows] = tokens;
    Ok(shape)
}

pub(super) fn decompose(op: &Op, args: &[&Type]) -> Types {
    let t = number(op, args[0])?;
    min_rank(op, t, 2)?;
    let Op::Decompose { scheme } = op else { return one(t.dtype, t.shape.clone()) };
    let digits = stacked(*scheme, &t.shape)?;
    let mut scale = t.shape.clone();
    scale[t.rank() - 1] = Dim::constant(1);
    Ok(vec![
        Type::Tensor(TensorType::new(scheme.digit_dtype(), digits)),
        Type::Tensor(TensorType::new(DType::F64, scale)),
    ])
}

pub(super) fn decompose_blocks(op: &Op, args: &[&Type]) -> Types {
    let t = number(op, args[0])?;
    min_rank(op, t, 2)?;
    let Op::DecomposeBlocks { scheme, size } = op else { return one(t.dtype, t.shape.clone()) };
    let (outer, inner) = t.shape.split_at(t.rank() - 2);
    let (tokens, columns) = (&inner[0], &inner[1]);
    let blocks = columns.div(size).filter(|blocks| !is_no_size(blocks));
    let Some(blocks) = blocks.filter(|_| size.as_constant().is_some_and(|s| s > 0)) else {
        let message = format!("`{}` of `{t}`: `{columns}` is no number of blocks of `{size}`", op.spelled());
        return Err(Diagnostic::new(Code::ShapeMismatch, message).help("the size is a number that divides the columns"));
    };
    let shape = |inner: [&Dim; 3]| outer.iter().chain(inner).cloned().collect::<Shape>();
    let one_each = Dim::constant(1);
    let row: Shape = outer.iter().chain([tokens, &one_each]).cloned().collect();
    let digits = stacked(*scheme, &shape([&blocks, tokens, size]))?;
    Ok(vec![
        Type::Tensor(TensorType::new(scheme.digit_dtype(), digits)),
        Type::Tensor(TensorType::new(DType::F32, shape([&blocks, tokens, &one_each]))),
        Type::Tensor(TensorType::new(DType::F64, row)),
    ])
}

/// Digit products and their row sums come exact.
fn exact<'a>(op: &Op, ty: &'a Type) -> Result<&'a TensorType, Diagnostic> {
    let t = number(op, ty)?;
    min_rank(op, t, 2)?;
    if t.dtype != DType::I64 {
        let message = format!("`{}` needs exact digit products, this is `{t}`", op.spelled());
        return Err(Diagnostic::new(Code::WrongType, message).help("combine the result of `msd.dot`"));
    }
    Ok(t)
}

pub(super) fn combine(op: &Op, args: &[&Type]) -> Types {
    let t = number(op, args[0])?;
    min_rank(op, t, 2)?;
    // Digits that are floats have products that are.
    if !matches!(t.dtype, DType::I64 | DType::F32) {
        let message = format!("`{}` needs products of digits, in i64 or f32, this is `{t}`", op.spelled());
        return Err(Diagnostic::new(Code::WrongType, message).help("combine the result of `msd.dot` or of `@`"));
    }
    let Op::Combine { scheme } = op else { return one(t.dtype, t.shape.clone()) };
    one(DType::F32, unstacked(op, *scheme, t)?)
}

pub(super) fn combine_zero(op: &Op, args: &[&Type]) -> Types {
    let (p, r, z) = (exact(op, args[0])?, exact(op, args[1])?, number(op, args[2])?);
    let Op::CombineZero { scheme } = op else { return one(p.dtype, p.shape.clone()) };
    let shape = unstacked(op, *scheme, p)?;
    let sums = TensorType::new(r.dtype, unstacked(op, *scheme, r)?);
    // Both stretch to the products; neither stretches them.
    for (t, what) in [(&sums, "row sums"), (z, "zero points")] {
        stretches(op, t, &shape, what)?;
    }
    one(DType::F32, shape)
}

pub(super) fn accumulate(op: &Op, args: &[&Type]) -> Types {
    let (p, s, u) = (number(op, args[0])?, number(op, args[1])?, number(op, args[2])?);
    min_rank(op, p, 3)?;
    for (t, what) in [(p, "partial products"), (s, "scales"), (u, "units")] {
        if t.dtype != DType::F32 {
            let message = format!("`{}` needs {what} in f32, this is `{t}`", op.spelled());
            return Err(Diagnostic::new(Code::WrongType, message).help("write `cast(x, f32)`"));
        }
        stretches(op, t, &p.shape, what)?;
    }
    let mut shape = p.shape.clone();
    shape.remove(p.rank() - 3);
    one(DType::F32, shape)
}

pub(super) fn accumulate_wide(op: &Op, args: &[&Type]) -> Types {
    let (p, s, u) = (exact(op, args[0])?, number(op, args[1])?, number(op, args[2])?);
    min_rank(op, p, 3)?;
    let Op::AccumulateWide { scheme } = op else { return one(p.dtype, p.shape.clone()) };
    let mut shape = unstacked(op, *scheme, p)?;
    for (t, what) in [(s, "scales"), (u, "units")] {
        if t.dtype.is_int() {
            let message = format!("`{}` needs {what} that are floats, this is `{t}`", op.spelled());
            return Err(Diagnostic::new(Code::WrongType, message).help("write `cast(x, f32)`"));
        }
        stretches(op, t, &shape, what)?;
    }
    shape.remove(shape.len() - 3);
    one(DType::F64, shape)
}

/// Refuses a tensor that does not broadcast to exactly `shape`.
fn stretches(op: &Op, t: &TensorType, shape: &[Dim], what: &str) -> Result<(), Diagnostic> {
    if broadcast(&t.shape, shape).is_ok_and(|joined| joined == shape) {
        return Ok(());
    }
    let message = format!("`{}`: {what} `{t}` do not broadcast to `{}`", op.spelled(), shape_text(shape));
    Err(Diagnostic::new(Code::ShapeMismatch, message).help("dimensions must be equal or 1, counted from the last"))
}

pub(super) fn stretch(op: &Op, args: &[&Type]) -> Types {
    let t = tensor(op, args[0])?;
    let Op::Broadcast { shape } = op else { return one(t.dtype, t.shape.clone()) };
    stretches(op, t, shape, "elements")?;
    one(t.dtype, shape.clone())
}
