//! Certificates of results: those of products, composed through the linear ops that follow them
//! (docs/numerics.md, "Composition"). The bound of a result is itself a kernel over the same
//! parameters. Owns the graph of the bound; which ops are looked through is `reach.rs`'s, the
//! bound of each product the plan's.

use std::collections::{BTreeMap, BTreeSet};

use super::reach::{Reach, factor_roundings, float_product, length, moved, name, reaches};
use super::{Certificate, Measure, roundings};
use crate::builder::Builder;
use crate::diag::{Code, Diagnostic};
use crate::dim::Sizes;
use crate::dtype::DType;
use crate::graph::{Attributes, Kernel, Node, Value};
use crate::ops::Op;
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
    /// roundings are allowed for, at any size. The errors of products and the roundings of sums are
    /// those of the sizes it was composed for: where they depend on a size (groups, sums, the `dequant`
    /// lowering) that size was known, and the kernel says nothing of larger ones.
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

/// What the bound's kernel adds for its own roundings but those of sums over a weight:
/// `LONGEST_OF_FLOATS` in a product, `MOST_ROUNDINGS` behind it and a dozen between, each of 2^-24,
/// are below 0.9 * 2^-10.
const SLACK: f64 = 1.0 + 1.0 / 1024.0;

/// A sum of `k` magnitudes goes through at most `k/16` roundings and a few, so it is not below
/// `exp(-k * 2^-28 * (1 + 2^-23))` of the exact one, and `exp(k * 2^-27)` makes up for it at any `k`.
const SLACK_PER_ELEMENT: f32 = 1.0 / (1u32 << 27) as f32;

/// Most ops of the source that the bound's kernel follows. Results share little of their bounds, as
/// each has its own number of roundings: a long chain of which every link is a result would make a
/// kernel of the square of its length.
const MOST_STEPS: usize = 1 << 14;

/// Longest expression in words; what is longer becomes `...`.
const LONGEST_TEXT: usize = 160;

/// Composes the certificates of `plan`, which was made for `kernel` under `sizes`.
///
/// # Errors
/// Only if the bound's graph is ill-typed, which is a fault of ours.
pub fn compose(kernel: &Kernel, plan: &Plan, sizes: &Sizes) -> Result<Composed, Diagnostic> {
    let certificates = plan.sites.iter().map(|s| (s.node, s.certificate.as_ref())).collect();
    let factors = factor_roundings(kernel);
    let reach = reaches(kernel, &certificates, &factors, sizes);
    let mut graph = Graph::new(kernel, &certificates, &reach, &factors, sizes)?;
    let (mut results, mut bounds) = (Vec::new(), Vec::new());
    for value in &kernel.results {
        let value = before_cast(kernel, *value);
        results.push(match &reach[value.node] {
            Reach::Plain => Err(Ended { at: None, reason: "it has no product with a stored weight".to_string() }),
            Reach::Ended(why) => Err(why.clone()),
            Reach::Linear(roundings) => match graph.bound(value.node, *roundings)? {
                Some((bound, expression)) => {
                    bounds.push(graph.built.cast(bound, DType::F32, kernel.span)?);
                    Ok(Bound { roundings: *roundings, expression })
                }
                None => {
                    Err(Ended { at: None, reason: format!("the bounds of the results take over {MOST_STEPS} ops") })
                }
            },
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

/// The kernel of the bound while it is built.
struct Graph<'k> {
    kernel: &'k Kernel,
    sites: &'k BTreeMap<usize, Option<&'k Certificate>>,
    reach: &'k [Reach],
    factors: &'k [u64],
    sizes: &'k Sizes,
    built: Builder,
    /// Nodes of the kernel that depend on no product, in the new graph.
    plain: Vec<Option<Value>>,
    /// Bounds of nodes, each behind so many roundings.
    bounds: BTreeMap<(u64, usize), Worded>,
    /// How many more there may be.
    left: usize,
}

/// A bound, and itself in words.
type Worded = (Value, String);

impl<'k> Graph<'k> {
    fn new(
        kernel: &'k Kernel,
        sites: &'k BTreeMap<usize, Option<&'k Certificate>>,
        reach: &'k [Reach],
        factors: &'k [u64],
        sizes: &'k Sizes,
    ) -> Result<Self, Diagnostic> {
        let (built, plain, bounds) = (Builder::new(), Vec::new(), BTreeMap::new());
        let mut graph = Graph { kernel, sites, reach, factors, sizes, built, plain, bounds, left: MOST_STEPS };
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
    /// roundings add. Nothing if it takes too much.
    fn bound(&mut self, node: usize, count: u64) -> Result<Option<Worded>, Diagnostic> {
        let missing = self.missing(node, count);
        let Some(left) = self.left.checked_sub(missing.len()) else {
            self.left = 0;
            return Ok(None);
        };
        self.left = left;
        for index in missing {
            let (value, words) = match self.sites.get(&index) {
                Some(Some(certificate)) => self.product(index, certificate, roundings(count))?,
                _ => self.step(&self.kernel.nodes[index], count)?,
            };
            let words = if words.len() > LONGEST_TEXT { "...".to_string() } else { words };
            self.bounds.insert((count, index), (value, words));
        }
        let bound = self.bounds.get(&(count, node)).cloned();
        bound.map(Some).ok_or_else(|| internal("a result has no bound"))
    }

    /// What the bound of a node takes that is not built yet, operands first; no more than just too much.
    fn missing(&self, node: usize, count: u64) -> BTreeSet<usize> {
        let (mut found, mut open) = (BTreeSet::new(), vec![node]);
        while let Some(index) = open.pop() {
            let is_missing =
                matches!(self.reach[index], Reach::Linear(_)) && !self.bounds.contains_key(&(count, index));
            if is_missing && found.len() <= self.left && found.insert(index) && !self.sites.contains_key(&index) {
                open.extend(self.kernel.nodes[index].operands.iter().map(|v| v.node));
            }
        }
        found
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
        let measure = self.summed(measure, node.operands[0], span)?;
        let [x, w] = [0, 1].map(|i| name(self.kernel, node.operands[i]));
        let words = match certificate.measure {
            Measure::Product => format!("max|{x}| sum|{w}|"),
            Measure::Absorbed => format!("max|{x} {w}.scale| sum|{w} / {w}.scale|"),
        };
        // One dequantized factor that stands alone is part of the product's own certificate.
        let (alone, _) = moved(self.kernel, node.operands[0]);
        let is_dequant = self.kernel.node(alone).op == Op::Dequant;
        let factors = if is_dequant { 0.0 } else { roundings(self.factors[node.operands[0].node]) };
        let error = certificate.bound + factors * (1.0 + certificate.bound);
        self.times((measure, words), error + rounding * (1.0 + error), span)
    }

    /// A measure by what makes up for the roundings of its sum over the last axis of `x`.
    fn summed(&mut self, measure: Value, x: Value, span: Span) -> Result<Value, Diagnostic> {
        let Some(k) = self.kernel.tensor_ty(x).shape.last() else { return Ok(measure) };
        let b = &mut self.built;
        let each = b.constant(SLACK_PER_ELEMENT, span);
        let count = match k.as_constant() {
            Some(k) => b.constant(k as f32, span),
            None => b.size(k.clone(), span)?,
        };
        let all = b.mul(count, each, span)?;
        let slack = b.exp(all, span)?;
        b.mul(measure, slack, span)
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
        let error = roundings(k + self.factors[operands[0].node]);
        self.times((product, format!("{left} @ {right}")), error + rounding * (1.0 + error), span)
    }

    /// The bound behind one linear op.
    fn step(&mut self, node: &Node, count: u64) -> Result<Worded, Diagnostic> {
        let span = node.span;
        let bounds: Vec<Option<Worded>> =
            node.operands.iter().map(|v| self.bounds.get(&(count, v.node)).cloned()).collect();
        if matches!(node.op, Op::Mul | Op::Div) {
            let factor = node.operands.iter().zip(&bounds).find(|(_, bound)| bound.is_none());
            let linear = bounds.iter().flatten().next();
            let (Some((value, words)), Some((factor, _))) = (linear, factor) else { return Err(internal("a factor")) };
            let (size, factor) = self.magnitude(*factor, span)?;
            let value = self.built.push(node.op.clone(), &[*value, size], span)?;
            let sign = if node.op == Op::Mul { "*" } else { "/" };
            return Ok((value, format!("{} {sign} {factor}", bracketed(words))));
        }
        let mut operands: Vec<Worded> = Vec::new();
        for (i, (operand, bound)) in node.operands.iter().zip(bounds).enumerate() {
            operands.push(match bound {
                Some(bound) => bound,
                None if node.op == Op::Select && i == 0 => (self.same(*operand)?, name(self.kernel, *operand)),
                None => self.term(*operand, roundings(count), span)?,
            });
        }
        let (values, words): (Vec<Value>, Vec<String>) = operands.into_iter().unzip();
        Ok(match &node.op {
            Op::Neg | Op::Cast { .. } => (values[0], words[0].clone()),
            Op::Add | Op::Sub => (self.built.add(values[0], values[1], span)?, words.join(" + ")),
            Op::Transpose { .. } | Op::Reshape { .. } | Op::Slice { .. } | Op::Broadcast { .. } => {
                (self.built.push(node.op.clone(), &values, span)?, words[0].clone())
            }
            op => (self.built.push(op.clone(), &values, span)?, format!("{}({})", op.spelled(), words.join(", "))),
        })
    }
}

/// A sum as a factor.
fn bracketed(words: &str) -> String {
    if words.contains(" + ") { format!("({words})") } else { words.to_string() }
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
