//! Syntax tree to graph: names, types and calls are resolved here, one loop per expression over
//! its stretch of the arena. Owns scope and the meaning of attributes; types of ops are checked by
//! the builder. What was reported once is *poison*: whatever uses it stays silent, and everything
//! else is still checked.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use msd_ir::builder::Builder;
use msd_ir::diag::{Code, Diagnostic};
use msd_ir::graph::{Kernel, Value};
use msd_ir::span::Span;
use msd_ir::types::{TensorType, Type};

use crate::ast::{Arena, ExprId, ExprKind, Name, Pattern, Statement, TypeExpr};
use crate::nearest::suggestion;
use crate::parse::Piece;

pub(crate) mod attributes;
mod types;
mod values;

/// What a name of the scope stands for; no value if its declaration was faulty.
#[derive(Clone, Copy)]
struct Bound {
    value: Option<Value>,
    span: Span,
}

/// What an expression stands for.
enum Lowered {
    /// Something reported already.
    Poison,
    One(Value),
    Tuple(Vec<Option<Value>>),
}

struct Lower<'a, 'p> {
    arena: &'p Arena<'a>,
    lost: &'p HashSet<&'a str>,
    builder: Builder,
    /// Names that stand alone as a dimension of a parameter.
    dimensions: BTreeSet<&'a str>,
    scope: BTreeMap<&'a str, Bound>,
    errors: Vec<Diagnostic>,
}

/// The graph of a kernel; `None` if part of it was reported by the parser, or the errors.
pub(crate) fn kernel(piece: &Piece<'_>) -> Result<Option<Kernel>, Vec<Diagnostic>> {
    let mut lower = Lower::new(&piece.arena, &piece.lost);
    let tree = &piece.kernel;
    let attributes = lower.attributes(&tree.attributes);
    lower.declare_dimensions(tree.params.iter().flatten().map(|p| &p.ty));
    for param in tree.params.iter().flatten() {
        let ty = lower.param_type(&param.ty);
        let value = ty.map(|ty| lower.builder.param(param.name.text, ty, param.name.span));
        lower.bind(param.name, value);
    }
    let declared = tree.results.as_ref().map(|types| lower.result_types(types));
    for statement in &tree.statements {
        match statement {
            Statement::Let { pattern, value } => lower.binding(pattern, *value),
            Statement::Unused { value, .. } => {
                lower.expression(*value);
            }
            Statement::Fault => {}
        }
    }
    let results = tree.value.and_then(|value| lower.results(value, declared.as_deref()));
    if !lower.errors.is_empty() {
        return Err(lower.errors);
    }
    Ok(tree.name.zip(results).map(|(name, results)| lower.builder.finish(name.text, results, attributes, tree.span)))
}

impl<'a, 'p> Lower<'a, 'p> {
    fn new(arena: &'p Arena<'a>, lost: &'p HashSet<&'a str>) -> Lower<'a, 'p> {
        Lower {
            arena,
            lost,
            builder: Builder::new(),
            dimensions: BTreeSet::new(),
            scope: BTreeMap::new(),
            errors: Vec::new(),
        }
    }

    fn report(&mut self, fault: Diagnostic) {
        self.errors.push(fault);
    }

    /// The value, or nothing once the fault is reported.
    fn accept<T>(&mut self, result: Result<T, Diagnostic>) -> Option<T> {
        result.map_err(|fault| self.report(fault)).ok()
    }

    fn bind(&mut self, name: Name<'a>, value: Option<Value>) {
        if let Some(first) = self.scope.get(name.text) {
            let fault = Diagnostic::new(Code::DuplicateName, format!("`{}` is defined twice", name.text));
            let fault = fault.at(name.span).label(first.span, "first defined here");
            return self.report(fault.help("names are not shadowed; choose another one"));
        }
        self.scope.insert(name.text, Bound { value, span: name.span });
    }

    fn binding(&mut self, pattern: &Pattern<'a>, value: ExprId) {
        let lowered = self.expression(value);
        let values = match (lowered, pattern.names.as_slice()) {
            (Lowered::Poison, names) => vec![None; names.len()],
            (Lowered::One(value), [_]) => vec![Some(value)],
            (Lowered::Tuple(values), names) if values.len() == names.len() => values,
            (lowered, names) => {
                let found = match lowered {
                    Lowered::Tuple(values) => values.len(),
                    Lowered::One(_) | Lowered::Poison => 1,
                };
                let message = format!("the pattern has {}, the value {found}", count(names.len(), "name"));
                let help = "give each result a name: `let (a, b) = ...;`";
                self.report(Diagnostic::new(Code::TupleMismatch, message).at(pattern.span).help(help));
                vec![None; names.len()]
            }
        };
        for (name, value) in pattern.names.iter().zip(values) {
            if self.dimensions.contains(name.text) {
                let message = format!("`{}` is a dimension already", name.text);
                let fault = Diagnostic::new(Code::NameIsDimension, message).at(name.span);
                self.report(fault.help("bindings and dimensions share one namespace; choose another name"));
            }
            self.bind(*name, value);
            if let Some(value) = value {
                self.builder.name(value, name.text);
            }
        }
    }

    fn result_types(&mut self, types: &[TypeExpr<'a>]) -> Vec<Option<TensorType>> {
        types.iter().map(|ty| self.result_type(ty)).collect()
    }

    /// The final value, converted to the declared results.
    fn results(&mut self, value: ExprId, declared: Option<&[Option<TensorType>]>) -> Option<Vec<Value>> {
        let (kind, span) = (&self.arena.get(value).kind, self.arena.get(value).span);
        let spans: Vec<Span> = match kind {
            ExprKind::Tuple(items) => items.iter().map(|i| self.arena.get(*i).span).collect(),
            _ => Vec::new(),
        };
        let values = match self.expression(value) {
            Lowered::Poison => return None,
            Lowered::One(value) => vec![Some(value)],
            Lowered::Tuple(values) => values,
        };
        let declared = declared?;
        if declared.len() != values.len() {
            let declares = count(declared.len(), "result");
            let message = format!("the kernel declares {declares}, its final value has {}", values.len());
            let fault = Diagnostic::new(Code::TupleMismatch, message).at(span);
            self.report(fault.help("several results are written `(a, b)`, with `-> (type, type)`"));
            return None;
        }
        let mut results = Vec::new();
        for (i, (value, ty)) in values.into_iter().zip(declared).enumerate() {
            let span = spans.get(i).copied().unwrap_or(span);
            let (Some(value), Some(ty)) = (value, ty) else { continue };
            let result = self.builder.result(value, ty, span);
            results.extend(self.accept(result));
        }
        (results.len() == declared.len()).then_some(results)
    }

    /// What a name stands for as a value.
    fn name(&mut self, name: &'a str, span: Span, quantized: bool) -> Option<Value> {
        let is_dimension = self.dimensions.contains(name);
        if let Some(bound) = self.scope.get(name).copied() {
            let value = bound.value?;
            let is_quantized = matches!(self.builder.ty(value), Type::Quant(_));
            // Where a number is needed, a quantized parameter cannot be meant, so the size was.
            if is_dimension && is_quantized && !quantized {
                let message = format!("`{name}` is a dimension used as a value, and a parameter");
                let fault = Diagnostic::new(Code::NameIsDimension, message).at(span);
                let fault = fault.label(bound.span, "the parameter");
                self.report(fault.help("rename one of them, or write `dequant(...)` if the parameter is meant"));
                return None;
            }
            return Some(value);
        }
        if is_dimension {
            let size = self.builder.size(msd_ir::dim::Dim::name(name), span);
            return self.accept(size);
        }
        if self.lost.contains(name) {
            return None;
        }
        let known = self.scope.keys().copied().chain(self.dimensions.iter().copied());
        let help = suggestion(name, known, "declare it as a parameter, or bind it with `let` before");
        let message = format!("`{name}` is not defined");
        self.report(Diagnostic::new(Code::UnknownName, message).at(span).help(help));
        None
    }
}

/// `1 name`, `2 names`
fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
