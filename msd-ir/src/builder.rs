//! The builder: the only way to make a node. It checks types by the op table's rules, shares
//! equal applications, and returns diagnostics; it never panics.

use std::collections::HashMap;

use crate::diag::{Code, Diagnostic};
use crate::dim::Dim;
use crate::dtype::DType;
use crate::graph::{Attributes, Kernel, Node, Param, Value};
use crate::ops::{Attr, Op, OpInfo, op_methods};
use crate::quant::scheme::Scheme;
use crate::span::Span;
use crate::types::{Shape, TensorType, Type};

/// Builds one kernel.
#[derive(Default)]
pub struct Builder {
    params: Vec<Param>,
    nodes: Vec<Node>,
    shared: HashMap<(Op, Vec<Value>), usize>,
    quotients: Vec<(Dim, Dim)>,
}

impl Builder {
    /// An empty kernel.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Declares the next parameter. Names and dimensions are the caller's to check.
    pub fn param(&mut self, name: &str, ty: Type, span: Span) -> Value {
        let index = self.params.len();
        self.params.push(Param { name: name.into(), ty: ty.clone(), span });
        self.insert(Op::Param { index }, &[], vec![ty], span)
    }

    /// The F32 literal `value`.
    pub fn constant(&mut self, value: f32, span: Span) -> Value {
        let ty = Type::Tensor(TensorType::new(DType::F32, Vec::new()));
        self.insert(Op::constant(value), &[], vec![ty], span)
    }

    /// Applies `op`; equal applications share a node. The first result is returned, see
    /// [`Value::sibling`].
    pub fn push(&mut self, op: Op, operands: &[Value], span: Span) -> Result<Value, Diagnostic> {
        let Some(info) = op.info() else {
            return Err(Diagnostic::new(Code::Internal, "parameters and literals are not applied").at(span));
        };
        if operands.len() != info.operands.len() {
            return Err(wrong_arity(info, operands.len()).at(span));
        }
        if let Op::Cast { dtype } = op
            && self.tensor_dtype(operands[0]) == Some(dtype)
        {
            return Ok(operands[0]);
        }
        let types: Vec<&Type> = operands.iter().map(|v| self.ty(*v)).collect();
        let results = (info.rule)(&op, &types).map_err(|d| d.at(span))?;
        Ok(self.insert(op, operands, results, span))
    }

    /// Applies the op of a table row to operands and attribute arguments.
    pub fn apply(
        &mut self,
        info: &OpInfo,
        operands: &[Value],
        attrs: &[Attr],
        span: Span,
    ) -> Result<Value, Diagnostic> {
        if operands.len() != info.operands.len() || attrs.len() != info.attrs.len() {
            return Err(wrong_arity(info, operands.len() + attrs.len()).at(span));
        }
        let rank = operands.first().map_or(0, |v| self.ty(*v).shape().len());
        let op = (info.make)(attrs, rank).ok_or_else(|| {
            let wanted: Vec<&str> = info.attrs.iter().map(|(_, kind)| kind.describe()).collect();
            Diagnostic::new(Code::BadArgument, format!("`{}` takes {}", info.name, wanted.join(", ")))
                .at(span)
                .help("axes are counted from 0, or from -1 backwards")
        })?;
        self.push(op, operands, span)
    }

    /// `x.T`: swaps the last two axes.
    pub fn t(&mut self, x: Value, span: Span) -> Result<Value, Diagnostic> {
        let rank = self.ty(x).shape().len();
        if let (Type::Tensor(t), true) = (self.ty(x), rank < 2) {
            return Err(Diagnostic::new(Code::RankTooLow, format!("`.T` needs two dimensions, `{t}` has {rank}"))
                .at(span)
                .help("make a row with `reshape(x, [1, N])`"));
        }
        let mut axes: Vec<usize> = (0..rank).collect();
        if rank >= 2 {
            axes.swap(rank - 2, rank - 1);
        }
        self.transpose(x, axes, span)
    }

    /// Records that `a / b` must divide, and returns it.
    pub fn quotient(&mut self, a: &Dim, b: &Dim) -> Option<Dim> {
        let quotient = a.div(b)?;
        let pair = (a.clone(), b.clone());
        if quotient.as_constant().is_none() && !self.quotients.contains(&pair) {
            self.quotients.push(pair);
        }
        Some(quotient)
    }

    /// Names a result for printing; the first name stays.
    pub fn name(&mut self, value: Value, name: &str) {
        self.nodes[value.node].names[value.result].get_or_insert_with(|| name.into());
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> &Type {
        &self.nodes[value.node].types[value.result]
    }

    /// The node of a value.
    pub fn node(&self, value: Value) -> &Node {
        &self.nodes[value.node]
    }

    /// Every node so far, operands first.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The parameters declared so far.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// How many results the value's node has.
    pub fn result_count(&self, value: Value) -> usize {
        self.nodes[value.node].types.len()
    }

    fn tensor_dtype(&self, value: Value) -> Option<DType> {
        self.ty(value).tensor().map(|t| t.dtype)
    }

    fn insert(&mut self, op: Op, operands: &[Value], types: Vec<Type>, span: Span) -> Value {
        let key = (op.clone(), operands.to_vec());
        if let Some(node) = self.shared.get(&key) {
            return Value { node: *node, result: 0 };
        }
        let node = self.nodes.len();
        let names = vec![None; types.len()];
        self.nodes.push(Node { op, operands: operands.to_vec(), types, span, names });
        self.shared.insert(key, node);
        Value { node, result: 0 }
    }

    /// Converts `value` to a declared result type: the return casts once.
    pub fn result(&mut self, value: Value, declared: &TensorType, span: Span) -> Result<Value, Diagnostic> {
        let mismatch = |found: &Type| {
            Diagnostic::new(Code::ResultMismatch, format!("the result is `{found}`, declared is `{declared}`")).at(span)
        };
        match self.ty(value).clone() {
            Type::Tensor(t) if t.shape == declared.shape => {
                if (t.dtype == DType::Bool) != (declared.dtype == DType::Bool) {
                    return Err(mismatch(&Type::Tensor(t)).help("choose numbers with `where(c, a, b)`, or compare"));
                }
                self.cast(value, declared.dtype, span)
            }
            Type::Tensor(t) => {
                Err(mismatch(&Type::Tensor(t)).help("shapes must be equal; only the element type is converted"))
            }
            quant => Err(mismatch(&quant).help("write `dequant(...)` around it")),
        }
    }

    /// Ends the kernel: drops what the results do not need and renumbers the rest in order.
    pub fn finish(self, name: &str, results: Vec<Value>, attributes: Attributes, span: Span) -> Kernel {
        let mut needed = vec![false; self.nodes.len()];
        for v in &results {
            needed[v.node] = true;
        }
        for i in (0..self.nodes.len()).rev() {
            needed[i] |= matches!(self.nodes[i].op, Op::Param { .. });
            if needed[i] {
                for v in &self.nodes[i].operands {
                    needed[v.node] = true;
                }
            }
        }
        let mut renumbered = vec![0; self.nodes.len()];
        let mut nodes = Vec::new();
        for (i, mut node) in self.nodes.into_iter().enumerate() {
            if !needed[i] {
                continue;
            }
            for v in &mut node.operands {
                v.node = renumbered[v.node];
            }
            renumbered[i] = nodes.len();
            nodes.push(node);
        }
        let results = results.into_iter().map(|v| Value { node: renumbered[v.node], ..v }).collect();
        Kernel { name: name.into(), params: self.params, nodes, results, attributes, quotients: self.quotients, span }
    }
}

/// The diagnostic for a call with the wrong number of arguments.
pub fn wrong_arity(info: &OpInfo, found: usize) -> Diagnostic {
    let mut names: Vec<&str> = info.operands.to_vec();
    names.extend(info.attrs.iter().map(|(name, _)| *name));
    let message = format!(
        "`{}` takes {} argument{}, found {found}",
        info.name,
        names.len(),
        if names.len() == 1 { "" } else { "s" }
    );
    Diagnostic::new(Code::WrongArity, message).help(format!("its arguments are ({})", names.join(", ")))
}

op_methods!();
