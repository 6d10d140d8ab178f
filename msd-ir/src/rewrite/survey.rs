//! What an operand of a product holds: a weight that the hoisting rules can bring out, or what stops
//! them. Owns that search and the rules' guards; what the rules make of it is [`super::hoist`]'s.

use super::form::{Codes, Form};
use super::pattern::{Behind, MOST_FACTORS, Window};
use super::{Outcome, Rewriter};
use crate::builder::Builder;
use crate::dim::Dim;
use crate::dtype::DType;
use crate::graph::Value;
use crate::ops::Op;

/// Most sums, joins and vectors that are looked through in one operand: they become as many
/// products, and rules recurse once for each.
const MOST: usize = 64;

/// Names of the rules that this asks for.
pub(super) const SCALAR: &str = "hoist-scalar";
pub(super) const ADD: &str = "hoist-add";
pub(super) const CONCAT: &str = "hoist-concat";
pub(super) const VECTOR: &str = "hoist-vector";
pub(super) const BROADCAST: &str = "hoist-broadcast";

/// Whether a dequantized weight stands in the tree of each value, products left out: what they make
/// of a weight is none. Remembered, as every product asks for all that stands before it.
#[derive(Default)]
pub(super) struct Bearers(Vec<bool>);

impl Bearers {
    fn extend(&mut self, b: &Builder) {
        for node in &b.nodes()[self.0.len()..] {
            let bears = match node.op {
                Op::MatMul => false,
                Op::Dequant => true,
                _ => node.operands.iter().any(|x| self.bear(*x)),
            };
            self.0.push(bears);
        }
    }

    fn bear(&self, value: Value) -> bool {
        self.0[value.node]
    }
}

/// What a product's operand holds.
pub(super) enum Finding {
    /// No dequantized weight.
    Nothing,
    /// A weight that rules can bring out and multiply as stored, or a weight alone.
    Weight,
    /// A weight that no rule brings out.
    Stopped(Stop),
}

/// What stops a weight from being brought out.
pub(super) struct Stop {
    rule: &'static str,
    guard: &'static str,
    reason: String,
    /// Whether it is only that the weight cannot be multiplied as stored.
    is_format: bool,
}

/// A side of a product.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Side {
    Left,
    Right,
}

type Guarded<T> = Result<T, (&'static str, String)>;

/// A tensor under a factor that is no scalar.
pub(super) struct Scaled {
    /// Has the shape of the whole.
    pub weight: Value,
    pub factor: Value,
    pub divides: bool,
}

/// How a factor varies in a product's right operand `[.., K, N]`.
pub(super) struct Varies {
    pub along_k: bool,
    pub along_n: bool,
}

/// What the operand on one side of a product holds.
fn survey(r: &mut Rewriter<'_>, operands: &[Value], side: Side) -> Finding {
    let operand = operands[side as usize];
    let mut at = Behind::find(&r.built, operand);
    r.bearers.extend(&r.built);
    if r.bearers.bear(operand) && !r.bearers.bear(at.value) {
        let reason = "the weight is a scalar factor of a plain tensor".to_owned();
        return Finding::Stopped(Stop { rule: SCALAR, guard: "factor", reason, is_format: false });
    }
    // A weight alone has its place on the right even where it is not multiplied as stored.
    if at.weight(&r.built).is_some() {
        return Finding::Weight;
    }
    if side == Side::Left {
        // It would be multiplied from the right, transposed.
        let rank = at.axes.len();
        at.axes.swap(rank - 2, rank - 1);
    }
    search(r, at)
}

/// Whether a weight that rules can bring out stands on the right.
pub(super) fn is_weight(r: &mut Rewriter<'_>, operands: &[Value]) -> bool {
    matches!(survey(r, operands, Side::Right), Finding::Weight)
}

/// Whether the left operand has the better claim to the right side: a weight that rules can bring out
/// before one that stays F32, and that before activations.
pub(super) fn is_left_heavier(r: &mut Rewriter<'_>, operands: &[Value]) -> bool {
    let claim = |found: Finding| match found {
        Finding::Weight => 2,
        Finding::Stopped(stop) if stop.is_format => 1,
        Finding::Stopped(_) | Finding::Nothing => 0,
    };
    claim(survey(r, operands, Side::Left)) > claim(survey(r, operands, Side::Right))
}

/// Whether a weight that can be multiplied as stored stands in what is seen.
pub(super) fn is_multiplied(r: &mut Rewriter<'_>, at: Behind) -> bool {
    matches!(search(r, at), Finding::Weight)
}

fn search(r: &mut Rewriter<'_>, start: Behind) -> Finding {
    r.bearers.extend(&r.built);
    let (b, bearers) = (&r.built, &r.bearers);
    if !bearers.bear(start.value) {
        return Finding::Nothing;
    }
    let stop = |rule, guard, reason| Stop { rule, guard, reason, is_format: false };
    let first = rule_for(b, start.value).unwrap_or(VECTOR);
    let between = |value: Value| format!("`{}` stands between the product and the weight", b.node(value).op.spelled());
    let mut stopped = stop(first, "op", between(start.value));
    let (mut is_first, mut is_weight, mut steps) = (true, false, 0);
    let mut hold_back = |by: Stop| {
        // The first reason is the one nearest to the product.
        if std::mem::take(&mut is_first) {
            stopped = by;
        }
    };
    let mut open = vec![start];
    while let Some(at) = open.pop() {
        if at.factors.len() > MOST_FACTORS {
            let reason = format!("more than {MOST_FACTORS} scalar factors stand around it");
            hold_back(stop(SCALAR, "size", reason));
            continue;
        }
        if let Some(weight) = at.weight(b) {
            match Form::of(&weight) {
                // A product of their own would cost what the sum saves.
                Ok(form) if form.codes == Codes::Floats => {
                    let name = weight.ty.codes.dtype.name();
                    let reason = format!("`{name}` codes may as well be dequantized before");
                    hold_back(Stop { is_format: true, ..stop(first, "weight-format", reason) });
                }
                Ok(_) => is_weight = true,
                Err(by) => hold_back(Stop { is_format: true, ..stop(first, by.guard, by.reason) }),
            }
            continue;
        }
        let Some(rule) = rule_for(b, at.value) else {
            hold_back(stop(VECTOR, "op", between(at.value)));
            continue;
        };
        steps += 1;
        if steps > MOST {
            let reason = format!("the operand joins more than {MOST} sums, parts and vectors");
            return Finding::Stopped(stop(rule, "size", reason));
        }
        match opened(b, bearers, &at) {
            Err((guard, reason)) => hold_back(stop(rule, guard, reason)),
            Ok(inner) => open.extend(inner.into_iter().filter(|x| bearers.bear(x.value)).map(|x| x.further(b))),
        }
    }
    if is_weight { Finding::Weight } else { Finding::Stopped(stopped) }
}

/// The rule that peels the op of `value`, which is nothing that [`Behind`] looks through.
pub(super) fn rule_for(b: &Builder, value: Value) -> Option<&'static str> {
    let is_f32 = b.ty(value).tensor().is_some_and(|t| t.dtype == DType::F32);
    match b.node(value).op {
        Op::Add | Op::Sub if is_f32 => Some(ADD),
        Op::Concat { .. } if is_f32 => Some(CONCAT),
        Op::Mul | Op::Div if is_f32 => Some(VECTOR),
        Op::Broadcast { .. } if is_f32 => Some(BROADCAST),
        _ => None,
    }
}

/// What the rule of `at` leaves for products to multiply, or what stops it.
fn opened(b: &Builder, bearers: &Bearers, at: &Behind) -> Guarded<Vec<Behind>> {
    let node = b.node(at.value);
    let operands = &node.operands;
    let whole = b.ty(at.value);
    match &node.op {
        Op::Add | Op::Sub => match operands.iter().find(|x| b.ty(**x).shape() != whole.shape()) {
            Some(short) => Err(("shape", format!("the term `{}` is broadcast to `{whole}`", b.ty(*short)))),
            None => Ok(operands.iter().map(|x| at.with(*x)).collect()),
        },
        Op::Div if bearers.bear(operands[1]) && !bearers.bear(operands[0]) => {
            Err(("linear", "the weight is what is divided by".to_owned()))
        }
        Op::Mul | Op::Div => match scaled(b, at.value) {
            Some(s) if bearers.bear(s.weight) => {
                let varies = varies(b, s.factor, &at.axes);
                let reason = || format!("the factor `{}` varies along both dimensions of the product", b.ty(s.factor));
                if varies.along_k && varies.along_n { Err(("varies", reason())) } else { Ok(vec![at.with(s.weight)]) }
            }
            Some(s) => Err(("shape", format!("the weight is the factor `{}` of a plain tensor", b.ty(s.factor)))),
            None if operands.iter().all(|x| b.ty(*x).shape() == whole.shape()) => {
                Err(("varies", format!("the factors are both `{whole}`: neither is a vector")))
            }
            None => Err(("shape", format!("the weight is broadcast to `{whole}`"))),
        },
        Op::Concat { axis } => joined(b, at, *axis),
        Op::Broadcast { .. } => Ok(vec![repeated(b, at)?]),
        _ => Ok(Vec::new()),
    }
}

/// The parts of a join along `axis` that are seen, each as far as it is.
pub(super) fn joined(b: &Builder, at: &Behind, axis: usize) -> Guarded<Vec<Behind>> {
    let operands = &b.node(at.value).operands;
    let Some(cut) = at.windows.iter().position(|w| w.axis == axis) else {
        return Ok(operands.iter().map(|x| at.with(*x)).collect());
    };
    let Window { start, stop, .. } = &at.windows[cut];
    let joint = &b.ty(operands[0]).shape()[axis];
    let part = |operand: usize, start: Dim, stop: Dim| {
        let mut part = at.with(operands[operand]);
        part.windows[cut] = Window { axis, start, stop };
        part
    };
    let unknown =
        || ("slice", format!("a slice from `{start}` to `{stop}` may or may not cross the joint at `{joint}`"));
    let precedes = |a: &Dim, b: &Dim| b.sub(a).is_some_and(|d| d.is_never_negative());
    let behind = |end: &Dim| end.sub(joint).ok_or_else(unknown);
    if precedes(stop, joint) {
        Ok(vec![part(0, start.clone(), stop.clone())])
    } else if precedes(joint, start) {
        Ok(vec![part(1, behind(start)?, behind(stop)?)])
    } else if precedes(start, joint) && precedes(joint, stop) {
        Ok(vec![part(0, start.clone(), joint.clone()), part(1, Dim::constant(0), behind(stop)?)])
    } else {
        Err(unknown())
    }
}

/// What a broadcast along batch dimensions repeats: products repeat their operands themselves.
pub(super) fn repeated(b: &Builder, at: &Behind) -> Guarded<Behind> {
    let value = b.node(at.value).operands[0];
    let (whole, shape) = (b.ty(at.value).shape(), b.ty(value).shape());
    let missing = whole.len() - shape.len();
    let is_repeated = |axis: usize| axis < missing || shape[axis - missing] != whole[axis];
    let (batch, own) = at.axes.split_at(at.axes.len() - 2);
    if own.iter().any(|axis| is_repeated(*axis)) {
        let reason = format!("the weight is repeated from `{}` along dimensions of the product itself", b.ty(value));
        return Err(("shape", reason));
    }
    // The others keep their distance from the last only if the new ones come first.
    if batch.iter().take(missing).any(|axis| *axis >= missing) {
        return Err(("batch", format!("new dimensions of `{}` stand behind its own", b.ty(value))));
    }
    let axes = at.axes[missing..].iter().map(|axis| axis - missing).collect();
    let windows = at.windows.iter().filter(|w| !is_repeated(w.axis));
    let windows = windows.map(|w| Window { axis: w.axis - missing, ..w.clone() }).collect();
    Ok(Behind { value, axes, windows, factors: Vec::new() })
}

/// `value` as a tensor times or divided by something of another shape.
pub(super) fn scaled(b: &Builder, value: Value) -> Option<Scaled> {
    let node = b.node(value);
    let (a, c) = (*node.operands.first()?, *node.operands.get(1)?);
    let is_full = |x: Value| b.ty(x).shape() == b.ty(value).shape();
    match (&node.op, is_full(a), is_full(c)) {
        (Op::Mul, true, false) => Some(Scaled { weight: a, factor: c, divides: false }),
        (Op::Mul, false, true) => Some(Scaled { weight: c, factor: a, divides: false }),
        (Op::Div, true, false) => Some(Scaled { weight: a, factor: c, divides: true }),
        _ => None,
    }
}

/// How `factor` of a tensor seen under `axes` varies. It is broadcast, so its axes are counted from
/// the last.
pub(super) fn varies(b: &Builder, factor: Value, axes: &[usize]) -> Varies {
    let shape = b.ty(factor).shape();
    let missing = axes.len() - shape.len();
    let along = |axis: usize| axis >= missing && !shape[axis - missing].is_one();
    Varies { along_k: along(axes[axes.len() - 2]), along_n: along(axes[axes.len() - 1]) }
}

/// The right operand of a product, if `rule` is the one to peel it; else what is to be said.
pub(super) fn offered(
    r: &mut Rewriter<'_>,
    rule: &'static str,
    op: &Op,
    operands: &[Value],
) -> Result<Behind, Outcome> {
    if *op != Op::MatMul {
        return Err(Outcome::NoMatch);
    }
    if is_weight(r, operands) {
        let at = Behind::find(&r.built, operands[1]);
        if rule_for(&r.built, at.value) == Some(rule) {
            return Ok(at);
        }
    }
    Err(held(r, rule, operands))
}

/// What is to be said of `rule`, which has nothing to do for a product.
pub(super) fn held(r: &mut Rewriter<'_>, rule: &'static str, operands: &[Value]) -> Outcome {
    let root = |r: &Rewriter<'_>, operand: Value| rule_for(&r.built, Behind::find(&r.built, operand).value);
    let found = match survey(r, operands, Side::Right) {
        Finding::Stopped(stop) => stop,
        // Another rule's turn.
        Finding::Weight if root(r, operands[1]).is_some() => return Outcome::NoMatch,
        // All has come to stand on the right that can; what stops the left is worth saying.
        Finding::Nothing | Finding::Weight => match survey(r, operands, Side::Left) {
            Finding::Stopped(stop) => stop,
            Finding::Weight if root(r, operands[0]) == Some(rule) => {
                let reason = "the other side of the product is a weight as well".to_owned();
                Stop { rule, guard: "side", reason, is_format: false }
            }
            Finding::Nothing | Finding::Weight => return Outcome::NoMatch,
        },
    };
    let Stop { rule: own, guard, reason, .. } = found;
    if own == rule { Outcome::Stopped { guard, reason } } else { Outcome::NoMatch }
}
