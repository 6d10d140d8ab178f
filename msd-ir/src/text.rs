//! The text form of a kernel: valid `.msd` that parses back to the same graph
//! ([`Kernel::same_graph`]), for every graph whose parameters are its first nodes. Owns layout
//! and the choice of names; how an op is written stands in the op table.
//!
//! Each op becomes one `let`, so that the text creates the nodes in the order of the graph. A
//! literal or size stands inline where its first use creates it at its own position, and gets a
//! `let` elsewhere. Literals that decimals do not express (a sign, infinity, NaN) are written by
//! their bits: `msd.f32("0xff800000")`.

use std::collections::HashSet;
use std::fmt::{self, Write};
use std::sync::Arc;

use crate::dim::Dim;
use crate::dtype::DType;
use crate::graph::{Attributes, Kernel, Node, Value};
use crate::ops::{Attr, Op, Syntax};

/// Longest line of a kernel's head before its parameters get a line each.
const WIDTH: usize = 120;

/// The kernel as text.
pub fn print(kernel: &Kernel) -> String {
    kernel.to_string()
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        attributes(&self.attributes, f)?;
        head(self, f)?;
        Body::new(self).write(f)?;
        f.write_str("}\n")
    }
}

fn attributes(attributes: &Attributes, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if let Some(tolerance) = attributes.tolerance {
        writeln!(f, "#[tolerance({tolerance:?})]")?;
    }
    if let Some(scheme) = attributes.scheme {
        writeln!(f, "#[scheme({})]", scheme.name())?;
    }
    if let Some(lowering) = attributes.lowering {
        writeln!(f, "#[lowering({})]", lowering.name())?;
    }
    Ok(())
}

fn head(kernel: &Kernel, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let params: Vec<String> = kernel.params.iter().map(|p| format!("{}: {}", p.name, p.ty)).collect();
    let types: Vec<String> = kernel.result_types().iter().map(|t| t.to_string()).collect();
    let results = match types.as_slice() {
        [one] => one.clone(),
        several => format!("({})", several.join(", ")),
    };
    let line = format!("kernel {}({}) -> {results} {{", kernel.name, params.join(", "));
    if line.chars().count() <= WIDTH {
        return writeln!(f, "{line}");
    }
    writeln!(f, "kernel {}(", kernel.name)?;
    for param in params {
        writeln!(f, "    {param},")?;
    }
    writeln!(f, ") -> {results} {{")
}

/// Whether a `let` may bind that name. `msd` is left to the internal ops.
fn is_legal(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter)
        && name.chars().all(|c| letter(c) || c.is_ascii_digit())
        && !["kernel", "let", "msd"].contains(&name)
}

fn is_leaf(node: &Node) -> bool {
    matches!(node.op, Op::Const { .. } | Op::Size { .. })
}

struct Body<'k> {
    kernel: &'k Kernel,
    /// Names of the results of each node; empty for leaves that stand inline.
    names: Vec<Vec<String>>,
    params: HashSet<&'k str>,
    /// Results that the declared type converts, as the values before the conversion.
    results: Vec<Value>,
    /// Nodes up to here are printed; behind them stand the conversions of the results.
    end: usize,
    /// The last node, if it is the whole result and stands there without a name.
    last: Option<usize>,
}

impl<'k> Body<'k> {
    fn new(kernel: &'k Kernel) -> Body<'k> {
        let (results, end) = uncast_results(kernel);
        let last = end.checked_sub(1).filter(|last| {
            let node = &kernel.nodes[*last];
            let is_whole = results == [Value { node: *last, result: 0 }] && node.types.len() == 1;
            is_whole && !matches!(node.op, Op::Param { .. })
        });
        let params = kernel.params.iter().map(|p| &*p.name).collect();
        let mut body = Body { kernel, names: Vec::new(), params, results, end, last };
        let inline = body.inline_leaves();
        body.names = body.choose_names(&inline);
        body
    }

    /// Leaves that their first use creates at their own position: those right before the op
    /// that uses them, in the order of its operands.
    fn inline_leaves(&self) -> Vec<bool> {
        let nodes = &self.kernel.nodes[..self.end];
        let mut inline = vec![false; nodes.len()];
        let mut run = 0;
        for (i, node) in nodes.iter().enumerate() {
            if is_leaf(node) {
                continue;
            }
            let mut fresh: Vec<usize> = Vec::new();
            for v in &node.operands {
                if v.node >= run && is_leaf(&nodes[v.node]) && !fresh.contains(&v.node) {
                    fresh.push(v.node);
                }
            }
            if fresh.iter().copied().eq(i - fresh.len()..i) {
                fresh.into_iter().for_each(|leaf| inline[leaf] = true);
            }
            run = i + 1;
        }
        // Behind the last op, the results create leaves in their own order.
        let mut fresh: Vec<usize> = Vec::new();
        for v in &self.results {
            if v.node >= run && !fresh.contains(&v.node) {
                fresh.push(v.node);
            }
        }
        if fresh.iter().copied().eq(nodes.len() - fresh.len()..nodes.len()) {
            fresh.into_iter().for_each(|leaf| inline[leaf] = true);
        }
        inline
    }

    /// The `let` names where they are legal and free, generated ones elsewhere.
    fn choose_names(&self, inline: &[bool]) -> Vec<Vec<String>> {
        let kernel = self.kernel;
        let mut taken: HashSet<Arc<str>> = all_dimensions(kernel);
        taken.extend(kernel.params.iter().map(|p| p.name.clone()));
        let mut chosen: Vec<Vec<Option<Arc<str>>>> = Vec::new();
        let is_bound =
            |i: usize, node: &Node| !matches!(node.op, Op::Param { .. }) && !inline[i] && self.last != Some(i);
        for (i, node) in kernel.nodes[..self.end].iter().enumerate() {
            let names = node
                .names
                .iter()
                .map(|name| name.clone().filter(|n| is_bound(i, node) && is_legal(n) && taken.insert(n.clone())));
            chosen.push(names.collect());
        }
        let mut result = Vec::new();
        for (i, (node, names)) in kernel.nodes.iter().zip(chosen).enumerate() {
            let generated = |r: usize| {
                let suffix = if node.types.len() > 1 { format!("_{r}") } else { String::new() };
                let mut name = format!("v{i}{suffix}");
                while taken.contains(name.as_str()) {
                    name.push('_');
                }
                name
            };
            result.push(match node.op {
                Op::Param { index } => vec![kernel.params[index].name.to_string()],
                _ if !is_bound(i, node) => Vec::new(),
                _ => names
                    .into_iter()
                    .enumerate()
                    .map(|(r, n)| n.map_or_else(|| generated(r), |n| n.to_string()))
                    .collect(),
            });
        }
        result
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, node) in self.kernel.nodes[..self.end].iter().enumerate() {
            if matches!(node.op, Op::Param { .. }) {
                continue;
            }
            match self.names[i].as_slice() {
                [] => {}
                [name] => writeln!(f, "    let {name} = {};", self.op_text(node))?,
                names => writeln!(f, "    let ({}) = {};", names.join(", "), self.op_text(node))?,
            }
        }
        let results: Vec<String> = match self.last {
            Some(last) => vec![self.op_text(&self.kernel.nodes[last])],
            None => self.results.iter().map(|v| self.value_text(*v)).collect(),
        };
        match results.as_slice() {
            [one] => writeln!(f, "    {one}"),
            several => writeln!(f, "    ({})", several.join(", ")),
        }
    }

    /// A value as an operand: always a name, a literal or a call, so it needs no parentheses.
    fn value_text(&self, value: Value) -> String {
        match self.names[value.node].get(value.result) {
            Some(name) => name.clone(),
            None => self.op_text(self.kernel.node(value)),
        }
    }

    fn op_text(&self, node: &Node) -> String {
        let operands: Vec<String> = node.operands.iter().map(|v| self.value_text(*v)).collect();
        match (&node.op, node.op.info().map(|info| info.syntax)) {
            (Op::Param { index }, _) => self.kernel.params[*index].name.to_string(),
            (Op::Const { bits }, _) => literal(*bits),
            (Op::Size { dim }, _) => self.size(dim),
            (Op::Transpose { axes }, _) if swaps_last_two(axes) => format!("{}.T", operands.join(", ")),
            (_, Some(Syntax::Prefix(text))) => format!("{text}{}", operands.join(", ")),
            (_, Some(Syntax::Infix(infix))) => operands.join(&format!(" {} ", infix.text)),
            (op, Some(Syntax::Call(name))) => {
                let attrs = op.attrs();
                let arguments = operands.into_iter().chain(attrs.iter().map(Attr::to_string));
                format!("{name}({})", arguments.collect::<Vec<_>>().join(", "))
            }
            // Parameters and literals, which have no row in the op table.
            (_, Some(Syntax::Leaf) | None) => String::new(),
        }
    }

    /// A dimension's bare name is its size, unless a parameter has that name.
    fn size(&self, dim: &Dim) -> String {
        match dim.as_name() {
            Some(name) if !self.params.contains(name) => name.to_string(),
            _ => format!("msd.size({dim})"),
        }
    }
}

/// The results before the conversions that their declared types imply, and how many nodes stand
/// before those conversions. They are implied only if they are the last nodes, in order.
fn uncast_results(kernel: &Kernel) -> (Vec<Value>, usize) {
    let mut casts: Vec<usize> = Vec::new();
    for v in &kernel.results {
        let node = kernel.node(*v);
        let tensor = node.operands.first().and_then(|x| kernel.ty(*x).tensor());
        let converts = match (&node.op, tensor) {
            (Op::Cast { dtype }, Some(from)) => (from.dtype == DType::Bool) == (*dtype == DType::Bool),
            _ => false,
        };
        if converts && !casts.contains(&v.node) {
            casts.push(v.node);
        }
    }
    let end = kernel.nodes.len();
    let start = end - casts.len();
    let are_last = casts.iter().copied().eq(start..end);
    let are_apart = casts.iter().all(|c| kernel.nodes[*c].operands.iter().all(|x| x.node < start));
    if !are_last || !are_apart {
        return (kernel.results.clone(), end);
    }
    let uncast = |v: &Value| if v.node >= start { kernel.node(*v).operands[0] } else { *v };
    (kernel.results.iter().map(uncast).collect(), start)
}

/// Every dimension name the parameters mention, those of scales and zero points included.
fn all_dimensions(kernel: &Kernel) -> HashSet<Arc<str>> {
    let mut names = HashSet::new();
    for param in &kernel.params {
        let mut shapes = vec![param.ty.shape()];
        if let crate::types::Type::Quant(q) = &param.ty {
            shapes.push(&q.scale.ty.shape);
            shapes.extend(q.zero.as_ref().map(|z| z.ty.shape.as_slice()));
        }
        names.extend(shapes.into_iter().flatten().flat_map(Dim::names));
    }
    names
}

fn swaps_last_two(axes: &[usize]) -> bool {
    let rank = axes.len();
    rank >= 2
        && axes[rank - 2] == rank - 1
        && axes[rank - 1] == rank - 2
        && axes[..rank - 2].iter().enumerate().all(|(i, a)| i == *a)
}

/// The shortest decimal that reads back as the same bits, or the bits themselves.
fn literal(bits: u32) -> String {
    let value = f32::from_bits(bits);
    if !value.is_finite() || value.is_sign_negative() {
        return format!("msd.f32(\"{bits:#010x}\")");
    }
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(text, "{value:?}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_string)
}
