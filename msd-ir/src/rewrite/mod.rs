//! The rewrite driver: walks a kernel once, offers every node to the rules of a pass and records
//! what fired, what a guard stopped, and the expression before and after. Which rules exist is
//! [`canonical`]'s and [`lowering`]'s; which lowering a site gets is [`crate::plan`]'s.

pub mod canonical;
pub mod form;
mod hoist;
pub mod lowering;
pub mod pattern;
pub mod plain;
mod survey;

use std::collections::BTreeMap;

use crate::builder::Builder;
use crate::diag::Diagnostic;
use crate::graph::{Kernel, Value};
use crate::ops::{Op, Syntax};
use crate::plan::Choice;
use crate::span::Span;

/// What a rule made of a node.
pub enum Outcome {
    /// The node is not of the rule's form.
    NoMatch,
    /// It is, but a guard holds the rule back.
    Stopped {
        /// Name of the guard.
        guard: &'static str,
        /// What it found.
        reason: String,
    },
    /// The node is replaced.
    Fired(Value),
}

/// What a rule gives back.
type Applied = Result<Outcome, Diagnostic>;

/// A rewrite rule.
pub struct Rule {
    /// Kebab-case name.
    pub name: &'static str,
    /// Before -> after.
    pub equation: &'static str,
    /// Pattern, guard and result in one: see [`Rewriter`].
    pub apply: fn(&mut Rewriter<'_>, &Op, &[Value]) -> Applied,
}

/// One entry of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The rule.
    pub rule: &'static str,
    /// The node's index in the kernel the pass was given.
    pub node: usize,
    /// The node's place in the source.
    pub span: Span,
    /// What happened.
    pub result: EventResult,
}

/// What a rule did to a node of its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventResult {
    /// It fired.
    Fired {
        /// The expression before.
        before: String,
        /// The expression after.
        after: String,
    },
    /// A guard stopped it.
    Stopped {
        /// Name of the guard.
        guard: &'static str,
        /// What it found.
        reason: String,
    },
}

/// A pass in progress: the kernel being rebuilt, and what the rules may look at.
pub struct Rewriter<'k> {
    rules: &'k [Rule],
    choices: &'k BTreeMap<usize, Choice>,
    built: Builder,
    bearers: survey::Bearers,
    /// Node of the old kernel being offered.
    node: usize,
    span: Span,
    events: Vec<Event>,
}

/// Rebuilds `kernel`, offering each node to `rules` in order; `choices` tells the plan by node.
///
/// # Errors
/// Only if a rule builds an ill-typed graph, which is a fault of ours.
pub fn rewrite(
    kernel: &Kernel,
    rules: &[Rule],
    choices: &BTreeMap<usize, Choice>,
) -> Result<(Kernel, Vec<Event>), Diagnostic> {
    let (built, bearers) = (Builder::new(), survey::Bearers::default());
    let mut r = Rewriter { rules, choices, built, bearers, node: 0, span: kernel.span, events: Vec::new() };
    let mut renamed: Vec<Value> = Vec::with_capacity(kernel.nodes.len());
    for (index, node) in kernel.nodes.iter().enumerate() {
        r.node = index;
        r.span = node.span;
        let operands: Vec<Value> =
            node.operands.iter().map(|v| renamed[v.node].sibling(renamed[v.node].result + v.result)).collect();
        let value = match &node.op {
            Op::Param { index } => {
                let param = &kernel.params[*index];
                r.built.param(&param.name, param.ty.clone(), param.span)
            }
            Op::Const { bits } => r.built.constant(f32::from_bits(*bits), node.span),
            op => r.apply(op.clone(), &operands)?,
        };
        for (result, name) in node.names.iter().enumerate() {
            if let Some(name) = name {
                r.built.name(value.sibling(value.result + result), name);
            }
        }
        renamed.push(value);
    }
    let results = kernel.results.iter().map(|v| renamed[v.node].sibling(renamed[v.node].result + v.result)).collect();
    let Rewriter { built, events, .. } = r;
    let mut rewritten = built.finish(&kernel.name, results, kernel.attributes.clone(), kernel.span);
    rewritten.quotients = kernel.quotients.clone();
    Ok((rewritten, events))
}

impl Rewriter<'_> {
    /// The kernel so far, to look at and to add to.
    pub fn graph(&mut self) -> &mut Builder {
        &mut self.built
    }

    /// Place of the node being offered.
    pub fn span(&self) -> Span {
        self.span
    }

    /// The plan for the node being offered.
    pub fn choice(&self) -> Option<&Choice> {
        self.choices.get(&self.node)
    }

    /// Applies `op` to new operands, after offering the application to the rules in turn. A rule's
    /// own result comes through here, so rules compose; each brings its node closer to a form no
    /// rule matches, so this ends.
    pub fn apply(&mut self, op: Op, operands: &[Value]) -> Result<Value, Diagnostic> {
        for rule in self.rules {
            match (rule.apply)(self, &op, operands)? {
                Outcome::NoMatch => {}
                Outcome::Stopped { guard, reason } => self.record(rule, EventResult::Stopped { guard, reason }),
                Outcome::Fired(value) => {
                    let before = self.expression(&op, operands);
                    let after = self.describe(value, DEPTH);
                    self.record(rule, EventResult::Fired { before, after });
                    return Ok(value);
                }
            }
        }
        self.built.push(op, operands, self.span)
    }

    fn record(&mut self, rule: &Rule, result: EventResult) {
        let event = Event { rule: rule.name, node: self.node, span: self.span, result };
        if !self.events.contains(&event) {
            self.events.push(event);
        }
    }

    fn expression(&self, op: &Op, operands: &[Value]) -> String {
        let operands: Vec<String> = operands.iter().map(|v| self.describe(*v, DEPTH - 1)).collect();
        spell(op, &operands)
    }

    /// `value` as an expression of at most `depth` levels; deeper parts are `...`.
    fn describe(&self, value: Value, depth: usize) -> String {
        let node = self.built.node(value);
        let text = match &node.op {
            Op::Param { index } => self.built.params()[*index].name.to_string(),
            Op::Const { bits } => f32::from_bits(*bits).to_string(),
            Op::Size { dim } => dim.to_string(),
            _ if depth == 0 => return "...".to_string(),
            op => {
                let operands: Vec<String> = node.operands.iter().map(|v| self.describe(*v, depth - 1)).collect();
                spell(op, &operands)
            }
        };
        if value.result == 0 { text } else { format!("{text}.{}", value.result) }
    }
}

/// Levels of expressions in the trace.
const DEPTH: usize = 8;

/// An op over operands already spelled, for people: the printer of [`crate::text`] is exact.
fn spell(op: &Op, operands: &[String]) -> String {
    if let (Op::Transpose { axes }, [x]) = (op, operands) {
        let rank = axes.len();
        let swaps_last = (0..rank).all(|i| axes[i] == if i + 2 >= rank { 2 * rank - 3 - i } else { i });
        if swaps_last {
            return format!("{x}.T");
        }
    }
    match op.info().map(|i| i.syntax) {
        Some(Syntax::Infix(infix)) => format!("({})", operands.join(&format!(" {} ", infix.text))),
        Some(Syntax::Prefix(text)) => format!("{text}{}", operands.join(", ")),
        Some(Syntax::Call(name)) => {
            let attrs = op.attrs().into_iter().map(|a| a.to_string());
            let arguments: Vec<String> = operands.iter().cloned().chain(attrs).collect();
            format!("{name}({})", arguments.join(", "))
        }
        Some(Syntax::Leaf) | None => operands.join(", "),
    }
}
