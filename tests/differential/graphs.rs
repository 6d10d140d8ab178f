//! Random graphs over every op of the table. Each step applies an op to values that fit it; sizes
//! are drawn first, so that steps which would not bind (a slice out of range, a value too large)
//! are left out.

use std::collections::BTreeSet;
use std::sync::Arc;

use msd::ir::builder::Builder;
use msd::ir::dim::{Dim, Sizes};
use msd::ir::dtype::DType;
use msd::ir::graph::{Attributes, Kernel, Value};
use msd::ir::ops::{Attr, AttrKind, Class, OPS, OpInfo};
use msd::ir::quant::scheme::Scheme;
use msd::ir::span::Span;
use msd::ir::types::{QuantType, TensorType, Type};

use super::oracle::Oracle;
use super::oracle::draw::{Draw, Values};
use super::{SIZES, for_seeds};

const AT: Span = Span { start: 0, end: 0 };

/// Most elements of a value, and most multiply-accumulates of a product.
const MAX_ELEMENTS: u64 = 1 << 15;
const MAX_MACS: u64 = 1 << 20;

#[test]
fn random_graphs() {
    let oracle = Oracle::new(&[1, 3]);
    for_seeds(0..120, |draw| {
        let sizes = draw_sizes(draw);
        let kernel = graph(draw, &sizes);
        let inputs = [Values::Ordinary, Values::Special].map(|values| draw.inputs(&kernel, &sizes, values));
        oracle.check(&kernel, &sizes, &inputs).map_err(|e| format!("{sizes:?}: {e}"))?;
        let mut known = sizes.clone();
        known.remove(["M", "N", "K"][draw.below(3)]);
        if draw.below(2) == 0 || !oracle.compiles_open(&kernel, &known) {
            return Ok(());
        }
        oracle.check(&kernel, &known, &inputs).map_err(|e| format!("{sizes:?}, compiled for {known:?}: {e}"))
    });
}

/// The generator is worth something only if it reaches the whole table.
#[test]
fn the_generator_reaches_every_op() {
    let mut reached = BTreeSet::new();
    for seed in 0..1000 {
        let mut draw = Draw::new(seed);
        let sizes = draw_sizes(&mut draw);
        let kernel = graph(&mut draw, &sizes);
        reached.extend(kernel.nodes.iter().filter_map(|n| n.op.info()).map(|i| i.name));
    }
    let missing: Vec<&str> = OPS.iter().map(|i| i.name).filter(|n| !reached.contains(n)).collect();
    assert!(missing.is_empty(), "never generated: {missing:?}");
}

/// Sizes of M, N and K whose planes are small enough; now and then one is 0.
fn draw_sizes(draw: &mut Draw) -> Sizes {
    loop {
        let mut sizes = Sizes::new();
        for name in ["M", "N", "K"] {
            let size = if draw.below(40) == 0 { 0 } else { *draw.pick(SIZES) as u64 };
            sizes.insert(Arc::from(name), size);
        }
        let [m, n, k] = ["M", "N", "K"].map(|d| sizes[d]);
        if (m * n).max(m * k).max(n * k) <= MAX_ELEMENTS / 8 {
            return sizes;
        }
    }
}

/// Parameters of many types over a few dimensions; sizes coincide often, so that ops apply.
fn parameters(b: &mut Builder, draw: &mut Draw) -> Vec<Value> {
    let (m, n, k) = (Dim::name("M"), Dim::name("N"), Dim::name("K"));
    let one = Dim::constant(1);
    let tensor = |dtype, shape: &[&Dim]| TensorType::new(dtype, shape.iter().map(|d| (*d).clone()).collect());
    let plain = |dtype, shape: &[&Dim]| Type::Tensor(tensor(dtype, shape));
    let quant = |codes, scale, zero| Type::Quant(Arc::new(QuantType::new(codes, scale, zero).unwrap()));
    let two_k = Dim::constant(2).mul(&k).unwrap();
    let three = Dim::constant(3);
    let kinds = [DType::F32, DType::BF16, DType::F16, DType::I32, DType::I8, DType::U8, DType::I4, DType::U4];
    let small = [DType::Bool, DType::E4M3, DType::E5M2, DType::E2M1, DType::E1M2, DType::E8M0];
    let mut types = vec![plain(DType::F32, &[&m, &n]), plain(DType::F32, &[&n, &k]), plain(DType::F32, &[])];
    types.push(plain(*draw.pick(&kinds), &[&m, &k]));
    types.push(plain(*draw.pick(&kinds), &[&k, &n]));
    types.push(plain(*draw.pick(&kinds), &[&n]));
    types.push(plain(*draw.pick(&kinds), &[&three, &m, &n]));
    types.push(plain(*draw.pick(&kinds), &[&m, &one]));
    types.push(plain(*draw.pick(&small), &[&m, &n]));
    types.push(plain(*draw.pick(&small), &[&m, &two_k]));
    types.push(plain(*draw.pick(&[DType::E2M1, DType::E1M2]), &[&n, &k]));
    types.push(plain(DType::Bool, &[&n]));
    let codes = *draw.pick(&[DType::I8, DType::U8, DType::I4, DType::U4]);
    let scale = *draw.pick(&[DType::F32, DType::F16, DType::BF16]);
    types.push(quant(tensor(codes, &[&n, &k]), tensor(scale, &[&n]), None));
    let zero = *draw.pick(&[DType::I8, DType::U4, DType::F32, DType::BF16, DType::I32]);
    types.push(quant(tensor(codes, &[&k, &n]), tensor(scale, &[&k, &one]), Some(tensor(zero, &[&n]))));
    let float = *draw.pick(&[DType::E4M3, DType::E5M2, DType::E2M1, DType::E1M2]);
    types.push(quant(tensor(float, &[&three, &n, &k]), tensor(DType::E8M0, &[&n]), None));
    types.into_iter().enumerate().map(|(i, ty)| b.param(&format!("p{i}"), ty, AT)).collect()
}

/// A graph of up to 25 steps, with up to three of its values as results.
fn graph(draw: &mut Draw, sizes: &Sizes) -> Kernel {
    let mut b = Builder::new();
    let mut values = parameters(&mut b, draw);
    let steps = 1 + draw.below(25);
    let mut applied = Vec::new();
    for _ in 0..steps * 20 {
        if applied.len() >= steps {
            break;
        }
        if draw.below(12) == 0 {
            values.push(b.constant(*draw.pick(&[0.0, 1.0, -2.5, 1e-3, 3e38, f32::INFINITY]), AT));
        }
        if draw.below(20) == 0 {
            applied.extend(digit_product(&mut b, draw, &values, sizes));
        }
        let info = *draw.pick(OPS);
        let Some(value) = apply(&mut b, info, draw, &values, sizes) else { continue };
        for result in 0..b.result_count(value) {
            values.push(value.sibling(result));
            applied.push(value.sibling(result));
        }
    }
    applied.reverse();
    let mut results: Vec<Value> = applied.iter().take(1).copied().collect();
    while !applied.is_empty() && draw.below(2) == 0 && results.len() < 3 {
        results.push(*draw.pick(&applied));
    }
    if results.is_empty() {
        results.push(values[0]);
    }
    b.finish("random", results, Attributes::default(), AT)
}

/// A product through digits, the ops in the order that the rewrite uses them: their types seldom
/// meet by chance.
fn digit_product(b: &mut Builder, draw: &mut Draw, values: &[Value], sizes: &Sizes) -> Option<Value> {
    let scheme = *draw.pick(Scheme::ALL);
    let x = values[draw.below(values.len())];
    let elements = b.ty(x).shape().iter().try_fold(1u64, |n, d| Some(n * d.eval(sizes).ok()?))?;
    Some(()).filter(|()| elements <= MAX_ELEMENTS / 8)?;
    if draw.below(2) == 0 {
        // A size that divides the columns, where one of these does.
        let columns = b.ty(x).shape().last()?.eval(sizes).ok()?;
        let fitting: Vec<u64> = [1, 2, 3, 5, 7, 16, 128].into_iter().filter(|size| columns % size == 0).collect();
        let size = Dim::constant(*draw.pick(&fitting));
        return grouped_product(b, draw, values, x, scheme, &size);
    }
    let digits = b.decompose(x, scheme, AT).ok()?;
    let codes: Vec<Value> = values.iter().copied().filter(|v| b.ty(*v).shape().len() >= 2).collect();
    for _ in 0..30 {
        let w = *draw.pick(&codes);
        let w = if draw.below(2) == 0 { b.t(w, AT).ok() } else { Some(w) };
        let Some(products) = w.and_then(|w| product(b, digits, w)) else { continue };
        let sum = merged(b, draw, values, scheme, digits, products)?;
        let scaled = b.mul(sum, digits.sibling(1), AT).ok()?;
        // Used again, the products must come to memory unmerged.
        return if draw.below(4) == 0 { b.sum(products, AT).ok() } else { Some(scaled) };
    }
    None
}

/// Digits times codes: exact where both are integers, floats of 4 bits in steps, else in floats.
fn product(b: &mut Builder, digits: Value, w: Value) -> Option<Value> {
    let w = b.steps(w, AT).unwrap_or(w);
    b.dot(digits, w, AT).or_else(|_| b.matmul(digits, w, AT)).ok()
}

/// Digits merged, in half of the cases less a zero point, with the digits' row sums or what else fits.
fn merged(
    b: &mut Builder,
    draw: &mut Draw,
    values: &[Value],
    scheme: Scheme,
    digits: Value,
    products: Value,
) -> Option<Value> {
    if draw.below(2) == 0 {
        return b.combine(products, scheme, AT).ok();
    }
    let exact = b.cast(digits, DType::I64, AT).ok()?;
    let rows = if draw.below(4) == 0 { products } else { b.sum(exact, AT).ok()? };
    for _ in 0..30 {
        let zero = *draw.pick(values);
        if let Ok(sum) = b.combine_zero(products, rows, zero, scheme, AT) {
            return Some(sum);
        }
    }
    None
}

/// A product by groups of the last axis, with scales of any shape that stretches to the groups.
fn grouped_product(
    b: &mut Builder,
    draw: &mut Draw,
    values: &[Value],
    x: Value,
    scheme: Scheme,
    size: &Dim,
) -> Option<Value> {
    let outer = b.ty(x).shape().len().checked_sub(2)?;
    let (digits, unit) = if draw.below(2) == 0 {
        let blocks = b.decompose_blocks(x, scheme, size.clone(), AT).ok()?;
        (blocks, blocks.sibling(1))
    } else {
        let whole = b.decompose(x, scheme, AT).ok()?;
        (groups_of(b, whole, size, outer)?, b.constant(*draw.pick(&[1.0, 0.5]), AT))
    };
    let columns = b.ty(x).shape().last().cloned();
    let is_fit = |t: &Type| t.shape().len() == outer + 2 && t.shape().last() == columns.as_ref();
    let codes: Vec<Value> = values.iter().copied().filter(|v| is_fit(b.ty(*v))).collect();
    for _ in 0..30.min(codes.len() * 30) {
        let w = *draw.pick(&codes);
        let Some(rows) = groups_of(b, w, size, outer) else { continue };
        let Some(products) = b.t(rows, AT).ok().and_then(|w| product(b, digits, w)) else { continue };
        let scales: Vec<Value> = values.iter().copied().filter(|v| b.ty(*v).shape().len() < outer + 3).collect();
        if draw.below(2) == 0 {
            return (0..30).find_map(|_| b.accumulate_wide(products, *draw.pick(&scales), unit, scheme, AT).ok());
        }
        let sum = merged(b, draw, values, scheme, digits, products)?;
        let added = (0..30).find_map(|_| {
            let scale = *draw.pick(&scales);
            b.accumulate(sum, scale, unit, AT).ok()
        })?;
        return if draw.below(4) == 0 { b.add(added, sum, AT).ok() } else { Some(added) };
    }
    None
}

/// `[.., R, K]` as `[.., K/size, R, size]`.
fn groups_of(b: &mut Builder, x: Value, size: &Dim, outer: usize) -> Option<Value> {
    let shape = b.ty(x).tensor()?.shape.clone();
    let (k, count) = (shape.last()?, shape.last()?.div(size)?);
    Some(()).filter(|()| count.mul(size).as_ref() == Some(k))?;
    let split: Vec<Dim> = shape[..outer + 1].iter().cloned().chain([count, size.clone()]).collect();
    let split = b.reshape(x, split, AT).ok()?;
    let mut axes: Vec<usize> = (0..outer + 3).collect();
    axes.swap(outer, outer + 1);
    b.transpose(split, axes, AT).ok()
}

/// Applies the op to values drawn for it, if their types fit and the result binds. Recent values
/// are taken more often than old ones, so that graphs grow deep.
fn apply(b: &mut Builder, info: &OpInfo, draw: &mut Draw, values: &[Value], sizes: &Sizes) -> Option<Value> {
    let mut operands = Vec::new();
    for _ in info.operands {
        let window = if draw.below(3) > 0 { values.len().min(6) } else { values.len() };
        operands.push(values[values.len() - 1 - draw.below(window)]);
    }
    // Products of random operands rarely fit; those of a value and its transpose do.
    if info.class == Class::Product && draw.below(3) == 0 {
        operands[1] = b.t(operands[0], AT).ok()?;
    }
    let shape = operands.first().map_or(Vec::new(), |v| b.ty(*v).shape().to_vec());
    let attrs: Vec<Attr> = info.attrs.iter().map(|(_, kind)| attribute(*kind, draw, &shape)).collect();
    let value = b.apply(info, &operands, &attrs, AT).ok()?;
    let eval = |d: &Dim| d.eval(sizes).ok();
    let node = b.node(value);
    for ty in &node.types {
        let count = ty.shape().iter().try_fold(1u64, |n, d| Some(n * eval(d)?.min(MAX_ELEMENTS + 1)));
        count.filter(|n| *n <= MAX_ELEMENTS)?;
    }
    if info.class == Class::Product {
        let elements = node.types[0].shape().iter().try_fold(1u64, |n, d| Some(n * eval(d)?))?;
        let depth = eval(shape.last()?)?;
        Some(elements * depth).filter(|n| *n <= MAX_MACS)?;
    }
    if let msd::ir::ops::Op::Slice { axis, start, stop } = &node.op {
        let (start, stop) = (eval(start)?, eval(stop)?);
        Some(()).filter(|()| start <= stop && eval(&shape[*axis]).is_some_and(|size| stop <= size))?;
    }
    if let msd::ir::ops::Op::Size { dim } = &node.op {
        eval(dim)?;
    }
    Some(value)
}

fn size(draw: &mut Draw, whole: &Dim) -> Dim {
    let name = Dim::name(["M", "N", "K"][draw.below(3)]);
    match draw.below(5) {
        0 => Dim::constant(draw.below(5) as u64),
        1 => name,
        2 => name.sub(&Dim::constant(1)).unwrap(),
        _ => whole.clone(),
    }
}

fn attribute(kind: AttrKind, draw: &mut Draw, shape: &[Dim]) -> Attr {
    let rank = shape.len().max(1);
    match kind {
        AttrKind::DType => Attr::DType(*draw.pick(DType::ALL)),
        AttrKind::Axis => Attr::Axis(draw.below(rank) as i64),
        AttrKind::Axes => {
            let mut axes: Vec<i64> = (0..shape.len() as i64).collect();
            axes.rotate_left(draw.below(rank));
            if draw.below(2) == 0 && axes.len() > 1 {
                axes.swap(0, 1);
            }
            Attr::Axes(axes)
        }
        AttrKind::Dim => {
            let whole = shape.get(draw.below(rank)).cloned().unwrap_or(Dim::constant(1));
            Attr::Dim(size(draw, &whole))
        }
        AttrKind::Dims => {
            let mut dims = shape.to_vec();
            dims.reverse();
            if draw.below(2) == 0
                && let [.., a, b] = dims.as_slice()
                && let Some(joined) = a.mul(b)
            {
                dims.truncate(dims.len() - 2);
                dims.push(joined);
            }
            dims.insert(draw.below(dims.len() + 1), Dim::constant(1));
            Attr::Dims(dims)
        }
        AttrKind::Scheme => Attr::Scheme(*draw.pick(Scheme::ALL)),
    }
}
