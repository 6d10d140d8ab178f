//! The syntax tree of one kernel. Expressions live in an arena where children stand before their
//! parents and every subtree is one contiguous range, so whoever walks it needs a loop, never
//! recursion. Nothing here is checked beyond its form.

use lalrpop_util::ErrorRecovery;
use msd_ir::span::Span;

use crate::lexer::Token;

/// Index of an expression in its [`Arena`].
pub type ExprId = usize;

/// A name and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// As written.
    pub text: &'a str,
    /// Where.
    pub span: Span,
}

/// An expression: a value, or what a call takes as attribute (a type, a size, a list).
#[derive(Clone, Debug)]
pub enum ExprKind<'a> {
    /// A parameter, binding, dimension or element type.
    Name(&'a str),
    /// A literal as written.
    Number(&'a str),
    /// A string without quotes.
    Text(&'a str),
    /// `-x`
    Neg(ExprId),
    /// `a op b`
    Infix {
        /// The operator as written.
        op: &'a str,
        /// Left operand.
        left: ExprId,
        /// Right operand.
        right: ExprId,
    },
    /// `x.name`
    Field {
        /// What stands before the dot.
        base: ExprId,
        /// What stands behind it.
        name: Name<'a>,
    },
    /// `callee(args)`
    Call {
        /// What stands before the parenthesis.
        callee: ExprId,
        /// The arguments.
        args: Vec<ExprId>,
    },
    /// `[a, b]`
    List(Vec<ExprId>),
    /// `(a, b)`
    Tuple(Vec<ExprId>),
    /// Something reported already.
    Fault,
}

/// A node of the arena.
#[derive(Clone, Debug)]
pub struct Expr<'a> {
    /// What it is.
    pub kind: ExprKind<'a>,
    /// Where it stands, without parentheses around it.
    pub span: Span,
    /// First node of its subtree; the subtree is `first..=` its own index.
    pub first: ExprId,
}

/// `dtype[dims]`
#[derive(Clone, Debug)]
pub struct TensorExpr<'a> {
    /// Element type or shorthand.
    pub dtype: Name<'a>,
    /// Sizes.
    pub dims: Vec<ExprId>,
    /// The whole of it.
    pub span: Span,
}

/// `dtype[dims] scale dtype[dims] zero dtype[dims]`
#[derive(Clone, Debug)]
pub struct TypeExpr<'a> {
    /// The tensor or the codes.
    pub tensor: TensorExpr<'a>,
    /// The word before each part, and the part.
    pub parts: Vec<(Name<'a>, TensorExpr<'a>)>,
    /// The whole of it.
    pub span: Span,
}

/// `name: type`
#[derive(Clone, Debug)]
pub struct Param<'a> {
    /// Its name.
    pub name: Name<'a>,
    /// Its type.
    pub ty: TypeExpr<'a>,
}

/// What stands in the parentheses of an attribute.
#[derive(Clone, Debug)]
pub enum AttributeValue<'a> {
    /// A number, perhaps negative.
    Number {
        /// Whether a minus stands before it.
        negative: bool,
        /// As written.
        text: &'a str,
    },
    /// Names joined by `-`, such as `int8x2-pow2`.
    Words(Vec<Name<'a>>),
}

/// `#[name(values)]`
#[derive(Clone, Debug)]
pub struct Attribute<'a> {
    /// Its name.
    pub name: Name<'a>,
    /// Its values.
    pub values: Vec<AttributeValue<'a>>,
    /// The whole of it.
    pub span: Span,
}

/// What a `let` binds.
#[derive(Clone, Debug)]
pub struct Pattern<'a> {
    /// The names, one for each result.
    pub names: Vec<Name<'a>>,
    /// The whole of it.
    pub span: Span,
}

/// A line of a body.
#[derive(Clone, Debug)]
pub enum Statement<'a> {
    /// `let pattern = value;`
    Let {
        /// The names.
        pattern: Pattern<'a>,
        /// What they stand for.
        value: ExprId,
    },
    /// `value;`, which nothing can use.
    Unused {
        /// The value.
        value: ExprId,
        /// Its semicolon.
        semicolon: Span,
    },
    /// Something reported already.
    Fault,
}

/// A kernel as written; `None` stands for what was reported already.
#[derive(Clone, Debug)]
pub struct Kernel<'a> {
    /// `#[...]` before it.
    pub attributes: Vec<Option<Attribute<'a>>>,
    /// Its name.
    pub name: Option<Name<'a>>,
    /// Its parameters.
    pub params: Vec<Option<Param<'a>>>,
    /// The declared results.
    pub results: Option<Vec<TypeExpr<'a>>>,
    /// Its bindings.
    pub statements: Vec<Statement<'a>>,
    /// Its final expression, if there is one.
    pub value: Option<ExprId>,
    /// The closing brace.
    pub end: Span,
    /// From `kernel` to the closing brace.
    pub span: Span,
}

/// The expressions of one kernel.
#[derive(Clone, Debug, Default)]
pub struct Arena<'a> {
    nodes: Vec<Expr<'a>>,
}

impl<'a> Arena<'a> {
    /// Appends an expression whose children are in the arena already.
    pub fn push(&mut self, kind: ExprKind<'a>, start: usize, end: usize) -> ExprId {
        let id = self.nodes.len();
        let first_child = match &kind {
            ExprKind::Name(_) | ExprKind::Number(_) | ExprKind::Text(_) | ExprKind::Fault => None,
            ExprKind::Neg(child) => Some(*child),
            ExprKind::Infix { left, .. } => Some(*left),
            ExprKind::Field { base, .. } => Some(*base),
            ExprKind::Call { callee, .. } => Some(*callee),
            ExprKind::List(items) | ExprKind::Tuple(items) => items.first().copied(),
        };
        let first = first_child.map_or(id, |child| self.nodes[child].first);
        self.nodes.push(Expr { kind, span: Span::new(start, end), first });
        id
    }

    /// The expression of that index.
    pub fn get(&self, id: ExprId) -> &Expr<'a> {
        &self.nodes[id]
    }
}

/// What the grammar's actions write to.
#[derive(Default)]
pub struct Context<'a> {
    /// The expressions so far.
    pub arena: Arena<'a>,
    /// Faults the parser recovered from.
    pub recovered: Vec<ErrorRecovery<usize, Token<'a>, &'static str>>,
}

impl<'a> Context<'a> {
    /// Appends an expression.
    pub fn expr(&mut self, start: usize, kind: ExprKind<'a>, end: usize) -> ExprId {
        self.arena.push(kind, start, end)
    }

    /// Keeps a fault and stands in for what it replaced.
    pub fn recover<T>(&mut self, fault: ErrorRecovery<usize, Token<'a>, &'static str>) -> Option<T> {
        self.recovered.push(fault);
        None
    }

    /// Keeps a fault in place of an expression.
    pub fn recover_expr(
        &mut self,
        start: usize,
        fault: ErrorRecovery<usize, Token<'a>, &'static str>,
        end: usize,
    ) -> ExprId {
        self.recovered.push(fault);
        self.expr(start, ExprKind::Fault, end)
    }
}
