//! Expressions to values. A first loop, parents before children, finds which nodes are values and
//! which are attributes of a call (types, sizes, lists); a second one, children first, builds the
//! values. Calls are resolved by the op table and the function table alone.

use msd_ir::builder::wrong_arity;
use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dim::Dim;
use msd_ir::dtype::DType;
use msd_ir::functions::{self, FUNCTIONS, Function};
use msd_ir::graph::Value;
use msd_ir::ops::{self, Attr, AttrKind, Class, OPS, OpInfo, Syntax};
use msd_ir::span::Span;

use super::{Lower, Lowered, attributes, count, types};
use crate::ast::{ExprId, ExprKind, Name};
use crate::nearest::{nearest, suggestion};

/// The literal of given bits: `msd.f32("0x7f800000")`. The printed form of what decimals do not
/// express: negative zero and other negative literals (`-1` is an op applied to `1`), infinities
/// and NaN.
const BITS: &str = "msd.f32";

/// How a node of an expression is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Part of an attribute, or the name of a callee.
    NoValue,
    /// Operand of something.
    Value,
    /// Operand of an op that takes quantized parameters.
    Quantized,
    /// The whole expression, where a tuple may stand.
    Root,
}

/// What a node was lowered to.
#[derive(Clone, Copy)]
enum Slot {
    Poison,
    One(Value),
    /// All results of one node; the value is the first.
    All(Value),
}

/// What a call calls.
#[derive(Clone, Copy)]
enum Target {
    Op(&'static OpInfo),
    Function(&'static Function),
    Bits,
    /// Nothing known; perhaps this was meant.
    Unknown(Option<&'static OpInfo>),
}

/// What stands before the parenthesis of a call.
struct Callee {
    name: String,
    /// In `x.name(...)`, the `x`: the first argument.
    receiver: Option<ExprId>,
    span: Span,
}

/// The slots of one expression, by index in the arena.
struct Slots {
    first: ExprId,
    slots: Vec<Slot>,
}

impl Slots {
    fn get(&self, id: ExprId) -> Slot {
        self.slots[id - self.first]
    }
}

impl<'a> Lower<'a, '_> {
    /// Lowers the expression at `root`.
    pub(super) fn expression(&mut self, root: ExprId) -> Lowered {
        let arena = self.arena;
        let first = arena.get(root).first;
        let roles = self.roles(first, root);
        let mut slots = Slots { first, slots: vec![Slot::Poison; roles.len()] };
        for (id, role) in (first..=root).zip(&roles) {
            if *role != Role::NoValue {
                slots.slots[id - first] = self.node(id, *role, &slots);
            }
        }
        match (&arena.get(root).kind, slots.get(root)) {
            (ExprKind::Tuple(items), _) => {
                Lowered::Tuple(items.iter().map(|item| self.operand(*item, &slots)).collect())
            }
            (_, Slot::Poison) => Lowered::Poison,
            (_, Slot::One(value)) => Lowered::One(value),
            (_, Slot::All(value)) => {
                Lowered::Tuple((0..self.builder.result_count(value)).map(|r| Some(value.sibling(r))).collect())
            }
        }
    }

    fn roles(&self, first: ExprId, root: ExprId) -> Vec<Role> {
        let mut roles = vec![Role::NoValue; root + 1 - first];
        roles[root - first] = Role::Root;
        for id in (first..=root).rev() {
            if roles[id - first] == Role::NoValue {
                continue;
            }
            match &self.arena.get(id).kind {
                ExprKind::Neg(x) | ExprKind::Field { base: x, .. } => roles[x - first] = Role::Value,
                ExprKind::Infix { left, right, .. } => {
                    roles[left - first] = Role::Value;
                    roles[right - first] = Role::Value;
                }
                ExprKind::Tuple(items) => {
                    for item in items {
                        roles[item - first] = Role::Value;
                    }
                }
                ExprKind::Call { callee, args } => {
                    let callee = self.callee(*callee);
                    let target = callee.as_ref().map_or(Target::Unknown(None), |c| resolve(&c.name));
                    let receiver = callee.and_then(|c| c.receiver);
                    for (i, arg) in receiver.iter().chain(args).enumerate() {
                        roles[arg - first] = self.argument_role(target, i, *arg);
                    }
                }
                ExprKind::Name(_) | ExprKind::Number(_) | ExprKind::Text(_) | ExprKind::List(_) | ExprKind::Fault => {}
            }
        }
        roles
    }

    fn argument_role(&self, target: Target, index: usize, arg: ExprId) -> Role {
        let is_literal_kind = matches!(self.arena.get(arg).kind, ExprKind::List(_) | ExprKind::Text(_));
        match target {
            Target::Op(info) | Target::Unknown(Some(info)) => {
                let is_attr = index >= info.operands.len() && index < info.operands.len() + info.attrs.len();
                match (is_attr, info.class) {
                    (true, _) => Role::NoValue,
                    (false, Class::Quantized) => Role::Quantized,
                    (false, _) => Role::Value,
                }
            }
            Target::Function(_) => Role::Value,
            Target::Unknown(None) if !is_literal_kind => Role::Value,
            Target::Bits | Target::Unknown(None) => Role::NoValue,
        }
    }

    /// What a call calls, if that has a name.
    fn callee(&self, callee: ExprId) -> Option<Callee> {
        let expr = self.arena.get(callee);
        match &expr.kind {
            ExprKind::Name(name) => Some(Callee { name: (*name).to_string(), receiver: None, span: expr.span }),
            ExprKind::Field { base, name } if matches!(self.arena.get(*base).kind, ExprKind::Name("msd")) => {
                Some(Callee { name: format!("msd.{}", name.text), receiver: None, span: expr.span })
            }
            ExprKind::Field { base, name } => {
                Some(Callee { name: name.text.to_string(), receiver: Some(*base), span: name.span })
            }
            _ => None,
        }
    }

    fn node(&mut self, id: ExprId, role: Role, slots: &Slots) -> Slot {
        let arena = self.arena;
        let expr = arena.get(id);
        let span = expr.span;
        let value = match &expr.kind {
            ExprKind::Name(name) => self.name(name, span, role == Role::Quantized),
            ExprKind::Number(text) => self.literal(text, span),
            ExprKind::Neg(x) => self.operand(*x, slots).and_then(|x| {
                let negated = self.builder.neg(x, span);
                self.accept(negated)
            }),
            ExprKind::Infix { op, left, right } => {
                let operands = (self.operand(*left, slots), self.operand(*right, slots));
                self.infix(op, operands, span)
            }
            ExprKind::Field { base, name } => {
                let base = self.operand(*base, slots);
                if name.text == "T" {
                    base.and_then(|x| {
                        let transposed = self.builder.t(x, span);
                        self.accept(transposed)
                    })
                } else {
                    self.report(unknown_field(name));
                    None
                }
            }
            ExprKind::Call { callee, args } => return self.call(*callee, args, span, slots),
            ExprKind::Tuple(_) if role == Role::Root => None,
            ExprKind::Tuple(items) => {
                let message = format!("a tuple of {} where one value is needed", items.len());
                let fault = Diagnostic::new(Code::TupleMismatch, message).at(span);
                self.report(fault.help("tuples stand in `let (a, b) = ...;` and at the end of a kernel only"));
                None
            }
            ExprKind::List(_) | ExprKind::Text(_) => {
                let fault = Diagnostic::new(Code::BadArgument, "this is no value").at(span);
                self.report(fault.help("lists and strings are arguments of some functions only"));
                None
            }
            ExprKind::Fault => None,
        };
        value.map_or(Slot::Poison, Slot::One)
    }

    /// The one value a node stands for.
    fn operand(&mut self, id: ExprId, slots: &Slots) -> Option<Value> {
        match slots.get(id) {
            Slot::Poison => None,
            Slot::One(value) => Some(value),
            Slot::All(value) => {
                let results = count(self.builder.result_count(value), "result");
                let fault =
                    Diagnostic::new(Code::TupleMismatch, format!("this has {results} where one value is needed"));
                self.report(fault.at(self.arena.get(id).span).help("name them first: `let (a, b) = ...;`"));
                None
            }
        }
    }

    fn infix(&mut self, op: &str, operands: (Option<Value>, Option<Value>), span: Span) -> Option<Value> {
        let (left, right) = operands.0.zip(operands.1)?;
        let info = ops::by_infix(op)?;
        let value = self.builder.apply(info, &[left, right], &[], span);
        self.accept(value)
    }

    fn literal(&mut self, text: &str, span: Span) -> Option<Value> {
        let value = text.parse::<f32>().unwrap_or(f32::NAN);
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        let vanished = value == 0.0 && mantissa.bytes().any(|b| matches!(b, b'1'..=b'9'));
        if !value.is_finite() || vanished {
            let fault = Diagnostic::new(Code::InvalidNumber, format!("`{text}` does not fit f32")).at(span);
            self.report(fault.help("literals are f32, with magnitudes from 1.4e-45 to 3.4e38"));
            return None;
        }
        Some(self.builder.constant(value, span))
    }

    fn call(&mut self, callee: ExprId, args: &[ExprId], span: Span, slots: &Slots) -> Slot {
        let expr = self.arena.get(callee);
        let Some(Callee { name, receiver, span: callee_span }) = self.callee(callee) else {
            if !matches!(expr.kind, ExprKind::Fault) {
                let fault = Diagnostic::new(Code::UnknownFunction, "only functions are called").at(expr.span);
                self.report(fault.help("a call is written `name(arguments)`; products need `*` or `@`"));
            }
            return Slot::Poison;
        };
        let args: Vec<ExprId> = receiver.into_iter().chain(args.iter().copied()).collect();
        let value = match resolve(&name) {
            Target::Op(info) => return self.call_op(info, &args, receiver.is_some(), span, slots),
            Target::Function(function) => self.call_function(function, &args, receiver.is_some(), span, slots),
            Target::Bits => self.bits(&args, span),
            Target::Unknown(_) => {
                self.report(unknown_function(&name, receiver.is_some()).at(callee_span));
                None
            }
        };
        value.map_or(Slot::Poison, Slot::One)
    }

    fn call_op(&mut self, info: &'static OpInfo, args: &[ExprId], is_method: bool, span: Span, slots: &Slots) -> Slot {
        if args.len() != info.operands.len() + info.attrs.len() {
            self.report(arity(wrong_arity(info, args.len()), is_method).at(span));
            return Slot::Poison;
        }
        let (operands, attrs) = args.split_at(info.operands.len());
        let operands: Vec<Option<Value>> = operands.iter().map(|id| self.operand(*id, slots)).collect();
        let attrs: Vec<Option<Attr>> =
            attrs.iter().zip(info.attrs).map(|(id, (_, kind))| self.attr(*id, *kind)).collect();
        let operands: Option<Vec<Value>> = operands.into_iter().collect();
        let attrs: Option<Vec<Attr>> = attrs.into_iter().collect();
        let Some((operands, attrs)) = operands.zip(attrs) else { return Slot::Poison };
        let value = self.builder.apply(info, &operands, &attrs, span);
        match self.accept(value) {
            Some(value) if self.builder.result_count(value) > 1 => Slot::All(value),
            Some(value) => Slot::One(value),
            None => Slot::Poison,
        }
    }

    fn call_function(
        &mut self,
        f: &Function,
        args: &[ExprId],
        is_method: bool,
        span: Span,
        slots: &Slots,
    ) -> Option<Value> {
        if args.len() != f.arguments.len() {
            let message = format!("`{}` takes {}, found {}", f.name, count(f.arguments.len(), "argument"), args.len());
            let help = format!("its arguments are ({})", f.arguments.join(", "));
            let fault = Diagnostic::new(Code::WrongArity, message).help(help);
            self.report(arity(fault, is_method).at(span));
            return None;
        }
        let values: Vec<Option<Value>> = args.iter().map(|id| self.operand(*id, slots)).collect();
        let values: Option<Vec<Value>> = values.into_iter().collect();
        let value = (f.expand)(&mut self.builder, &values?, span);
        self.accept(value)
    }

    fn bits(&mut self, args: &[ExprId], span: Span) -> Option<Value> {
        let bits = match args {
            [arg] => match &self.arena.get(*arg).kind {
                ExprKind::Text(text) => text.strip_prefix("0x").and_then(|hex| u32::from_str_radix(hex, 16).ok()),
                _ => None,
            },
            _ => None,
        };
        let Some(bits) = bits else {
            let fault = Diagnostic::new(Code::BadArgument, format!("`{BITS}` takes the bits of a literal")).at(span);
            self.report(fault.help(format!("eight hexadecimal digits: `{BITS}(\"0x7f800000\")` is infinity")));
            return None;
        };
        Some(self.builder.constant(f32::from_bits(bits), span))
    }

    /// An attribute argument of the kind the table asks for.
    fn attr(&mut self, id: ExprId, kind: AttrKind) -> Option<Attr> {
        let arena = self.arena;
        let expr = arena.get(id);
        match (kind, &expr.kind) {
            (_, ExprKind::Fault) => None,
            (AttrKind::DType, ExprKind::Name(name)) => {
                let dtype = DType::from_name(name).ok_or_else(|| types::unknown_dtype(name).at(expr.span));
                self.accept(dtype).map(Attr::DType)
            }
            (AttrKind::Axis, _) if self.axis(id).is_some() => self.axis(id).map(Attr::Axis),
            (AttrKind::Axes, ExprKind::List(items)) => {
                let axes: Option<Vec<i64>> = items.iter().map(|item| self.axis(*item)).collect();
                if axes.is_none() {
                    self.bad_attr(kind, expr.span);
                }
                axes.map(Attr::Axes)
            }
            (AttrKind::Dim, _) => self.dim(id).map(Attr::Dim),
            (AttrKind::Dims, ExprKind::List(items)) => {
                let dims: Vec<Option<Dim>> = items.iter().map(|item| self.dim(*item)).collect();
                dims.into_iter().collect::<Option<Vec<Dim>>>().map(Attr::Dims)
            }
            (AttrKind::Scheme, ExprKind::Text(name)) => {
                let scheme = attributes::scheme(name).map_err(|fault| fault.at(expr.span));
                self.accept(scheme).map(Attr::Scheme)
            }
            (AttrKind::DType | AttrKind::Axis | AttrKind::Axes | AttrKind::Dims | AttrKind::Scheme, _) => {
                self.bad_attr(kind, expr.span);
                None
            }
        }
    }

    fn bad_attr(&mut self, kind: AttrKind, span: Span) {
        let message = format!("this argument must be {}", kind.describe());
        let fault = Diagnostic::new(Code::BadArgument, message).at(span);
        self.report(fault.help("it is fixed when the kernel is checked, so it is no value"));
    }

    /// An integer, perhaps negative.
    fn axis(&self, id: ExprId) -> Option<i64> {
        match &self.arena.get(id).kind {
            ExprKind::Number(text) => text.parse().ok(),
            ExprKind::Neg(x) => match &self.arena.get(*x).kind {
                ExprKind::Number(text) => text.parse::<i64>().ok().map(|axis| -axis),
                _ => None,
            },
            _ => None,
        }
    }
}

fn resolve(name: &str) -> Target {
    if name == BITS {
        return Target::Bits;
    }
    match (ops::by_call_name(name), functions::by_name(name)) {
        (Some(info), _) => Target::Op(info),
        (None, Some(function)) => Target::Function(function),
        (None, None) => Target::Unknown(nearest(name, callable()).and_then(ops::by_call_name)),
    }
}

/// A method call counts what stands before its dot.
fn arity(mut fault: Diagnostic, is_method: bool) -> Diagnostic {
    if let (true, Some(help)) = (is_method, &mut fault.help) {
        *help += "; the value before the dot is the first";
    }
    fault
}

fn unknown_function(name: &str, is_method: bool) -> Diagnostic {
    let fault = Diagnostic::new(Code::UnknownFunction, format!("there is no function `{name}`"));
    if is_method && name == "T" {
        return fault.help("the transpose is written `x.T` or `x.t()`");
    }
    fault.help(suggestion(name, callable(), "the functions are listed in the language reference"))
}

fn unknown_field(name: &Name<'_>) -> Diagnostic {
    let fault = Diagnostic::new(Code::UnknownName, format!("values have no `.{}`", name.text)).at(name.span);
    match resolve(name.text) {
        Target::Op(_) | Target::Function(_) => fault.help(format!("a function is called: `x.{}()`", name.text)),
        Target::Bits | Target::Unknown(_) => {
            fault.help("`.T` swaps the last two dimensions; functions are called `f(x)` or `x.f()`")
        }
    }
}

/// Every name that can be called.
fn callable() -> impl Iterator<Item = &'static str> {
    let calls = OPS.iter().filter_map(|info| match info.syntax {
        Syntax::Call(name) => Some(name),
        Syntax::Leaf | Syntax::Prefix(_) | Syntax::Infix(_) => None,
    });
    calls.chain(FUNCTIONS.iter().map(|f| f.name))
}
