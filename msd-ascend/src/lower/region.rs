//! Elementwise work of the graph as the code of a tile. Owns what each op becomes on a vector core; which nodes belong
//! to one region, and where its operands lie, is `schedule.rs`'s.

use msd_ir::diag::{Code as Fault, Diagnostic};
use msd_ir::dtype::DType;
use msd_ir::graph::{Kernel, Value};
use msd_ir::math::{self, Lanes};
use msd_ir::ops::Op as Node;

use super::code::{Code, Condition, Extent, Reg, What};
use super::numbers::Number;
use super::view::View;
use crate::chip::Chip;
use crate::isa::Op;

use DType::{F32, I32};

/// A product of rows and columns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Term {
    /// `[.., D*M, K]`
    pub(crate) a: View,
    /// `[.., K, N]`
    pub(crate) b: View,
    /// Scales of blocks of 32, `[.., D*M, K/32]` and `[.., N, K/32]`.
    pub(crate) scales: Option<(View, View)>,
    /// Rows of `a` for each token.
    pub(crate) digits: i64,
}

impl Term {
    /// Type of the sums.
    pub(crate) fn sums(&self) -> DType {
        if self.a.dtype.is_int() { I32 } else { F32 }
    }

    pub(crate) fn k(&self) -> i64 {
        self.a.shape.last().copied().unwrap_or(0)
    }
}

/// A product of a region, merged to one number for each element.
#[derive(Clone, Debug)]
pub(crate) struct Merging {
    /// The product among those of the region.
    pub(crate) term: usize,
    /// Weights of the digits.
    pub(crate) weights: Vec<i64>,
    /// Type of the sums.
    pub(crate) sums: DType,
    /// Where the sums of each digit lie over the region, in parts to be added, if they do not come from the cube
    /// core beside.
    pub(crate) parts: Option<Vec<Vec<View>>>,
    /// Row sums of each digit and the zero point, over the region.
    pub(crate) zero: Option<(Vec<Option<View>>, View)>,
    /// What codes were less than they are stored, as their zero point then is.
    pub(crate) less: i64,
    /// Whether an integer sum stays one: nothing merges it.
    pub(crate) is_whole: bool,
    /// Whether there is nothing to sum up.
    pub(crate) is_empty: bool,
    /// Whether groups were added up, and the sum is kept beside.
    pub(crate) is_kept: bool,
}

impl Merging {
    /// One sum that is a number as it is.
    pub(crate) fn alone(sums: DType) -> Merging {
        Merging {
            term: 0,
            weights: vec![1],
            sums,
            parts: None,
            zero: None,
            less: 0,
            is_whole: true,
            is_empty: false,
            is_kept: false,
        }
    }
}

/// A contraction in groups, whose sums are scaled and added up.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    /// How many.
    pub(crate) count: i64,
    /// What is added up, with an axis of groups before rows and columns: the sums, and factors as leaves.
    pub(crate) region: Region,
    /// A factor of all of them.
    pub(crate) times: f32,
    /// Whether rows are groups, and tokens before them, as for few tokens.
    pub(crate) are_rows: bool,
}

/// Elements that are computed together.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) shape: Vec<i64>,
    /// Values that lie in GM, stretched over the region.
    pub(crate) leaves: Vec<(Value, View)>,
    /// What its one window is less than it is stored.
    pub(crate) less: i64,
    /// Sizes that are used as numbers.
    pub(crate) sizes: Vec<(Value, f32)>,
    /// The index of each row and of each column, where something depends on them.
    pub(crate) indexes: Vec<(Value, View)>,
    /// Columns less rows.
    pub(crate) more_cols: i64,
    /// Products that are merged where they are used, by the node that merges.
    pub(crate) merges: Vec<(usize, Merging)>,
    /// The products themselves.
    pub(crate) terms: Vec<Term>,
    /// Of the one product, if its contraction is in groups.
    pub(crate) groups: Option<Box<Groups>>,
    /// Nodes that are computed here, operands first.
    pub(crate) nodes: Vec<usize>,
    pub(crate) root: Value,
}

impl Region {
    /// A region of one value that lies in GM.
    pub(crate) fn of_view(view: View) -> Region {
        let root = Value { node: usize::MAX, result: 0 };
        Region { shape: view.shape.clone(), leaves: vec![(root, view)], ..Region::new(Vec::new(), root) }
    }

    /// A region with nothing in it.
    pub(crate) fn new(shape: Vec<i64>, root: Value) -> Region {
        let (leaves, indexes) = (Vec::new(), Vec::new());
        let (sizes, merges, terms, nodes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Region { shape, leaves, less: 0, indexes, more_cols: 0, sizes, merges, terms, groups: None, nodes, root }
    }

    /// Every window that is loaded.
    pub(crate) fn views(&mut self) -> Vec<&mut View> {
        let merges = self.merges.iter_mut().flat_map(|(_, merging)| {
            let zeros = merging.zero.iter_mut().flat_map(|(sums, zero)| sums.iter_mut().flatten().chain([zero]));
            zeros.chain(merging.parts.iter_mut().flatten().flatten())
        });
        self.leaves.iter_mut().chain(&mut self.indexes).map(|(_, view)| view).chain(merges).collect()
    }

    /// The value of the root.
    ///
    /// # Errors
    /// If an op is none of elements.
    pub(crate) fn compute(&self, code: &mut Code, kernel: &Kernel, chip: &Chip) -> Result<Number, Diagnostic> {
        if self.root.node == usize::MAX {
            return match (self.merges.as_slice(), self.leaves.as_slice()) {
                ([(_, merging)], _) => Ok(code.merged(merging, chip)),
                ([], [(_, view), ..]) => Ok(code.loaded(view, view.dtype, chip)),
                _ => Err(internal("a region of nothing")),
            };
        }
        let mut numbers: Vec<(usize, Number)> = Vec::new();
        for index in &self.nodes {
            let node = &kernel.nodes[*index];
            let operands = node.operands.iter().map(|v| self.operand(code, &numbers, *v, kernel, chip));
            let number = match self.merges.iter().find(|(merging, _)| merging == index) {
                Some((_, merging)) => code.merged(merging, chip),
                None => {
                    let mut operands = operands.collect::<Result<Vec<_>, _>>()?;
                    if let (Node::Causal, [(_, row), (_, col)]) = (&node.op, self.indexes.as_slice()) {
                        let (row, col) = (code.loaded(row, F32, chip), code.loaded(col, F32, chip));
                        // Row i of M sees columns up to i + T - M.
                        let row = code.as_float(row);
                        let last = code.with_number(Op::Vadds, F32, row, self.more_cols as f32);
                        operands.extend([Number::Float(last), col]);
                    }
                    let dtype = kernel.tensor_ty(Value { node: *index, result: 0 }).dtype;
                    let from = node.operands.first().map(|v| kernel.tensor_ty(*v).dtype);
                    code.elementwise(&node.op, &operands, dtype, from, chip).map_err(|d| d.at(node.span))?
                }
            };
            numbers.push((*index, number));
        }
        self.operand(code, &numbers, self.root, kernel, chip)
    }

    fn operand(
        &self,
        code: &mut Code,
        numbers: &[(usize, Number)],
        value: Value,
        kernel: &Kernel,
        chip: &Chip,
    ) -> Result<Number, Diagnostic> {
        if let Some((_, number)) = numbers.iter().find(|(index, _)| *index == value.node && value.result == 0) {
            return Ok(*number);
        }
        if let Node::Const { bits } = kernel.node(value).op {
            return Ok(Number::Float(code.number(f32::from_bits(bits))));
        }
        if let Some((_, size)) = self.sizes.iter().find(|(of, _)| *of == value) {
            return Ok(Number::Float(code.number(*size)));
        }
        let leaf = self.leaves.iter().find(|(leaf, _)| *leaf == value);
        let (_, view) = leaf.ok_or_else(|| internal("an operand of a region is nowhere"))?;
        Ok(code.loaded(view, kernel.tensor_ty(value).dtype, chip))
    }
}

/// How much of a window over a region there is; none if it cannot be loaded as it lies.
pub(crate) fn extent_of(view: &View) -> Option<Extent> {
    let rank = view.rank();
    let (rows, cols) = (view.shape[rank - 2], view.shape[rank - 1]);
    let (row, col) = (view.strides[rank - 2], view.strides[rank - 1]);
    let has_rows = rows > 1 && row != 0;
    let is_nibble = view.dtype.bits() == 4;
    match cols == 1 || col == 1 {
        true => {
            let outer = view.strides[..rank - 1].iter().zip(&view.shape).filter(|(_, size)| **size > 1);
            let starts_with_byte = view.offset % 2 == 0 && outer.clone().all(|(stride, _)| stride % 2 == 0);
            let is_apart = !has_rows || row >= cols;
            let fits = is_apart && (!is_nibble || starts_with_byte);
            fits.then_some(if has_rows || rows == 1 { Extent::Tile } else { Extent::Row })
        }
        false if col == 0 => match has_rows {
            true => (row == 1 && !is_nibble).then_some(Extent::Column),
            false => (!is_nibble).then_some(Extent::One),
        },
        false => None,
    }
}

impl Code {
    /// A number for each element of the tile, out of GM.
    pub(crate) fn loaded(&mut self, view: &View, dtype: DType, chip: &Chip) -> Number {
        let extent = extent_of(view).unwrap_or(Extent::Tile);
        // What goes into lanes of its own is widened before.
        let first = match extent {
            Extent::Column => Extent::Packed,
            Extent::One => Extent::Single,
            as_it_is => as_it_is,
        };
        let source = self.source(What::Load(view.clone()), view.dtype, first);
        // Truth values are bytes, and so are codes of small floats that the chip cannot make.
        let number = match (dtype, view.dtype) {
            (DType::Bool, _) => self.widened(source, dtype, chip),
            (dtype, DType::U8) if dtype.is_float() => self.widened_code(source, dtype),
            (_, stored) => self.widened(source, stored, chip),
        };
        if first == extent {
            return number;
        }
        match number {
            Number::Float(reg) => Number::Float(self.spread(reg)),
            Number::Int(reg) => Number::Int(self.spread(reg)),
            Number::Truth(_) => {
                let int = self.as_int(number);
                let (int, zero) = (self.spread(int), self.int_number(0));
                Number::Truth(self.compare(Condition::Ne, I32, int, zero))
            }
        }
    }

    /// A value as it is stored: for each element, in a place that nothing is loaded to.
    pub(crate) fn output(&mut self, number: Number, dtype: DType, chip: &Chip) -> Reg {
        let number = match number {
            Number::Float(reg) => Number::Float(self.whole(reg)),
            Number::Int(reg) => Number::Int(self.whole(reg)),
            Number::Truth(_) => {
                let int = self.as_int(number);
                let (int, zero) = (self.whole(int), self.int_number(0));
                Number::Truth(self.compare(Condition::Ne, I32, int, zero))
            }
        };
        let reg = self.narrowed(number, dtype, chip);
        self.fresh(reg)
    }

    /// Digits' sums as one number: `sum_d weight_d * (S_d - z * R_d)`.
    fn merged(&mut self, merging: &Merging, chip: &Chip) -> Number {
        if merging.is_empty {
            return Number::Float(self.number(0.0));
        }
        if merging.is_kept {
            return Number::Float(self.source(What::Kept(0), F32, Extent::Tile));
        }
        let mut sums = Vec::new();
        for digit in 0..merging.weights.len() {
            let sum = self.sums(merging, digit, chip);
            let rows = merging.zero.as_ref().and_then(|(rows, zero)| Some((rows[digit].as_ref()?, zero)));
            sums.push(match rows {
                None => sum,
                Some((rows, zero)) => {
                    let rows = self.loaded(rows, rows.dtype, chip);
                    let zero = self.loaded(zero, zero.dtype, chip);
                    let (sum, zero) = match (sum, rows, zero) {
                        // A float would be rounded.
                        (Number::Int(sum), Number::Int(rows), Number::Float(_)) if merging.less != 0 => {
                            let less = self.with_number(Op::Vmuls, I32, rows, merging.less as f32);
                            (Number::Int(self.iadd(sum, less)), zero)
                        }
                        _ => (sum, self.less(zero, merging.less)),
                    };
                    self.without_zero(sum, rows, zero)
                }
            });
        }
        if merging.is_whole && merging.sums == I32 {
            return Number::Int(self.whole_sum(&merging.weights, sums));
        }
        let mut all: Option<Reg> = None;
        for (weight, sum) in merging.weights.iter().zip(sums).rev() {
            let sum = self.as_float(sum);
            let weight = self.number(*weight as f32);
            all = Some(match all {
                Some(rest) => self.fma(sum, weight, rest),
                None if self.as_number(weight) == Some(1.0) => sum,
                None => self.mul(sum, weight),
            });
        }
        Number::Float(all.unwrap_or_else(|| self.number(0.0)))
    }

    /// Integer sums of digits as one integer, which wraps around.
    fn whole_sum(&mut self, weights: &[i64], sums: Vec<Number>) -> Reg {
        let mut all: Option<Reg> = None;
        for (weight, sum) in weights.iter().zip(sums) {
            let mut sum = self.as_int(sum);
            if *weight != 1 {
                sum = self.with_number(Op::Vmuls, I32, sum, *weight as f32);
            }
            all = Some(all.map_or(sum, |all| self.iadd(all, sum)));
        }
        all.unwrap_or_else(|| self.int_number(0))
    }

    /// Sums of one digit.
    fn sums(&mut self, merging: &Merging, digit: usize, chip: &Chip) -> Number {
        let as_number = |reg: Reg| if merging.sums == I32 { Number::Int(reg) } else { Number::Float(reg) };
        let Some(parts) = &merging.parts else {
            let what = What::Sums { term: merging.term, digit };
            return as_number(self.source(what, merging.sums, Extent::Tile));
        };
        let mut all: Option<Reg> = None;
        for part in &parts[digit] {
            let (Number::Int(part) | Number::Float(part)) = self.loaded(part, part.dtype, chip) else { continue };
            all = Some(all.map_or(part, |all| self.binary(Op::Vadd, merging.sums, all, part)));
        }
        as_number(all.unwrap_or_else(|| self.int_number(0)))
    }

    /// `S - z * R`: exactly in integers, fused in floats.
    fn without_zero(&mut self, sum: Number, rows: Number, zero: Number) -> Number {
        match (sum, rows, zero) {
            (Number::Int(sum), Number::Int(rows), Number::Int(zero)) => {
                let product = self.binary(Op::Vmul, I32, rows, zero);
                Number::Int(self.isub(sum, product))
            }
            (sum, rows, zero) => {
                let (sum, rows, zero) = (self.as_float(sum), self.as_float(rows), self.as_float(zero));
                let negated = self.with_number(Op::Vmuls, F32, zero, -1.0);
                Number::Float(self.fma(negated, rows, sum))
            }
        }
    }

    /// What an op of elements computes.
    fn elementwise(
        &mut self,
        op: &Node,
        operands: &[Number],
        dtype: DType,
        from: Option<DType>,
        chip: &Chip,
    ) -> Result<Number, Diagnostic> {
        let is_int = dtype.is_int();
        Ok(match (op, operands) {
            (Node::Neg, [x]) if is_int => Number::Int({
                let x = self.as_int(*x);
                self.with_number(Op::Vmuls, I32, x, -1.0)
            }),
            (Node::Neg, [x]) => Number::Float({
                let x = self.as_float(*x);
                self.with_number(Op::Vmuls, F32, x, -1.0)
            }),
            (Node::Abs, [x]) if is_int => Number::Int({
                let x = self.as_int(*x);
                let negated = self.with_number(Op::Vmuls, I32, x, -1.0);
                self.binary(Op::Vmax, I32, x, negated)
            }),
            (Node::Abs, [x]) => self.function(*x, |code, x| code.unary(Op::Vabs, F32, x)),
            (Node::Exp, [x]) => self.function(*x, |code, x| code.unary(Op::Vexp, F32, x)),
            (Node::Log, [x]) => self.function(*x, |code, x| code.unary(Op::Vln, F32, x)),
            (Node::Sqrt, [x]) => self.function(*x, |code, x| code.unary(Op::Vsqrt, F32, x)),
            (Node::Tanh, [x]) => self.function(*x, math::tanh),
            (Node::Erf, [x]) => self.function(*x, math::erf),
            (Node::Causal, [x, last, col]) => {
                let (x, row, col) = (self.as_float(*x), self.as_float(*last), self.as_float(*col));
                let lowest = self.number(f32::NEG_INFINITY);
                let is_seen = self.compare(Condition::Le, F32, col, row);
                Number::Float(self.choose(is_seen, x, lowest))
            }
            (Node::Cast { dtype }, [x]) => self.converted(*x, *dtype, chip),
            (Node::Steps, [x]) => self.steps(*x, from.and_then(DType::minifloat)),
            (Node::Select, [c, a, b]) => {
                let Number::Truth(mask) = *c else { return Err(internal("a condition that is none")) };
                if is_int {
                    let (a, b) = (self.as_int(*a), self.as_int(*b));
                    Number::Int(self.choose(mask, a, b))
                } else {
                    let (a, b) = (self.as_float(*a), self.as_float(*b));
                    Number::Float(self.choose(mask, a, b))
                }
            }
            (op, [a, b]) => return self.pair(op, *a, *b, is_int),
            (op, _) => {
                let message = format!("`{}` on a vector core", op.spelled());
                return Err(Diagnostic::new(Fault::NotOnChip, message).help("run the kernel with `--target cpu`"));
            }
        })
    }

    fn function(&mut self, x: Number, of: impl FnOnce(&mut Code, Reg) -> Reg) -> Number {
        let x = self.as_float(x);
        Number::Float(of(self, x))
    }

    fn pair(&mut self, op: &Node, a: Number, b: Number, is_int: bool) -> Result<Number, Diagnostic> {
        let conditions = [
            (Node::Lt, Condition::Lt),
            (Node::Le, Condition::Le),
            (Node::Gt, Condition::Gt),
            (Node::Ge, Condition::Ge),
            (Node::Eq, Condition::Eq),
            (Node::Ne, Condition::Ne),
        ];
        if let Some((_, condition)) = conditions.into_iter().find(|(node, _)| node == op) {
            if matches!(a, Number::Float(_)) || matches!(b, Number::Float(_)) {
                let (a, b) = (self.as_float(a), self.as_float(b));
                return Ok(Number::Truth(self.compare(condition, F32, a, b)));
            }
            let (a, b) = (self.as_int(a), self.as_int(b));
            return Ok(Number::Truth(self.compare(condition, I32, a, b)));
        }
        let vector = match op {
            Node::Add => Op::Vadd,
            Node::Sub => Op::Vsub,
            Node::Mul => Op::Vmul,
            Node::Min => Op::Vmin,
            Node::Max => Op::Vmax,
            Node::Div => Op::Vdiv,
            op => return Err(internal(&format!("`{}` in a region", op.spelled()))),
        };
        if is_int {
            let (a, b) = (self.as_int(a), self.as_int(b));
            return Ok(Number::Int(self.binary(vector, I32, a, b)));
        }
        let (a, b) = (self.as_float(a), self.as_float(b));
        Ok(Number::Float(match vector {
            Op::Vadd => self.add(a, b),
            Op::Vsub => self.sub(a, b),
            Op::Vmul => self.mul(a, b),
            vector => self.binary(vector, F32, a, b),
        }))
    }
}

/// A fault of ours.
pub(crate) fn internal(message: &str) -> Diagnostic {
    Diagnostic::new(Fault::Internal, message).help("this is a fault of msd; please report it with the kernel")
}
