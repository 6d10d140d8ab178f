//! Printed graphs parse back to the same graph: for the example kernels, for graphs generated
//! with every op of the table, and for literals of any bits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use std::collections::BTreeSet;
use std::sync::Arc;

use msd_grammar::{check, format};
use msd_ir::builder::Builder;
use msd_ir::dim::Dim;
use msd_ir::dtype::DType;
use msd_ir::functions::FUNCTIONS;
use msd_ir::graph::{Attributes, Kernel, Lowering, Value};
use msd_ir::ops::{Attr, AttrKind, OPS, OpInfo};
use msd_ir::quant::scheme::Scheme;
use msd_ir::span::Span;
use msd_ir::text;
use msd_ir::types::{QuantType, TensorType, Type};
use proptest::prelude::*;

const AT: Span = Span { start: 0, end: 0 };

fn assert_round_trip(kernel: &Kernel) {
    let printed = text::print(kernel);
    let parsed = check(&printed).unwrap_or_else(|faults| panic!("{printed}\n{faults:?}"));
    assert_eq!(parsed.len(), 1);
    assert!(kernel.same_graph(&parsed[0]), "{printed}\n---\n{kernel:?}\n---\n{:?}", parsed[0]);
    assert_eq!(text::print(&parsed[0]), printed, "printing is not stable");
    let laid_out = format(&printed).unwrap();
    assert!(kernel.same_graph(&check(&laid_out).unwrap()[0]), "{laid_out}");
    assert_eq!(format(&laid_out).unwrap(), laid_out);
}

#[test]
fn the_examples_of_the_reference() {
    let kernels = check(include_str!("language.msd")).unwrap();
    let printed: Vec<String> = kernels.iter().map(text::print).collect();
    kernels.iter().for_each(assert_round_trip);
    insta::assert_snapshot!(printed.join("\n"));
}

#[test]
fn names_leaves_and_results() {
    for text in [
        "kernel f(a: f32[N]) -> f32[N] { a }",
        "kernel f(v1: f32[N], v2: bf16[N]) -> (bf16[N], f32[N], f16[N]) { let v9 = v1 * 2; (v9, v1, v9) }",
        "kernel f(a: f32[N]) -> (f32[], f32[], f32[N]) { (1, 2, a * 1) }",
        "kernel f(a: f32[N]) -> (f32[N], f32[]) { let b = 3; let c = a / 4; (c * b, N) }",
        "kernel f(N: i8[N, K] scale f32[N], K: f32[K]) -> f32[] { msd.size(N) + msd.size(2*K - 1) / 7 }",
        "kernel f(W: nvfp4[N, K], s: f32[1], X: bf16[M, K]) -> f32[M, N] { X @ (dequant(W) * s).T }",
        "kernel f(a: bf16[M, N]) -> (bf16[M, N], bf16[M, N]) { let b = a + 1; (b, b) }",
        "kernel f(a: f32[M, N]) -> f32[M, N] { cast(a < 1, f32) + cast(a, bf16) }",
        "kernel f(a: f32[M, N]) -> f32[M, N] { cast(a < 1, f32) }",
        "kernel f(a: f32[M, N]) -> f16[M, N] { cast(a, bf16) }",
        "kernel f(a: f32[M, N]) -> (i8[2*M, N], f32[M, 1]) { msd.decompose(a, \"int8x2-radix\") }",
        "kernel f(a: f32[B, M, N]) -> f32[M, B, N] { transpose(a.T, [2, 1, 0]).T }",
        "#[tolerance(1e-30)] #[scheme(int8x3-pow2)] #[lowering(msd)] kernel f() -> f32[] { 0 - 1 }",
    ] {
        assert_round_trip(&check(text).unwrap_or_else(|faults| panic!("{text}: {faults:?}"))[0]);
    }
    for f in FUNCTIONS {
        let args = ["x", "w", "v", "e"][..f.arguments.len()].join(", ");
        let (weight, result) = match f.name {
            "rope" => ("H", "M, 2*H"),
            "mean" => ("2*H", "M, 1"),
            "matmul" => ("2*H, M", "M, M"),
            "t" => ("2*H", "2*H, M"),
            _ => ("2*H", "M, 2*H"),
        };
        let params = format!("x: f32[M, 2*H], w: f32[{weight}], v: f32[{weight}], e: f32[], m: f32[M], h: f32[H]");
        let text = format!("kernel f({params}) -> f32[{result}] {{ {}({args}) }}", f.name);
        assert_round_trip(&check(&text).unwrap_or_else(|faults| panic!("{text}: {faults:?}"))[0]);
    }
}

#[test]
fn user_names_survive_and_never_clash() {
    let mut b = Builder::new();
    let ty = || Type::Tensor(TensorType::new(DType::F32, vec![Dim::name("N")]));
    let (x, y) = (b.param("x", ty(), AT), b.param("v3", ty(), AT));
    let mut last = b.add(x, y, AT).unwrap();
    for name in ["kernel", "N", "v3", "x", "good", "good", "msd", "no-name", "v99"] {
        b.name(last, name);
        last = b.add(last, y, AT).unwrap();
    }
    let kernel = b.finish("k", vec![last], Attributes::default(), AT);
    assert_round_trip(&kernel);
    let printed = text::print(&kernel);
    assert_eq!(printed.matches("let good = ").count(), 1, "{printed}");
    assert!(printed.contains("let v99 = "), "{printed}");
}

/// Parameters of many types over a few dimensions; sizes coincide often, so that ops apply.
fn parameters(b: &mut Builder) -> Vec<Value> {
    let dim = |name: &str| Dim::name(name);
    let (m, n, k) = (dim("M"), dim("N"), dim("K"));
    let tensor = |dtype, shape: &[&Dim]| TensorType::new(dtype, shape.iter().map(|d| (*d).clone()).collect());
    let two_k = Dim::constant(2).mul(&k).unwrap();
    let groups = b.quotient(&k, &Dim::constant(32)).unwrap();
    let quant = |codes, scale, zero| Type::Quant(Arc::new(QuantType::new(codes, scale, zero).unwrap()));
    let types = [
        Type::Tensor(tensor(DType::F32, &[&m, &n])),
        Type::Tensor(tensor(DType::BF16, &[&m, &k])),
        Type::Tensor(tensor(DType::F16, &[&n, &k])),
        Type::Tensor(tensor(DType::I8, &[&k, &n])),
        Type::Tensor(tensor(DType::U4, &[&n, &k])),
        Type::Tensor(tensor(DType::F32, &[&n])),
        Type::Tensor(tensor(DType::E4M3, &[&two_k, &m])),
        Type::Tensor(tensor(DType::Bool, &[&m, &n])),
        Type::Tensor(tensor(DType::F32, &[])),
        Type::Tensor(tensor(DType::F32, &[&Dim::constant(3), &m, &n])),
        quant(tensor(DType::I8, &[&n, &k]), tensor(DType::F32, &[&n]), None),
        quant(
            tensor(DType::U4, &[&n, &k]),
            tensor(DType::F16, &[&n, &groups]),
            Some(tensor(DType::U4, &[&n, &groups])),
        ),
        quant(tensor(DType::E2M1, &[&n, &k]), tensor(DType::E8M0, &[&n, &groups]), None),
    ];
    types.into_iter().enumerate().map(|(i, ty)| b.param(&format!("p{i}"), ty, AT)).collect()
}

/// One step of a generated graph: an op of the table, where its operands come from, and material
/// for its attributes. Steps whose types do not fit are skipped.
#[derive(Clone, Debug)]
struct Step {
    op: prop::sample::Index,
    operands: Vec<prop::sample::Index>,
    numbers: Vec<u32>,
    named: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    (index(), proptest::collection::vec(index(), 3), proptest::collection::vec(any::<u32>(), 4), any::<bool>())
        .prop_map(|(op, operands, numbers, named)| Step { op, operands, numbers, named })
}

fn size(number: u32) -> Dim {
    let name = Dim::name(["M", "N", "K"][number as usize % 3]);
    match number / 3 % 5 {
        0 => Dim::constant(number as u64 % 5),
        1 => name.mul(&Dim::constant(2)).unwrap(),
        2 => name.add(&Dim::constant(1)).unwrap(),
        _ => name,
    }
}

fn attribute(kind: AttrKind, step: &Step, position: usize, shape: &[Dim]) -> Attr {
    let number = step.numbers[position];
    let rank = shape.len().max(1);
    match kind {
        AttrKind::DType => Attr::DType(DType::ALL[number as usize % DType::ALL.len()]),
        AttrKind::Axis => Attr::Axis((number as usize % rank) as i64),
        AttrKind::Axes => {
            let mut axes: Vec<i64> = (0..shape.len() as i64).collect();
            axes.rotate_left(number as usize % rank);
            if number & 8 == 0 && axes.len() > 1 {
                axes.swap(0, 1);
            }
            Attr::Axes(axes)
        }
        AttrKind::Dim => Attr::Dim(size(number)),
        AttrKind::Dims => {
            let mut dims = shape.to_vec();
            dims.reverse();
            dims.insert(number as usize % (dims.len() + 1), Dim::constant(1));
            Attr::Dims(dims)
        }
        AttrKind::Scheme => Attr::Scheme(Scheme::ALL[number as usize % Scheme::ALL.len()]),
    }
}

/// Applies the op to the operands of that attempt, if their types fit. Recent values are taken
/// more often than old ones, so that graphs grow deep.
fn apply(b: &mut Builder, info: &OpInfo, step: &Step, values: &[Value], attempt: usize) -> Option<Value> {
    let window = if step.numbers[3] & 1 == 0 { values.len().min(16) } else { values.len() };
    let operands: Vec<Value> = step.operands[..info.operands.len()]
        .iter()
        .enumerate()
        .map(|(i, index)| {
            // The window widens with the attempts.
            let window = window.max(attempt + 1).min(values.len());
            values[values.len() - 1 - (index.index(window) + attempt * [1, 7, 3][i]) % window]
        })
        .collect();
    let shape = operands.first().map_or(Vec::new(), |v| b.ty(*v).shape().to_vec());
    let attrs: Vec<Attr> =
        info.attrs.iter().enumerate().map(|(p, (_, kind))| attribute(*kind, step, p, &shape)).collect();
    b.apply(info, &operands, &attrs, AT).ok()
}

fn build(steps: &[Step], literals: &[u32], results: &[prop::sample::Index], attributes: Attributes) -> Kernel {
    let mut b = Builder::new();
    let mut values = parameters(&mut b);
    // Exact products and their row sums come about too rarely by themselves.
    let wide = b.cast(values[3], DType::I64, AT).unwrap();
    values.extend([wide, b.sum(wide, AT).unwrap()]);
    // Those of groups even more so.
    let groups: Vec<Dim> = [Dim::constant(1)].into_iter().chain(b.ty(wide).shape().iter().cloned()).collect();
    values.push(b.reshape(wide, groups, AT).unwrap());
    for (i, step) in steps.iter().enumerate() {
        if let Some(bits) = literals.get(i) {
            values.push(b.constant(f32::from_bits(*bits), AT));
        }
        let info = OPS[step.op.index(OPS.len())];
        let Some(value) = (0..100).find_map(|attempt| apply(&mut b, info, step, &values, attempt)) else { continue };
        for result in 0..b.result_count(value) {
            if step.named {
                b.name(value.sibling(result), &format!("{}{}", info.name, i % 7));
            }
            values.push(value.sibling(result));
        }
    }
    let declarable = |v: &Value| b.ty(*v).tensor().is_some_and(|t| t.dtype.is_declarable());
    let candidates: Vec<Value> = values.iter().rev().copied().filter(declarable).collect();
    let chosen = results.iter().map(|r| candidates[r.index(candidates.len().min(10))]).collect();
    b.finish("generated", chosen, attributes, AT)
}

fn attributes() -> impl Strategy<Value = Attributes> {
    let scheme = proptest::option::of(proptest::sample::select(Scheme::ALL));
    let lowering = proptest::option::of(proptest::sample::select(Lowering::ALL));
    let tolerance = proptest::option::of((1u64..f64::INFINITY.to_bits()).prop_map(f64::from_bits));
    (tolerance, scheme, lowering).prop_map(|(tolerance, scheme, lowering)| Attributes { tolerance, scheme, lowering })
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn generated_graphs(
        steps in proptest::collection::vec(step(), 1..60),
        literals in proptest::collection::vec(any::<u32>(), 0..20),
        results in proptest::collection::vec(any::<prop::sample::Index>(), 1..4),
        attributes in attributes(),
    ) {
        assert_round_trip(&build(&steps, &literals, &results, attributes));
    }

    #[test]
    fn literals_keep_their_bits(bits in any::<u32>()) {
        let mut b = Builder::new();
        let value = b.constant(f32::from_bits(bits), AT);
        assert_round_trip(&b.finish("f", vec![value], Attributes::default(), AT));
    }
}

#[test]
fn literals_at_the_edges() {
    let edges = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        1e-45,
        1e16,
        123456790.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    for value in edges {
        let mut b = Builder::new();
        let value = b.constant(value, AT);
        assert_round_trip(&b.finish("f", vec![value], Attributes::default(), AT));
    }
}

/// The generator is worth something only if it reaches the whole table.
#[test]
fn the_generator_reaches_every_op() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut reached = BTreeSet::new();
    for _ in 0..300 {
        let steps = proptest::collection::vec(step(), 60).new_tree(&mut runner).unwrap().current();
        let results =
            proptest::collection::vec(any::<prop::sample::Index>(), 3).new_tree(&mut runner).unwrap().current();
        let kernel = build(&steps, &[], &results, Attributes::default());
        reached.extend(kernel.nodes.iter().filter_map(|n| n.op.info()).map(|i| i.name));
    }
    let missing: Vec<&str> = OPS.iter().map(|i| i.name).filter(|n| !reached.contains(n)).collect();
    assert!(missing.is_empty(), "never generated: {missing:?}");
}
