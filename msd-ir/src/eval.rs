//! The reference evaluator: the definition of every op. It is slow, total and exact; every other
//! executor must return the same bits. It owns the meaning of ops and nothing else: no choice of
//! algorithm, no blocking, no threads.
//!
//! Floats are held as F32 (F64 for `f64`) whatever their declared width, integers and truth
//! values as I64: conversions on entry are exact, and results are converted once. Every NaN
//! returned is the canonical quiet one (0x7FC00000, 0x7FC0, 0x7E00), because the payload of a
//! computed NaN is not portable.
//!
//! Two details the op table leaves open: an F64 or integer operand of `cast` to a type narrower
//! than F32 is rounded once, straight to that type; an integer sum or product wraps at the width
//! of its result type.

mod array;
mod elementwise;
pub(crate) mod float64;
mod movement;
mod product;
mod quantized;
mod row;

use crate::diag::{Code, Diagnostic};
use crate::dim::Sizes;
use crate::dtype::DType;
use crate::graph::{Kernel, Node, Value};
use crate::input::{Input, bind_owned, shape_under, size_fault};
use crate::ops::Op;
use crate::tensor::Tensor;
use crate::types::{QuantType, Type};
use crate::verify::verify;

use array::{Array, Elements, Kind, Precision};
use elementwise as ew;
pub use float64::evaluate_f64;

/// Runs `kernel` on `inputs`, one per parameter in order. `sizes` holds sizes known beforehand,
/// usually none: see [`crate::input::bind`], whose errors these are. Results have the declared types.
pub fn evaluate(kernel: &Kernel, sizes: &Sizes, inputs: &[Input]) -> Result<Vec<Tensor>, Diagnostic> {
    let results = run(kernel, sizes, inputs, Precision::Declared)?;
    let types = kernel.result_types();
    results
        .into_iter()
        .zip(types)
        .map(|(array, ty)| array.into_tensor(ty.dtype).map_err(|d| internal(&format!("a result does not fit: {d}"))))
        .collect()
}

/// A value of the graph while it is needed.
#[derive(Clone)]
enum Held<'a> {
    Array(Array),
    /// A quantized parameter: the ops on it read its parts.
    Quantized(&'a QuantType, &'a Input),
}

/// Evaluates nodes in order and drops each value after its last use.
fn run(kernel: &Kernel, given: &Sizes, inputs: &[Input], precision: Precision) -> Result<Vec<Array>, Diagnostic> {
    verify(kernel)?;
    let sizes = bind_owned(kernel, inputs, given)?;
    let mut uses = kernel.use_counts();
    let mut values: Vec<Vec<Held<'_>>> = Vec::with_capacity(kernel.nodes.len());
    for (index, node) in kernel.nodes.iter().enumerate() {
        let shapes = node.types.iter().map(|t| shape_under(t.shape(), &sizes)).collect::<Result<Vec<_>, _>>()?;
        check_memory(&shapes).map_err(|d| d.at(node.span))?;
        let operands = node.operands.iter().map(|v| &values[v.node][v.result]).collect();
        let step = Step { kernel, node, sizes: &sizes, inputs, operands, shapes, precision };
        let results = if uses[index] == 0 { Vec::new() } else { step.results()? };
        values.push(results);
        for v in &node.operands {
            uses[v.node] -= 1;
            if uses[v.node] == 0 {
                values[v.node].clear();
            }
        }
    }
    let result = |v: &Value| match &values[v.node][v.result] {
        Held::Array(array) => Ok(array.clone()),
        Held::Quantized(..) => Err(internal("a result is quantized")),
    };
    kernel.results.iter().map(result).collect()
}

/// Refuses what cannot be allocated, before anything panics over it.
fn check_memory(shapes: &[Vec<usize>]) -> Result<(), Diagnostic> {
    // The result and an index per element.
    let elements = shapes.iter().map(|s| s.iter().product::<usize>()).sum::<usize>();
    Vec::<[u64; 2]>::new().try_reserve_exact(elements).map_err(|_| {
        Diagnostic::new(Code::TooLarge, format!("no memory for a value of {elements} elements"))
            .help("choose smaller sizes")
    })
}

fn internal(message: &str) -> Diagnostic {
    Diagnostic::new(Code::Internal, message).help("this is a fault of msd; please report it with the kernel")
}

/// One node about to be evaluated.
struct Step<'a, 'b> {
    kernel: &'a Kernel,
    node: &'a Node,
    sizes: &'b Sizes,
    inputs: &'a [Input],
    operands: Vec<&'b Held<'a>>,
    /// Shapes of the results.
    shapes: Vec<Vec<usize>>,
    precision: Precision,
}

impl<'a> Step<'a, '_> {
    fn results(&self) -> Result<Vec<Held<'a>>, Diagnostic> {
        if let (Op::Param { index }, [Type::Quant(q)]) = (&self.node.op, self.node.types.as_slice()) {
            return Ok(vec![Held::Quantized(q, &self.inputs[*index])]);
        }
        let results = self.shapes.iter().zip(self.elements()?);
        Ok(results.map(|(shape, elements)| Held::Array(Array::new(shape.clone(), elements))).collect())
    }

    /// THE definition: the elements of each result.
    fn elements(&self) -> Result<Vec<Elements>, Diagnostic> {
        let (x, shape, precision) = (|| self.array(0), &self.shapes[0], self.precision);
        let one = match &self.node.op {
            Op::Param { index } => Array::load(&self.inputs[*index].tensor, precision).elements,
            Op::Const { bits } => precision.float(vec![f32::from_bits(*bits)]),
            Op::Size { dim } => {
                let size = dim.eval(self.sizes).map_err(size_fault)?;
                precision.float(vec![size as f32])
            }
            Op::Dequant => {
                let (ty, input) = self.quantized()?;
                precision.rounded(quantized::dequant(ty, input, shape))
            }
            Op::Codes => Array::load(&self.quantized()?.1.tensor, precision).elements,
            Op::Scale => self.part(|input| input.scale.as_ref())?,
            Op::Zero => self.part(|input| input.zero.as_ref())?,
            Op::Neg => self.unary(&ew::NEG)?,
            Op::Abs => self.unary(&ew::ABS)?,
            Op::Exp => self.function(&ew::EXP)?,
            Op::Log => self.function(&ew::LOG)?,
            Op::Tanh => self.function(&ew::TANH)?,
            Op::Erf => self.function(&ew::ERF)?,
            Op::Sqrt => self.function(&ew::SQRT)?,
            Op::Add => self.pair(&ew::ADD)?,
            Op::Sub => self.pair(&ew::SUB)?,
            Op::Mul => self.pair(&ew::MUL)?,
            Op::Div => self.pair(&ew::DIV)?,
            Op::Min => self.pair(&ew::MIN)?,
            Op::Max => self.pair(&ew::MAX)?,
            Op::Lt => self.comparison(ew::LT)?,
            Op::Le => self.comparison(ew::LE)?,
            Op::Gt => self.comparison(ew::GT)?,
            Op::Ge => self.comparison(ew::GE)?,
            Op::Eq => self.comparison(ew::EQ)?,
            Op::Ne => self.comparison(ew::NE)?,
            Op::Select => ew::select(x()?, self.array(1)?, self.array(2)?, self.kind(), shape),
            Op::Cast { dtype } => ew::cast(&x()?.elements, *dtype, precision),
            Op::Steps => ew::steps(&x()?.elements, self.kernel.tensor_ty(self.node.operands[0]).dtype),
            Op::Causal => movement::causal(x()?, self.kind()),
            Op::Sum => row::sum(x()?, self.kind()).wrapped(self.dtype()),
            Op::Amax => row::amax(x()?, self.kind(), self.dtype()),
            Op::Softmax => row::softmax(x()?, self.kind()),
            Op::Transpose { axes } => movement::transpose(x()?, axes, shape),
            Op::Reshape { .. } => x()?.elements.clone(),
            Op::Concat { axis } => movement::concat(x()?, self.array(1)?, *axis, self.kind()),
            Op::Broadcast { .. } => movement::broadcast(x()?, shape).into_owned(),
            Op::Slice { axis, start, .. } => {
                let start = shape_under(std::slice::from_ref(start), self.sizes)?;
                movement::slice(x()?, *axis, start[0], shape)
            }
            Op::MatMul => product::matmul(x()?, self.array(1)?, shape, self.kind(), precision).wrapped(self.dtype()),
            Op::Dot => product::dot(x()?, self.array(1)?, shape),
            Op::Decompose { scheme } => {
                let (digits, scale) = product::decompose(x()?, *scheme, precision);
                return Ok(vec![digits, scale]);
            }
            Op::DecomposeBlocks { scheme, size } => {
                let size = shape_under(std::slice::from_ref(size), self.sizes)?[0];
                return Ok(product::decompose_blocks(x()?, *scheme, size, precision));
            }
            Op::Combine { scheme } => product::combine(x()?, *scheme, precision),
            Op::CombineZero { scheme } => {
                product::combine_zero(x()?, self.array(1)?, self.array(2)?, *scheme, shape, precision)
            }
            Op::Accumulate => product::accumulate(x()?, self.array(1)?, self.array(2)?, precision),
            Op::AccumulateWide { scheme } => product::accumulate_wide(x()?, self.array(1)?, self.array(2)?, *scheme),
        };
        Ok(vec![one])
    }

    fn array(&self, i: usize) -> Result<&Array, Diagnostic> {
        match self.operands.get(i) {
            Some(Held::Array(array)) => Ok(array),
            _ => Err(internal("an operand is not a plain tensor")),
        }
    }

    fn quantized(&self) -> Result<(&'a QuantType, &'a Input), Diagnostic> {
        match self.operands.first() {
            Some(Held::Quantized(ty, input)) => Ok((ty, input)),
            _ => Err(internal("an operand is not quantized")),
        }
    }

    fn part(&self, part: impl Fn(&'a Input) -> Option<&'a Tensor>) -> Result<Elements, Diagnostic> {
        let tensor = part(self.quantized()?.1).ok_or_else(|| internal("a part is missing"))?;
        Ok(Array::load(tensor, self.precision).elements)
    }

    fn dtype(&self) -> DType {
        self.node.types[0].tensor().map_or(DType::F32, |t| t.dtype)
    }

    /// What the result is computed in.
    fn kind(&self) -> Kind {
        self.precision.kind(self.dtype())
    }

    fn unary(&self, op: &ew::Unary) -> Result<Elements, Diagnostic> {
        Ok(op.apply(&self.array(0)?.elements, self.kind()).wrapped(self.dtype()))
    }

    fn function(&self, op: &ew::Function) -> Result<Elements, Diagnostic> {
        Ok(op.apply(&self.array(0)?.elements, self.precision))
    }

    fn pair(&self, op: &ew::Pair) -> Result<Elements, Diagnostic> {
        let (a, b) = (self.array(0)?, self.array(1)?);
        Ok(op.apply(a, b, self.kind(), &self.shapes[0]).wrapped(self.dtype()))
    }

    fn comparison(&self, holds: ew::Holds) -> Result<Elements, Diagnostic> {
        Ok(ew::compare(self.array(0)?, self.array(1)?, holds, &self.shapes[0]))
    }
}

#[cfg(test)]
mod tests;
