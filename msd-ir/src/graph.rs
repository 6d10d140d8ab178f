//! The graph of one kernel. Nodes exist only through [`crate::builder::Builder`]; operands always
//! stand before their users, so a walk in index order needs no recursion.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::diag::{Code, Diagnostic};
use crate::dim::Dim;
use crate::ops::Op;
use crate::quant::scheme::Scheme;
use crate::span::Span;
use crate::types::{TensorType, Type};

/// One result of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value {
    /// The node's index.
    pub node: usize,
    /// Which of its results.
    pub result: usize,
}

impl Value {
    /// Another result of the same node.
    pub fn sibling(self, result: usize) -> Value {
        Value { result, ..self }
    }
}

/// An op applied to operands.
#[derive(Clone, Debug)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// From what.
    pub operands: Vec<Value>,
    /// Types of the results.
    pub types: Vec<Type>,
    /// Where it stands in the source.
    pub span: Span,
    /// The name a `let` gave each result.
    pub names: Vec<Option<Arc<str>>>,
}

/// A declared parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: Arc<str>,
    /// Its type.
    pub ty: Type,
    /// Its declaration.
    pub span: Span,
}

/// How the matrix products with dequantized operands are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lowering {
    /// Digits of the activations times the stored codes.
    Msd,
    /// The weight as F32.
    Dequant,
    /// Whatever the cost model finds cheaper.
    Auto,
}

impl Lowering {
    /// Every choice.
    pub const ALL: &'static [Lowering] = &[Lowering::Msd, Lowering::Dequant, Lowering::Auto];

    /// Name in attributes and flags.
    pub fn name(self) -> &'static str {
        match self {
            Lowering::Msd => "msd",
            Lowering::Dequant => "dequant",
            Lowering::Auto => "auto",
        }
    }

    /// The choice of that name.
    pub fn from_name(name: &str) -> Option<Lowering> {
        Lowering::ALL.iter().copied().find(|l| l.name() == name)
    }
}

impl fmt::Display for Lowering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Lowering {
    type Err = Diagnostic;

    fn from_str(name: &str) -> Result<Lowering, Diagnostic> {
        Lowering::from_name(name).ok_or_else(|| {
            let fault = Diagnostic::new(Code::BadAttribute, format!("there is no lowering `{name}`"));
            fault.help("`msd`, `dequant` or `auto`")
        })
    }
}

/// What stands in `#[...]` before a kernel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes {
    /// `#[tolerance(t)]`: |y - y*| <= t * Mx * sum |w|.
    pub tolerance: Option<f64>,
    /// `#[scheme(name)]`
    pub scheme: Option<Scheme>,
    /// `#[lowering(msd|dequant|auto)]`
    pub lowering: Option<Lowering>,
}

/// A checked kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its name.
    pub name: Arc<str>,
    /// Its parameters, in order.
    pub params: Vec<Param>,
    /// The nodes it needs, operands first.
    pub nodes: Vec<Node>,
    /// What it returns.
    pub results: Vec<Value>,
    /// Its attributes.
    pub attributes: Attributes,
    /// Every quotient its types and shapes mention; each must divide.
    pub quotients: Vec<(Dim, Dim)>,
    /// The whole kernel in the source.
    pub span: Span,
}

impl Kernel {
    /// The node of a value.
    pub fn node(&self, value: Value) -> &Node {
        &self.nodes[value.node]
    }

    /// The type of a value.
    pub fn ty(&self, value: Value) -> &Type {
        &self.nodes[value.node].types[value.result]
    }

    /// The type of a value that is a plain tensor; quantized parameters give their codes' type.
    pub fn tensor_ty(&self, value: Value) -> &TensorType {
        match self.ty(value) {
            Type::Tensor(t) => t,
            Type::Quant(q) => &q.codes,
        }
    }

    /// Types of the results.
    pub fn result_types(&self) -> Vec<&TensorType> {
        self.results.iter().map(|r| self.tensor_ty(*r)).collect()
    }

    /// How many operands and results refer to each node.
    pub fn use_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.nodes.len()];
        let operands = self.nodes.iter().flat_map(|n| &n.operands);
        for v in operands.chain(&self.results) {
            counts[v.node] += 1;
        }
        counts
    }

    /// Whether both compute the same: equal nodes in equal order, whatever spans and `let` names.
    pub fn same_graph(&self, other: &Kernel) -> bool {
        let nodes = |k: &Kernel| -> Vec<(Op, Vec<Value>, Vec<Type>)> {
            k.nodes.iter().map(|n| (n.op.clone(), n.operands.clone(), n.types.clone())).collect()
        };
        let params =
            |k: &Kernel| -> Vec<(Arc<str>, Type)> { k.params.iter().map(|p| (p.name.clone(), p.ty.clone())).collect() };
        self.name == other.name
            && self.attributes == other.attributes
            && self.results == other.results
            && params(self) == params(other)
            && nodes(self) == nodes(other)
    }

    /// Names of the dimensions, in order of first appearance in the parameters.
    pub fn dimensions(&self) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        for dim in self.params.iter().flat_map(|p| p.ty.shape()) {
            for name in dim.names() {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }
}
