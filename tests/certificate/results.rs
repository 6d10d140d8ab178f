//! Bounds of results: composed ones hold, are kernels like any other, and end where they say.

use std::collections::BTreeMap;

use msd::ir::builder::Builder;
use msd::ir::dim::Sizes;
use msd::ir::dtype::DType;
use msd::ir::eval::{evaluate, evaluate_f64};
use msd::ir::graph::{Attributes, Kernel, Lowering, Node, Value};
use msd::ir::input::Input;
use msd::ir::ops::{Class, Op};
use msd::ir::plan::Request;
use msd::ir::quant::scheme::Scheme;
use msd::ir::tensor::Tensor;
use msd::ir::types::Type;
use msd::ir::verify::verify;
use msd::{Argument, Composed, Options, Rewritten};

use super::claims::{PLACEMENTS, requests};
use super::draw::{Draw, Values};
use super::{files, kernels, named, rewritten, sizes};

/// What a value of the source is to the exact one.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// A stored weight, however it lies: exact.
    Weight,
    /// Neither a weight nor dependent on a product with one: as computed in F32.
    Plain,
    /// The rest: exact in what it is computed from.
    Exact,
}

fn roles(kernel: &Kernel) -> Vec<Role> {
    let mut roles: Vec<Role> = Vec::new();
    for node in &kernel.nodes {
        let operands: Vec<Role> = node.operands.iter().map(|v| roles[v.node]).collect();
        let of_weights = operands.contains(&Role::Weight) && !operands.contains(&Role::Exact);
        let is_linear = match node.op {
            Op::Mul => operands.contains(&Role::Plain),
            Op::Div => operands[1] == Role::Plain,
            Op::Neg | Op::Add | Op::Sub => true,
            _ => node.op.class() == Class::Movement,
        };
        roles.push(match node.op {
            Op::Dequant => Role::Weight,
            Op::MatMul if operands.contains(&Role::Weight) => Role::Exact,
            _ if of_weights && is_linear => Role::Weight,
            _ if operands.contains(&Role::Exact) => Role::Exact,
            _ => Role::Plain,
        });
    }
    roles
}

/// The results before their final cast, exact but for plain values, which are taken as computed in
/// F32: what a certificate calls `y*`.
fn exact(kernel: &Kernel, sizes: &Sizes, inputs: &[Input]) -> Vec<Vec<f64>> {
    let (roles, mut b) = (roles(kernel), Builder::new());
    let mut inputs = inputs.to_vec();
    let mut plain: BTreeMap<Value, Value> = BTreeMap::new();
    let params: Vec<Value> = kernel.params.iter().map(|p| b.param(&p.name, p.ty.clone(), p.span)).collect();
    // A value that is read as computed becomes a parameter.
    for (index, node) in kernel.nodes.iter().enumerate() {
        let mut users = kernel.nodes.iter().enumerate().filter(|(user, _)| roles[*user] != Role::Plain);
        let reads = |user: &usize, n: &Node| {
            n.operands.iter().any(|v| v.node == index) && is_read_as_computed(n, roles[*user], roles[index])
        };
        if matches!(node.op, Op::Param { .. }) || !users.any(|(user, n)| reads(&user, n)) {
            continue;
        }
        let value = Value { node: index, result: 0 };
        let ty = kernel.tensor_ty(value);
        let computed = computed(kernel, value, sizes, &inputs[..kernel.params.len()]);
        plain.insert(value, b.param(&format!("plain_{index}"), Type::Tensor(ty.clone()), node.span));
        inputs.push(computed.into());
    }
    let mut renamed: Vec<Option<Value>> = Vec::new();
    for (index, node) in kernel.nodes.iter().enumerate() {
        let own = |v: &Value| {
            let read = plain.get(v).filter(|_| is_read_as_computed(node, roles[index], roles[v.node]));
            read.copied().or(renamed[v.node])
        };
        let operands: Option<Vec<Value>> = node.operands.iter().map(own).collect();
        renamed.push(match (&node.op, operands) {
            (Op::Param { index }, _) => Some(params[*index]),
            (Op::Const { bits }, _) => Some(b.constant(f32::from_bits(*bits), node.span)),
            (op, Some(operands)) if roles[index] != Role::Plain => {
                Some(b.push(op.clone(), &operands, node.span).unwrap())
            }
            _ => None,
        });
    }
    let zero = b.constant(0.0, kernel.span);
    // Nothing is certified of a plain result: anything will do.
    let result = |v: &Value| renamed[before_cast(kernel, *v).node].unwrap_or(zero);
    let results: Vec<Value> = kernel.results.iter().map(result).collect();
    let mut lifted = b.finish("exact", results, Attributes::default(), kernel.span);
    lifted.quotients = kernel.quotients.clone();
    evaluate_f64(&lifted, sizes, &inputs).unwrap_or_else(|d| panic!("{kernel}\n{lifted}\n{d:?}"))
}

/// Whether a node that is itself exact or a weight reads an operand of that role as computed.
fn is_read_as_computed(node: &Node, own: Role, role: Role) -> bool {
    role == Role::Plain || (role == Role::Weight && own == Role::Exact && node.op != Op::MatMul)
}

fn computed(kernel: &Kernel, value: Value, sizes: &Sizes, inputs: &[Input]) -> Tensor {
    let mut prefix = kernel.clone();
    prefix.nodes.truncate(value.node + 1);
    prefix.results = vec![value];
    // Parameters stand first, and all stay.
    let known = sizes.clone();
    evaluate(&prefix, &known, inputs).unwrap_or_else(|d| panic!("{prefix}\n{d:?}")).remove(0)
}

fn before_cast(kernel: &Kernel, value: Value) -> Value {
    let node = kernel.node(value);
    if let Op::Cast { dtype } = node.op
        && dtype.is_float()
    {
        return node.operands[0];
    }
    value
}

/// The results of the rewritten kernel before their final cast.
fn found(rewritten: &Rewritten, inputs: &[Input]) -> Vec<Vec<f64>> {
    let (mut kernel, whole) = (rewritten.kernel.clone(), &rewritten.kernel);
    for value in &mut kernel.results {
        // Only from F32: the cast of an F64 product is no final one.
        let inner = before_cast(whole, *value);
        *value = if whole.tensor_ty(inner).dtype == DType::F32 { inner } else { *value };
    }
    let results = evaluate(&kernel, &rewritten.sizes, inputs).unwrap_or_else(|d| panic!("{kernel}\n{d:?}"));
    results.iter().map(|t| (0..t.len()).map(|i| t.value(i)).collect()).collect()
}

/// Compares errors with composed bounds; how many results were certified, and the largest part of
/// a bound that was needed.
fn check(rewritten: &Rewritten, composed: &Composed, inputs: &[Input]) -> Result<(usize, f64), String> {
    let Some(kernel) = &composed.kernel else { return Ok((0, 0.0)) };
    verify(kernel).map_err(|d| format!("{kernel}\n{d:?}"))?;
    let bounds = evaluate(kernel, &rewritten.sizes, inputs).map_err(|d| format!("{kernel}\n{d:?}"))?;
    let yardstick = evaluate_f64(kernel, &rewritten.sizes, inputs).map_err(|d| format!("{kernel}\n{d:?}"))?;
    let (y, exact) = (found(rewritten, inputs), exact(&rewritten.source, &rewritten.sizes, inputs));
    let certified: Vec<usize> = (0..y.len()).filter(|i| composed.results[*i].is_ok()).collect();
    let mut worst: f64 = 0.0;
    for ((result, bound), wide) in certified.iter().zip(&bounds).zip(&yardstick) {
        for (i, (y, exact)) in y[*result].iter().zip(&exact[*result]).enumerate() {
            let (error, limit) = ((y - exact).abs(), bound.value(i));
            let is_near = error <= limit;
            if !is_near || (limit / wide[i] - 1.0).abs() > 1e-3 && limit > 1e-30 {
                let words = &composed.results[*result].as_ref().unwrap().expression;
                return Err(format!(
                    "result {result}[{i}] is {y:e}, not {exact:e}, within {limit:e} ({words})\n{kernel}"
                ));
            }
            worst = worst.max(if limit > 0.0 { error / limit } else { 0.0 });
        }
    }
    Ok((certified.len(), worst))
}

fn checked(kernel: &Kernel, sizes: &Sizes, request: &Request, draw: &mut Draw) -> usize {
    let Some(rewritten) = rewritten(kernel, sizes, request) else { return 0 };
    let composed = rewritten.certificate().unwrap();
    let inputs = draw.inputs(kernel, sizes, Values::Ordinary);
    let (count, worst) = check(&rewritten, &composed, &inputs).unwrap_or_else(|e| panic!("{e}\n{kernel}\n{request:?}"));
    assert!(count == 0 || worst > 1e-6, "nothing but {worst} of the bound is needed\n{kernel}\n{request:?}");
    count
}

#[test]
fn of_every_file() {
    let mut draw = Draw::new(6);
    let mut count = 0;
    // With three digits roundings of F32 are most of the bound: one that is forgotten shows.
    let requests = [(Lowering::Msd, None), (Lowering::Msd, Some(Scheme::Int8x3Pow2)), (Lowering::Dequant, None)];
    for (_, kernel) in files() {
        for (lowering, scheme) in requests {
            let request = Request { lowering: Some(lowering), scheme, ..Request::default() };
            count += checked(&kernel, &sizes(&kernel), &request, &mut draw);
        }
    }
    assert!(count > 60, "{count} results were certified");
}

const EPILOGUES: &[&str] = &[
    "Y + b",
    "r - Y * 0.25",
    "-(Y / b) + r",
    "sum(Y + r)",
    "(Y * 3).T + r.T",
    "where(r > 0, Y, r)",
    "concat(slice(Y, 1, 0, 3), r, 1) * 2",
    "reshape(Y - r, [M*N]) * 1.5",
    "Y + Y * exp(r)",
    "cast(Y + r * b, f32)",
];

#[test]
fn of_every_placement_and_epilogue() {
    let mut draw = Draw::new(7);
    let types = ["[M, N]", "[M, N]", "[M, N]", "[M, 1]", "[N, M]", "[M, N]", "[M, N + 3]", "[M*N]", "[M, N]", "[M, N]"];
    for (i, request) in requests().enumerate() {
        for (j, placement) in PLACEMENTS.iter().enumerate() {
            // Each request meets each placement and, over the placements, each epilogue.
            let which = (i * 7 + j) % EPILOGUES.len();
            let (body, ty) = (EPILOGUES[which], types[which]);
            let declared = *draw.pick(&["f32", "bf16", "f16"]);
            let text = format!(
                "kernel f(W: {placement}, X: f32[M, K], b: f32[N], r: bf16[M, N]) -> {declared}{ty} {{
                    let Y = X @ dequant(W).T;
                    {body}
                }}"
            );
            let kernel = kernels(&text).remove(0);
            let n = if placement.contains("N/128") { 128 } else { 8 };
            let sizes = named(&[("M", 3), ("N", n), ("K", 256)]);
            assert_eq!(checked(&kernel, &sizes, &request, &mut draw), 1, "{kernel}");
        }
    }
}

fn pow2() -> Request {
    Request { lowering: Some(Lowering::Msd), scheme: Some(Scheme::Int8x2Pow2), ..Request::default() }
}

fn composed(text: &str, sizes: &[(&str, usize)]) -> Composed {
    rewritten(&kernels(text)[0], &named(sizes), &pow2()).unwrap().certificate().unwrap()
}

#[test]
fn end_where_they_say() {
    let cases = [
        ("exp(Y)", "ends at `exp`"),
        ("Y * Y", "ends at `*`"),
        ("Y @ X", "ends at `@`"),
        ("Y + X @ X", "a product of floats beside it is too long, or of a size that is open"),
        ("X + 1", "it has no product with a stored weight"),
        ("sum(Y)", "ends at `sum` over a size that is open"),
        ("where(Y > 0, Y, X)", "ends at `>`"),
        ("max(Y, 0) + 1", "ends at `max`"),
        ("1 / Y", "ends at `/`"),
        ("cast(Y, bf16) * 2", "ends at `cast`"),
    ];
    for (body, reason) in cases {
        let ty = if body.starts_with("sum") { "[M, 1]" } else { "[M, M]" };
        let text =
            format!("kernel f(W: i8[M, M] scale f32[1], X: f32[M, M]) -> f32{ty} {{ let Y = X @ dequant(W); {body} }}");
        let composed = composed(&text, &[]);
        assert_eq!(composed.results[0].as_ref().unwrap_err().reason, reason, "{body}");
        assert!(composed.kernel.is_none());
    }
    let grouped = "kernel f(W: i8[N, K] scale f32[N, K/32], X: f32[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let reason = "the bound of the product with `W` is open until the contracted size is known";
    assert_eq!(composed(grouped, &[]).results[0].as_ref().unwrap_err().reason, reason);
    assert!(composed(grouped, &[("K", 64)]).results[0].is_ok());
}

/// The bound's own sum of magnitudes: with a scale between two F32 of the larger half of its partial
/// sums, nearly every addition rounds down.
#[test]
fn stand_for_any_size() {
    let text = "kernel f(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let (k, scale) = (1 << 21, 1.0 + 0.97 / 256.0);
    let bound = composed(text, &[]).kernel.unwrap();
    assert!(bound.to_string().contains("= K;"), "{bound}");
    let sizes = named(&[("M", 1), ("N", 1), ("K", k)]);
    let mut inputs = Draw::new(11).inputs(&bound, &sizes, Values::Ordinary);
    inputs[0].tensor = Tensor::from_codes(DType::I8, vec![1, k], std::iter::repeat_n(1, k)).unwrap();
    inputs[0].scale = Some(Tensor::from_f32(DType::F32, vec![1], &[scale]).unwrap());
    inputs[1] = Tensor::from_f32(DType::BF16, vec![1, k], &vec![1.0; k]).unwrap().into();
    let error = rewritten(&kernels(text)[0], &named(&[]), &pow2()).unwrap().plan.sites[0].bound().unwrap();
    let (least, sum) = (error * k as f64 * scale as f64, evaluate(&bound, &sizes, &inputs).unwrap()[0].value(0));
    let slack = (k as f64 / 2f64.powi(27)).exp() * (1.0 + 1.0 / 1024.0);
    assert!(sum >= least, "{sum:e} is below {least:e}");
    assert!(sum / slack < least * (1.0 - 1.0 / 1024.0), "the sum rounds less than it could: {sum:e}");
}

/// Factors around activations count along every path to them, shared or not, and in either order.
#[test]
fn count_factors_of_activations() {
    let roundings = |x: &str| {
        let params = "W: i8[N, K] scale f32[N], a: f32[M, K], b: f32[M, K], V: i8[M, K] scale f32[M]";
        let text = format!("kernel f({params}) -> f32[M, N] {{ let t = a * b; ({x}) @ dequant(W).T }}");
        let words = composed(&text, &[]).results[0].as_ref().unwrap().expression.clone();
        let digits = rewritten(&kernels(&text)[0], &named(&[]), &pow2()).unwrap().plan.sites[0].bound().unwrap();
        let bound: f64 = words.split(' ').next().unwrap().parse().unwrap();
        ((bound - digits) * 16777216.0).round()
    };
    assert_eq!(roundings("a"), 0.0);
    assert_eq!(roundings("t"), 1.0);
    assert_eq!(roundings("t * t"), 3.0);
    assert_eq!(roundings("t * (a * b)"), 3.0);
    assert_eq!(roundings("-(t / b) * t"), 4.0);
    assert_eq!(roundings("dequant(V)"), 0.0);
    assert_eq!(roundings("dequant(V) * a"), roundings("a * dequant(V)"));
    assert_eq!(roundings("slice(concat(t * t, dequant(V), 1), 1, 0, K)"), 3.0);
    let squares = |count| (0..count).map(|i| format!("let t{} = t{i} * t{i};", i + 1)).collect::<String>();
    let of_squares = |count| {
        let text = "kernel f(W: i8[N, K] scale f32[N], t0: f32[M, K]) -> f32[M, N]";
        let text = format!("{text} {{ {} t{count} @ dequant(W).T }}", squares(count));
        composed(&text, &[]).results[0].clone()
    };
    let words = of_squares(10).unwrap().expression;
    let bound: f64 = words.split(' ').next().unwrap().parse().unwrap();
    assert!(bound > (1023.0 + 500.0) / 16777216.0, "{words}");
    let reason = "more than 2048 factors around the activations of `W`";
    assert_eq!(of_squares(100).unwrap_err().reason, reason);
}

/// As many results as a chain has links: what is built stays within limits, the rest is refused.
#[test]
fn of_a_chain_of_results_are_bounded() {
    let count = 2000;
    let links: String = (1..count).map(|i| format!("let y{i} = y{} + b;\n", i - 1)).collect();
    let (types, names): (Vec<_>, Vec<_>) = (0..count).map(|i| ("f32[M, N]", format!("y{i}"))).unzip();
    let text = format!(
        "kernel f(W: i8[N, K] scale f32[N], X: bf16[M, K], b: f32[N]) -> ({}) {{
            let y0 = X @ dequant(W).T;
            {links} ({})
        }}",
        types.join(", "),
        names.join(", ")
    );
    let rewritten = rewritten(&kernels(&text)[0], &named(&[]), &pow2()).unwrap();
    let start = std::time::Instant::now();
    let composed = rewritten.certificate().unwrap();
    assert!(start.elapsed().as_secs_f64() < 2.0, "{:?}", start.elapsed());
    let certified = composed.results.iter().filter(|r| r.is_ok()).count();
    assert!((100..200).contains(&certified), "{certified}");
    assert_eq!(composed.kernel.unwrap().results.len(), certified);
    let reason = "the bounds of the results take over 16384 ops";
    assert_eq!(composed.results[count - 1].as_ref().unwrap_err().reason, reason);
}

/// Folding and sharing change nothing of what is certified.
#[test]
fn are_those_of_the_folded_kernel() {
    let params = "W: i8[N, K] scale f32[N], V: i8[N, K] scale f32[K], X: bf16[M, K], b: f32[N], c: f32[K]";
    let pairs = [
        ("X @ dequant(W).T * (2 * 3) + b", "X @ dequant(W).T * 6 + b"),
        ("(X * (2 * 3)) @ dequant(W).T + b", "(X * 6) @ dequant(W).T + b"),
        ("X @ (2 * 3 * dequant(V)).T + b", "X @ (6 * dequant(V)).T + b"),
        ("let w = dequant(W).T; X @ w + (X * c) @ w", "X @ dequant(W).T + (X * c) @ dequant(W).T"),
        ("let y = X @ dequant(W).T; y * 2 + y", "(X @ dequant(W).T) * 2 + X @ dequant(W).T"),
        ("let t = X * c; (t * t) @ dequant(W).T", "((X * c) * (X * c)) @ dequant(W).T"),
        ("let w = dequant(W); X @ (w + w * c).T", "X @ (dequant(W) + dequant(W) * c).T"),
    ];
    for lowering in [Lowering::Msd, Lowering::Dequant] {
        for (one, other) in pairs {
            let request = Request { lowering: Some(lowering), ..pow2() };
            let [one, other] = [one, other].map(|body| {
                let text = format!("kernel f({params}) -> f32[M, N] {{ {body} }}");
                rewritten(&kernels(&text)[0], &named(&[("K", 256)]), &request).unwrap()
            });
            let sites = |r: &Rewritten| r.plan.sites.iter().map(|s| s.certificate.clone()).collect::<Vec<_>>();
            assert_eq!(sites(&one), sites(&other), "{}\n{}", one.source, other.source);
            let [one, other] = [one, other].map(|r| r.certificate().unwrap());
            assert_eq!(one.results, other.results);
            assert!(one.kernel.unwrap().same_graph(&other.kernel.unwrap()));
        }
    }
}

#[test]
fn read_well() {
    let params = "W: i8[N, K] scale f32[N], V: i8[N, K] scale f32[K], X: bf16[M, K], b: f32[N], c: f32[K]";
    let body = "{
        let Y = X @ dequant(W).T;
        (Y * -0.5 + b, (Y + X @ dequant(V).T) / b)
    }";
    let composed = composed(&format!("kernel f({params}) -> (f32[M, N], f32[M, N]) {body}"), &[]);
    let words: Vec<&str> = composed.results.iter().map(|r| r.as_ref().unwrap().expression.as_str()).collect();
    assert_eq!(words[0], "3.094e-5 max|X| sum|W| * 0.5 + 1.192e-7 |b|");
    assert_eq!(words[1], "(3.094e-5 max|X| sum|W| + 3.094e-5 max|X V.scale| sum|V / V.scale|) / |b|");
    assert_eq!(composed.results[0].as_ref().unwrap().roundings, 2);
}

/// A bound is a kernel like any other: its text is `.msd`, and it runs as machine code.
#[test]
fn are_kernels() {
    let options = Options::default();
    for placement in PLACEMENTS {
        let params = format!("W: {placement}, X: bf16[M, K], b: f32[N], c: f32[K]");
        let text = format!("kernel f({params}) -> bf16[M, N] {{ X @ dequant(W).T + b }}");
        let bound = composed(&text, &[("K", 256)]).kernel.unwrap();
        assert!(kernels(&bound.to_string())[0].same_graph(&bound), "{bound}");
        let sizes = named(&[("M", 3), ("N", 128), ("K", 256)]);
        let inputs = Draw::new(8).inputs(&bound, &sizes, Values::Ordinary);
        let compiled = Rewritten::new(&bound, &sizes, &options).unwrap().compile(&options).unwrap();
        let arguments: Vec<Argument<'_>> = inputs.iter().map(Argument::from).collect();
        assert_eq!(compiled.call(&arguments).unwrap(), evaluate(&bound, &sizes, &inputs).unwrap(), "{bound}");
    }
}

/// Nothing to contract: the bound is 0, not NaN.
#[test]
fn of_nothing_are_zero() {
    let text = "kernel f(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let sizes = named(&[("M", 2), ("N", 3), ("K", 0)]);
    let bound = composed(text, &[]).kernel.unwrap();
    let inputs = Draw::new(9).inputs(&bound, &sizes, Values::Ordinary);
    assert_eq!(evaluate(&bound, &sizes, &inputs).unwrap()[0].to_f32(), [0.0; 6]);
}
