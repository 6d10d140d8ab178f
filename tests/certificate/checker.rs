//! What a product in a rewritten graph can be off by, found by reading that graph: from where
//! digits or codes are multiplied up to where the last scale is applied, each rounding counted on
//! the way. Shares nothing with the planner and the rewriter but the graph, and of schemes it knows
//! what the specification says of them.

use msd::ir::dim::Sizes;
use msd::ir::dtype::DType;
use msd::ir::graph::{Kernel, Node, Value};
use msd::ir::ops::Op;
use msd::ir::quant::scheme::Scheme;

/// The error of a product relative to `max|x| sum|w|`.
#[derive(Debug)]
pub(crate) struct Derived {
    /// The stored operand, on the right where both are.
    pub(crate) weight: String,
    pub(crate) bound: f64,
    /// Whether it is relative to `max|x*s| sum|q-z|` instead.
    pub(crate) absorbed: bool,
}

/// Half a unit in the last place of F32.
const U: f64 = 1.0 / 16777216.0;

/// The largest magnitude an element of digits of `scheme` is off by, in a row of largest magnitude 1.
pub(crate) fn digit_error(scheme: Scheme) -> f64 {
    // One rounding to half of a unit of at most 2 / largest.
    let pow2 = |largest: f64| 1.0 / largest;
    // Half a unit of 1 / largest, and three roundings of a number up to `largest`.
    let radix = |largest: f64| 0.5 / largest + 3.0 * U;
    // What is left is at most half of the last unit.
    let greedy = |first: f64, ratio: f64, digits: i32| 0.5 / first / ratio.powi(digits - 1);
    match scheme.name() {
        "int8x1" => greedy(127.0, 254.0, 1),
        "int8x2-greedy" => greedy(127.0, 254.0, 2),
        "int8x3-greedy" => greedy(127.0, 254.0, 3),
        "int8x2-fractional" => greedy(127.49, 254.98, 2),
        "int8x2-pow2" | "int16-pow2" => pow2(127.0 * 257.0),
        "int8x3-pow2" => pow2(127.0 * 65793.0),
        "int8x2-radix" | "int16-radix" => radix(127.0 * 257.0),
        "uint8x2" => radix(65535.0),
        "int4x3-radix" => radix(7.0 * 273.0),
        "int4x4-radix" => radix(7.0 * 4369.0),
        // Of the block's unit `a`, with the smallest largest magnitude that has it. An eighth:
        "mxfp4x1" => 1.0 / 8.0 / (1.859375 / 2.0),
        // the eighth of which is 2 of the second digit's, which end at 1.75; and half of a quarter, of
        // an eighth.
        "mxfp4x2" => 1.0 / 64.0 / (1.859375 / 2.0),
        "mxfp4x2-v1" | "mxfp4x2-v2" => 1.0 / 64.0 / (1.75 / 2.0),
        // From 2 on digits are 1 apart, and off by a half; of which from 2 on, as an eighth, half is lost.
        "mxfp4x2-e2m1" => 1.0 / 16.0 / 2.25,
        // Half of the last of 4 bits, and of the first from which on such an error is left over.
        "fp8x1" | "mxfp8x1" => 1.0 / 16.0,
        "fp8x2" => 1.0 / 16.0 / 32.0,
        other => panic!("what `{other}` can be off by is to be derived here"),
    }
}

/// What the magnitudes of an element's digits, each with its weight, add up to in such a row: each is at
/// most what those before it left over and what it leaves over itself.
pub(crate) fn digit_sum(scheme: Scheme) -> f64 {
    let left_over: &[f64] = match scheme.name() {
        "int8x2-greedy" | "int8x2-fractional" => &[1.0 / 254.0],
        "int8x3-greedy" => &[1.0 / 254.0, 1.0 / 64516.0],
        // Halves of the units of leading digits, of which there are at least so many.
        "int8x2-pow2" => &[128.0 / 16319.5],
        "int8x2-radix" => &[128.0 / 32639.0],
        "int8x3-pow2" => &[32896.0 / 4177855.5, 128.0 / 4177855.5],
        "int4x3-radix" => &[136.0 / 1911.0, 8.0 / 1911.0],
        "int4x4-radix" => &[2184.0 / 30583.0, 136.0 / 30583.0, 8.0 / 30583.0],
        "mxfp4x2" => &[1.0 / 7.4375],
        "mxfp4x2-v1" | "mxfp4x2-v2" => &[1.0 / 7.0],
        "mxfp4x2-e2m1" => &[1.0 / 5.0],
        "fp8x2" => &[1.0 / 16.0],
        // One digit, or several of one sign.
        _ => &[],
    };
    1.0 + 2.0 * left_over.iter().sum::<f64>() + digit_error(scheme)
}

/// Whether units are powers of two.
fn has_power_units(scheme: Scheme) -> bool {
    scheme.name().ends_with("pow2") || scheme.name().contains("fp")
}

/// Every product with a stored operand, in the order of the graph.
pub(crate) fn derive(kernel: &Kernel, sizes: &Sizes) -> Vec<Derived> {
    let walk = Walk { kernel, sizes };
    (0..kernel.nodes.len()).filter_map(|node| walk.product(node)).collect()
}

struct Walk<'a> {
    kernel: &'a Kernel,
    sizes: &'a Sizes,
}

impl Walk<'_> {
    fn product(&self, at: usize) -> Option<Derived> {
        let node = &self.kernel.nodes[at];
        match &node.op {
            Op::Combine { scheme } | Op::CombineZero { scheme } | Op::AccumulateWide { scheme } => {
                Some(self.digits(at, *scheme))
            }
            Op::Dot => {
                let (left, right) = (self.origin(node.operands[0]), self.origin(node.operands[1]));
                let native = left.op == Op::Codes && right.op == Op::Codes;
                // The sum becomes F32, then come the scales of both sides.
                let count = 1 + if native { self.scales_behind(at, 3) } else { 0 };
                native.then(|| Derived { weight: self.name(right), bound: roundings(count), absorbed: false })
            }
            // What is made of these is found where they are merged.
            Op::MatMul if self.is_split(self.origin(node.operands[0])) => None,
            Op::MatMul => {
                let (right, groups) = (self.stored(node.operands[1]), self.groups_behind(at));
                let right = if groups.is_some() { self.origin(node.operands[1]) } else { right };
                let own = match (&right.op, groups) {
                    (Op::Dequant, None) => 1,
                    (Op::Codes, None) => self.scales_behind(at, 1),
                    // The multiply-adds of groups.
                    (Op::Codes, Some(groups)) => groups,
                    _ => return None,
                };
                let k = self.size(node.operands[0], 0);
                let bound = with_rounded(roundings(k + own), self.is_dequantized(node.operands[0]));
                Some(Derived { weight: self.name(right), bound, absorbed: false })
            }
            _ => None,
        }
    }

    fn is_split(&self, node: &Node) -> bool {
        matches!(node.op, Op::Decompose { .. } | Op::DecomposeBlocks { .. })
    }

    /// From the merged digits to the product with the row's unit.
    fn digits(&self, merged: usize, scheme: Scheme) -> Derived {
        let product = self.origin(self.kernel.nodes[merged].operands[0]);
        let (split, mut codes) = (self.origin(product.operands[0]), self.origin(product.operands[1]));
        if codes.op == Op::Steps {
            codes = self.origin(codes.operands[0]);
        }
        assert!(self.is_split(split) && codes.op == Op::Codes);
        let x = split.operands[0];
        // Roundings of F32, and of F64: digits are merged in F64 where they are no integers.
        let (mut single, mut double) = (0, 0);
        if product.op == Op::MatMul {
            single += self.size(product.operands[0], 0);
            double += scheme.weights().len() as u64 - 1;
        }
        let mut at = merged;
        loop {
            let node = &self.kernel.nodes[at];
            match node.op {
                Op::Combine { .. } | Op::CombineZero { .. } => single += 1,
                Op::Mul if node.types[0].tensor().unwrap().dtype == DType::F64 => break,
                Op::Mul => single += 1,
                Op::Accumulate | Op::AccumulateWide { .. } => {
                    let is_one = |v: Value| self.kernel.node(v).op == Op::constant(1.0);
                    let (scale, unit) = (node.operands[1], node.operands[2]);
                    // The unit of a block over that of its row: exact if both are powers of two.
                    single += u64::from(!is_one(unit) && !has_power_units(scheme));
                    let groups = self.size(node.operands[0], 2);
                    if node.op == Op::Accumulate {
                        single += groups + u64::from(!is_one(unit) && !is_one(scale));
                    } else {
                        double += groups;
                    }
                }
                Op::Cast { dtype: DType::F32 } | Op::Reshape { .. } => {}
                ref other => panic!("{other:?} between digits and the row's unit"),
            }
            at = self.only_user(at);
        }
        // The product with the row's unit, which becomes F32.
        let (single, double) = (single + 1, double + 1);
        let digits = digit_error(scheme);
        // Sums of integers are exact, so that what digits cancel out is not rounded.
        let most = if product.op == Op::MatMul { digit_sum(scheme) } else { 1.0 + digits };
        let bound = digits + most * (single as f64 * U.ln_1p() + double as f64 * 2f64.powi(-53)).exp_m1();
        let absorbed = self.is_absorbed(x);
        let rounded = absorbed || self.is_dequantized(x);
        Derived { weight: self.name(codes), bound: with_rounded(bound, rounded), absorbed }
    }

    /// How many of the next `most` ops multiply by a scale.
    fn scales_behind(&self, mut at: usize, most: usize) -> u64 {
        let mut count = 0;
        for _ in 0..most {
            let Some(user) = self.users(at).next() else { break };
            let node = &self.kernel.nodes[user];
            let scale = node.operands.iter().any(|v| self.origin(*v).op == Op::Scale);
            count += u64::from(node.op == Op::Mul && scale);
            at = user;
        }
        count
    }

    /// How many groups of products are added up.
    fn groups_behind(&self, at: usize) -> Option<u64> {
        let node = &self.kernel.nodes[self.users(at).next()?];
        (node.op == Op::Accumulate && node.operands[0].node == at).then(|| self.size(node.operands[0], 2))
    }

    fn is_absorbed(&self, x: Value) -> bool {
        let node = self.kernel.node(x);
        node.op == Op::Mul && node.operands.iter().any(|v| self.origin(*v).op == Op::Scale)
    }

    fn is_dequantized(&self, x: Value) -> bool {
        let node = self.kernel.node(x);
        let absorbed = self.is_absorbed(x);
        assert!(!absorbed || self.origin(node.operands[0]).op != Op::Dequant, "two roundings of an activation");
        self.origin(x).op == Op::Dequant
    }

    /// The node that a value was only moved from.
    fn origin(&self, value: Value) -> &Node {
        let mut node = self.kernel.node(value);
        while let Op::Transpose { .. }
        | Op::Reshape { .. }
        | Op::Slice { .. }
        | Op::Broadcast { .. }
        | Op::Cast { dtype: DType::F32 } = node.op
        {
            node = self.kernel.node(node.operands[0]);
        }
        node
    }

    /// The node that a product's right side is as a weight: turned or cut, and nothing else. Behind
    /// other ops it is an ordinary tensor, for which nothing is claimed.
    fn stored(&self, value: Value) -> &Node {
        let mut node = self.kernel.node(value);
        while let Op::Transpose { .. } | Op::Slice { .. } = node.op {
            node = self.kernel.node(node.operands[0]);
        }
        node
    }

    fn users(&self, of: usize) -> impl Iterator<Item = usize> {
        let nodes = self.kernel.nodes.iter().enumerate();
        nodes.filter(move |(_, n)| n.operands.iter().any(|v| v.node == of)).map(|(i, _)| i)
    }

    fn only_user(&self, of: usize) -> usize {
        let users: Vec<usize> = self.users(of).collect();
        assert_eq!(users.len(), 1, "node {of} has users {users:?}\n{}", self.kernel);
        users[0]
    }

    fn name(&self, part: &Node) -> String {
        match self.kernel.node(part.operands[0]).op {
            Op::Param { index } => self.kernel.params[index].name.to_string(),
            _ => panic!("a part of no parameter"),
        }
    }

    /// Size of the axis `from_last` before the last.
    fn size(&self, value: Value, from_last: usize) -> u64 {
        let shape = &self.kernel.tensor_ty(value).shape;
        shape[shape.len() - 1 - from_last].eval(self.sizes).unwrap()
    }
}

/// `(1 + u)^n - 1`
fn roundings(n: u64) -> f64 {
    (n as f64 * U.ln_1p()).exp_m1()
}

/// The same if each activation is rounded beforehand.
fn with_rounded(bound: f64, rounded: bool) -> f64 {
    if rounded { bound + U * (1.0 + bound) } else { bound }
}
