//! Certificates of results: those of products, composed through the linear ops that follow them
//! (docs/numerics.md, "Composition"). The bound of a result is itself a kernel over the same
//! parameters. Owns which ops are looked through and the graph of the bound; the bound of each
//! product is the plan's.

use std::collections::{BTreeMap, BTreeSet};

use super::{Certificate, Measure, roundings};
use crate::builder::Builder;
use crate::diag::{Code, Diagnostic};
use crate::dim::Sizes;
use crate::dtype::DType;
use crate::graph::{Attributes, Kernel, Node, Value};
use crate::ops::{Class, Op, Syntax};
use crate::plan::Plan;
use crate::rewrite::pattern::Weight;
use crate::span::Span;

/// What is certified of the results of a kernel.
#[derive(Clone, Debug)]
pub struct Composed {
    /// For each result its bound, or why it has none.
    pub results: Vec<Result<Bound, Ended>>,
    /// `NAME_bound`, a kernel over the same parameters: its results are the bounds of the certified
    /// results, in their order, F32 and of their shapes; nothing if none is certified. Its own
    /// roundings are allowed for, those of contractions of up to 2^17 elements.
    pub kernel: Option<Kernel>,
}

/// `|y - y*| <= expression`, before the final cast. `y*` is exact in products with stored weights, and
/// takes other values as computed; the rules may bring out factors of activations and products of
/// floats that the source has not, so that those hold either way, exact or as computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// Most roundings between a product and the result.
    pub roundings: u64,
    /// The bound in words: that of each product, and what roundings add.
    pub expression: String,
}

/// Why a result has no certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The op that no certificate is composed through, if that is why.
    pub at: Option<String>,
    /// The reason in words.
    pub reason: String,
}

/// How a value depends on products with stored weights.
#[derive(Clone)]
enum Reach {
    /// Not at all.
    Plain,
    /// Linearly, with at most so many roundings since.
    Linear(u64),
    Ended(Ended),
}

/// Most roundings behind a product, longest contraction of a stored weight, and of floats beside it,
/// that [`SLACK`] allows for.
const MOST_ROUNDINGS: u64 = 1 << 11;
const LONGEST: u64 = 1 << 17;
const LONGEST_OF_FLOATS: u64 = 3 << 12;

/// What the bound's kernel adds for its own roundings: at most `LONGEST / 16` in a sum, or
/// `LONGEST_OF_FLOATS` in a product, `MOST_ROUNDINGS` behind it and a dozen between, each of 2^-24,
/// are below 0.9 * 2^-10.
const SLACK: f64 = 1.0 + 1.0 / 1024.0;

/// Longest expression in words; what is longer becomes `...`.
const LONGEST_TEXT: usize = 160;

/// Composes the certificates of `plan`, which was made for `kernel` under `sizes`.
///
/// # Errors
/// Only if the bound's graph is ill-typed, which is a fault of ours.
pub fn compose(kernel: &Kernel, plan: &Plan, sizes: &Sizes) -> Result<Composed, Diagnostic> {
    let certificates = plan.sites.iter().map(|s| (s.node, s.certificate.as_ref())).collect();
    let reach = reaches(kernel, &certificates, sizes);
    let mut graph = Graph::new(kernel, &certificates, &reach, sizes)?;
    let (mut results, mut bounds) = (Vec::new(), Vec::new());
    for value in &kernel.results {
        let value = before_cast(kernel, *value);
        results.push(match &reach[value.node] {
            Reach::Plain => Err(Ended { at: None, reason: "it has no product with a stored weight".to_string() }),
            Reach::Ended(why) => Err(why.clone()),
            Reach::Linear(roundings) => {
                let (bound, expression) = graph.bound(value.node, *roundings)?;
                bounds.push(graph.built.cast(bound, DType::F32, kernel.span)?);
                Ok(Bound { roundings: *roundings, expression })
            }
        });
    }
    let kernel = (!bounds.is_empty()).then(|| {
        let name = format!("{}_bound", kernel.name);
        let mut bound = graph.built.finish(&name, bounds, Attributes::default(), kernel.span);
        bound.quotients = kernel.quotients.clone();
        bound
    });
    Ok(Composed { results, kernel })
}

/// A result before it is converted to its declared type.
fn before_cast(kernel: &Kernel, value: Value) -> Value {
    match &kernel.node(value).op {
        Op::Cast { dtype } if dtype.is_float() => kernel.node(value).operands[0],
        _ => value,
    }
}

fn reaches(kernel: &Kernel, sites: &BTreeMap<usize, Option<&Certificate>>, sizes: &Sizes) -> Vec<Reach> {
    let mut reach: Vec<Reach> = Vec::with_capacity(kernel.nodes.len());
    for (index, node) in kernel.nodes.iter().enumerate() {
        let operands: Vec<&Reach> = node.operands.iter().map(|v| &reach[v.node]).collect();
        let is_linear = |r: &&Reach| matches!(r, Reach::Linear(_));
        let next = match sites.get(&index) {
            _ if operands.iter().any(|r| matches!(r, Reach::Ended(_))) => {
                operands.iter().find(|r| matches!(r, Reach::Ended(_))).map_or(Reach::Plain, |r| (*r).clone())
            }
            _ if operands.iter().any(is_linear) => follow(kernel, node, &operands, sizes),
            Some(certificate) => product(kernel, node, *certificate, sizes),
            None => Reach::Plain,
        };
        reach.push(next);
    }
    reach
}

fn product(kernel: &Kernel, node: &Node, certificate: Option<&Certificate>, sizes: &Sizes) -> Reach {
    let weight = name(kernel, node.operands[1]);
    let k = length(kernel, node.operands[0], sizes);
    let reason = match certificate {
        Some(_) if k.is_some_and(|k| k > LONGEST) => format!("the product with `{weight}` contracts more than 2^17"),
        Some(_) => return Reach::Linear(0),
        None => format!("the bound of the product with `{weight}` is open until the contracted size is known"),
    };
    Reach::Ended(Ended { at: None, reason })
}

/// A node of which at least one operand depends on products linearly, and none otherwise.
fn follow(kernel: &Kernel, node: &Node, operands: &[&Reach], sizes: &Sizes) -> Reach {
    let depth = |r: &&Reach| if let Reach::Linear(depth) = r { Some(*depth) } else { None };
    let before = operands.iter().filter_map(depth).max().unwrap_or(0);
    let linear: Vec<bool> = operands.iter().map(|r| depth(r).is_some()).collect();
    let plain = node.operands.iter().zip(&linear).filter(|(_, linear)| !**linear).map(|(v, _)| *v);
    let mut products = plain.filter_map(|v| float_product(kernel, moved(kernel, v).0));
    if products.any(|x| length(kernel, x, sizes).is_none_or(|k| k > LONGEST_OF_FLOATS)) {
        let reason = "a product of floats beside it is too long, or of a size that is open".to_string();
        return Reach::Ended(Ended { at: Some(spelled(&node.op)), reason });
    }
    let count = match (&node.op, linear.as_slice()) {
        (Op::Neg | Op::Transpose { .. } | Op::Reshape { .. } | Op::Slice { .. } | Op::Broadcast { .. }, _)
        | (Op::Concat { .. }, _)
        | (Op::Select, [false, ..]) => Some(0),
        (Op::Add | Op::Sub, _) | (Op::Mul, [true, false] | [false, true]) | (Op::Div, [true, false]) => Some(1),
        (Op::Cast { dtype: DType::F32 | DType::F64 }, _) => Some(1),
        (Op::Sum, _) => {
            // One of 16 partial sums, then a tree of four levels.
            length(kernel, node.operands[0], sizes).map(|n| n.div_ceil(16) + 4)
        }
        _ => None,
    };
    match count {
        Some(count) if before + count <= MOST_ROUNDINGS => Reach::Linear(before + count),
        _ => {
            let at = spelled(&node.op);
            let reason = match node.op {
                Op::Sum if count.is_none() => format!("ends at `{at}` over a size that is open"),
                _ if count.is_some() => format!("ends at `{at}`: more than {MOST_ROUNDINGS} roundings"),
                _ => format!("ends at `{at}`"),
            };
            Reach::Ended(Ended { at: Some(at), reason })
        }
    }
}

/// Size of the last axis, if it is known.
fn length(kernel: &Kernel, value: Value, sizes: &Sizes) -> Option<u64> {
    kernel.tensor_ty(value).shape.last().map_or(Some(1), |d| d.eval(sizes).ok())
}

/// What a value is but for its place, and the ops that moved it, last one first.
fn moved(kernel: &Kernel, mut value: Value) -> (Value, Vec<&Node>) {
    let mut path = Vec::new();
    loop {
        let node = kernel.node(value);
        if !matches!(node.op, Op::Neg) && node.op.class() != Class::Movement || node.operands.len() != 1 {
            return (value, path);
        }
        path.push(node);
        value = node.operands[0];
    }
}

/// The left operand of a product of floats.
fn float_product(kernel: &Kernel, value: Value) -> Option<Value> {
    let node = kernel.node(value);
    (node.op == Op::MatMul && kernel.tensor_ty(value).dtype.is_float()).then(|| node.operands[0])
}

/// How often activations are rounded by factors around them, which a rule may have brought there.
fn factor_roundings(kernel: &Kernel, x: Value) -> u64 {
    let (mut count, mut seen, mut open) = (0, BTreeSet::new(), vec![x]);
    while let Some(value) = open.pop() {
        let node = kernel.node(value);
        let is_factor = matches!(node.op, Op::Mul | Op::Div);
        let looks_on = is_factor || matches!(node.op, Op::Neg | Op::Cast { .. }) || node.op.class() == Class::Movement;
        if looks_on && seen.insert(value) {
            count += u64::from(is_factor);
            open.extend(&node.operands);
        }
        // One that stands alone is part of the product's own certificate.
        count += u64::from(node.op == Op::Dequant && count > 0);
    }
    count
}

/// The op as written.
fn spelled(op: &Op) -> String {
    match op.info().map(|i| i.syntax) {
        Some(Syntax::Prefix(text) | Syntax::Call(text)) => text.to_string(),
        Some(Syntax::Infix(infix)) => infix.text.to_string(),
        Some(Syntax::Leaf) | None => String::new(),
    }
}

/// The kernel of the bound while it is built.
struct Graph<'k> {
    kernel: &'k Kernel,
    sites: &'k BTreeMap<usize, Option<&'k Certificate>>,
    reach: &'k [Reach],
    sizes: &'k Sizes,
    built: Builder,
    /// Nodes of the kernel that depend on no product, in the new graph.
    plain: Vec<Option<Value>>,
}

/// A bound, and itself in words.
type Worded = (Value, String);

impl<'k> Graph<'k> {
    fn new(
        kernel: &'k Kernel,
        sites: &'k BTreeMap<usize, Option<&'k Certificate>>,
        reach: &'k [Reach],
        sizes: &'k Sizes,
    ) -> Result<Self, Diagnostic> {
        let mut graph = Graph { kernel, sites, reach, sizes, built: Builder::new(), plain: Vec::new() };
        for (node, reach) in kernel.nodes.iter().zip(reach) {
            let plain = matches!(reach, Reach::Plain).then(|| graph.copied(node)).transpose()?;
            graph.plain.push(plain);
        }
        Ok(graph)
    }

    fn copied(&mut self, node: &Node) -> Result<Value, Diagnostic> {
        let operands = node.operands.iter().map(|v| self.same(*v)).collect::<Result<Vec<_>, _>>()?;
        let value = match &node.op {
            Op::Param { index } => {
                let param = &self.kernel.params[*index];
                self.built.param(&param.name, param.ty.clone(), param.span)
            }
            Op::Const { bits } => self.built.constant(f32::from_bits(*bits), node.span),
            op => self.built.push(op.clone(), &operands, node.span)?,
        };
        for (result, name) in node.names.iter().enumerate() {
            if let Some(name) = name {
                self.built.name(value.sibling(value.result + result), name);
            }
        }
        Ok(value)
    }

    /// A plain value in the new graph.
    fn same(&self, value: Value) -> Result<Value, Diagnostic> {
        let node = self.plain[value.node].ok_or_else(|| internal("an operand is not plain"))?;
        Ok(node.sibling(node.result + value.result))
    }

    /// The bound of a node that depends on products linearly, with `count` roundings behind them:
    /// the expression itself over absolute values, a product by its error, everything by what the
    /// roundings add.
    fn bound(&mut self, node: usize, count: u64) -> Result<Worded, Diagnostic> {
        let rounding = roundings(count);
        let mut bounds: BTreeMap<usize, Worded> = BTreeMap::new();
        for index in 0..=node {
            if !matches!(self.reach[index], Reach::Linear(_)) {
                continue;
            }
            let next = match self.sites.get(&index) {
                Some(Some(certificate)) => self.product(index, certificate, rounding)?,
                _ => self.step(&self.kernel.nodes[index], &bounds, rounding)?,
            };
            let is_long = next.1.len() > LONGEST_TEXT;
            bounds.insert(index, if is_long { (next.0, "...".to_string()) } else { next });
        }
        bounds.remove(&node).ok_or_else(|| internal("a result has no bound"))
    }

    /// `max|x| * sum|w|` by the product's error and what roundings add.
    fn product(&mut self, index: usize, certificate: &Certificate, rounding: f64) -> Result<Worded, Diagnostic> {
        let node = &self.kernel.nodes[index];
        let span = node.span;
        let (x, w) = self.measured(node, certificate.measure)?;
        let b = &mut self.built;
        let x = b.abs(x, span)?;
        let largest = b.amax(x, span)?;
        // A row of nothing has none.
        let zero = b.constant(0.0, span);
        let largest = b.max(largest, zero, span)?;
        let w = b.abs(w, span)?;
        let columns = b.t(w, span)?;
        let sums = b.sum(columns, span)?;
        let sums = b.t(sums, span)?;
        let measure = b.mul(largest, sums, span)?;
        let [x, w] = [0, 1].map(|i| name(self.kernel, node.operands[i]));
        let words = match certificate.measure {
            Measure::Product => format!("max|{x}| sum|{w}|"),
            Measure::Absorbed => format!("max|{x} {w}.scale| sum|{w} / {w}.scale|"),
        };
        let factors = roundings(factor_roundings(self.kernel, node.operands[0]));
        let error = certificate.bound + factors * (1.0 + certificate.bound);
        self.times((measure, words), error + rounding * (1.0 + error), span)
    }

    /// What the product's certificate takes the largest and the sum of.
    fn measured(&mut self, node: &Node, measure: Measure) -> Result<(Value, Value), Diagnostic> {
        let (x, w) = (self.same(node.operands[0])?, self.same(node.operands[1])?);
        if measure == Measure::Product {
            return Ok((x, w));
        }
        let found = Weight::find(self.kernel, node.operands[1]).ok_or_else(|| internal("a product has no weight"))?;
        let weight = Weight { param: self.same(found.param)?, ..found };
        let (b, span) = (&mut self.built, node.span);
        let scale = b.scale(weight.param, span)?;
        let column = weight.aligned(b, scale, &weight.ty.scale, None, span)?;
        let row = b.t(column, span)?;
        let x = b.mul(x, row, span)?;
        let codes = weight.codes(b, span)?;
        let mut codes = b.cast(codes, DType::F32, span)?;
        if let Some(part) = &weight.ty.zero {
            let zero = b.zero(weight.param, span)?;
            let zero = b.cast(zero, DType::F32, span)?;
            let zero = weight.aligned(b, zero, part, None, span)?;
            codes = b.sub(codes, zero, span)?;
        }
        Ok((x, codes))
    }

    fn times(&mut self, (value, words): Worded, factor: f64, span: Span) -> Result<Worded, Diagnostic> {
        let constant = self.built.constant(rounded_up(factor * SLACK), span);
        Ok((self.built.mul(value, constant, span)?, format!("{factor:.3e} {words}")))
    }

    /// `|value|` of a plain value.
    fn magnitude(&mut self, mut value: Value, span: Span) -> Result<Worded, Diagnostic> {
        while self.kernel.node(value).op == Op::Neg {
            value = self.kernel.node(value).operands[0];
        }
        if let Op::Const { bits } = self.kernel.node(value).op {
            let size = f32::from_bits(bits).abs();
            return Ok((self.built.constant(size, span), size.to_string()));
        }
        let same = self.same(value)?;
        Ok((self.built.abs(same, span)?, format!("|{}|", name(self.kernel, value))))
    }

    /// What roundings make of a plain value that is added to one with a bound. If it is a product,
    /// it may be one that the source has as part of another: its own error counts as well.
    fn term(&mut self, value: Value, rounding: f64, span: Span) -> Result<Worded, Diagnostic> {
        let (inner, path) = moved(self.kernel, value);
        let k = float_product(self.kernel, inner).and_then(|x| length(self.kernel, x, self.sizes));
        let Some(k) = k else {
            let magnitude = self.magnitude(value, span)?;
            return self.times(magnitude, rounding, span);
        };
        let operands = self.kernel.node(inner).operands.clone();
        let (a, left) = self.magnitude(operands[0], span)?;
        let (b, right) = self.magnitude(operands[1], span)?;
        let mut product = self.built.matmul(a, b, span)?;
        for node in path.iter().rev().filter(|n| n.op != Op::Neg) {
            product = self.built.push(node.op.clone(), &[product], span)?;
        }
        let error = roundings(k + factor_roundings(self.kernel, operands[0]));
        self.times((product, format!("{left} @ {right}")), error + rounding * (1.0 + error), span)
    }

    /// The bound behind one linear op.
    fn step(&mut self, node: &Node, bounds: &BTreeMap<usize, Worded>, rounding: f64) -> Result<Worded, Diagnostic> {
        let span = node.span;
        let is_linear = |v: &&Value| bounds.contains_key(&v.node);
        if matches!(node.op, Op::Mul | Op::Div) {
            let linear = node.operands.iter().find(is_linear).and_then(|v| bounds.get(&v.node));
            let factor = node.operands.iter().find(|v| !is_linear(v));
            let (Some((value, words)), Some(factor)) = (linear, factor) else { return Err(internal("a factor")) };
            let (size, factor) = self.magnitude(*factor, span)?;
            let value = self.built.push(node.op.clone(), &[*value, size], span)?;
            let sign = if node.op == Op::Mul { "*" } else { "/" };
            return Ok((value, format!("{} {sign} {factor}", bracketed(words))));
        }
        let mut operands: Vec<Worded> = Vec::new();
        for (i, operand) in node.operands.iter().enumerate() {
            operands.push(match bounds.get(&operand.node) {
                Some(bound) => bound.clone(),
                None if node.op == Op::Select && i == 0 => (self.same(*operand)?, name(self.kernel, *operand)),
                None => self.term(*operand, rounding, span)?,
            });
        }
        let (values, words): (Vec<Value>, Vec<String>) = operands.into_iter().unzip();
        Ok(match &node.op {
            Op::Neg | Op::Cast { .. } => (values[0], words[0].clone()),
            Op::Add | Op::Sub => (self.built.add(values[0], values[1], span)?, words.join(" + ")),
            Op::Transpose { .. } | Op::Reshape { .. } | Op::Slice { .. } | Op::Broadcast { .. } => {
                (self.built.push(node.op.clone(), &values, span)?, words[0].clone())
            }
            op => (self.built.push(op.clone(), &values, span)?, format!("{}({})", spelled(op), words.join(", "))),
        })
    }
}

/// A sum as a factor.
fn bracketed(words: &str) -> String {
    if words.contains(" + ") { format!("({words})") } else { words.to_string() }
}

/// What people call a value: a parameter, a `let` or a number, however it lies.
fn name(kernel: &Kernel, mut value: Value) -> String {
    loop {
        let node = kernel.node(value);
        value = match &node.op {
            Op::Param { index } => return kernel.params[*index].name.to_string(),
            Op::Const { bits } => return f32::from_bits(*bits).to_string(),
            Op::Transpose { .. } | Op::Reshape { .. } | Op::Slice { .. } | Op::Broadcast { .. } => node.operands[0],
            Op::Dequant | Op::Cast { .. } => node.operands[0],
            _ => return node.names[value.result].as_ref().map_or("...".to_string(), |name| name.to_string()),
        };
    }
}

/// The least F32 that is not below `x`.
fn rounded_up(x: f64) -> f32 {
    let nearest = x as f32;
    if (nearest as f64) < x { nearest.next_up() } else { nearest }
}

fn internal(what: &str) -> Diagnostic {
    Diagnostic::new(Code::Internal, format!("composing certificates: {what}"))
        .help("this is a fault of msd; please report it with the kernel")
}
