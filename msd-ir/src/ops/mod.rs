//! THE op table. Enum, builder methods, call syntax, printing, arity and the op reference all
//! derive from it; the meaning of each op is its arm in [`crate::eval`], its type its rule in
//! `shape.rs`. No op has effects: a graph may drop, share and reorder them freely.

mod attr;
mod shape;

pub use attr::{Attr, AttrKind};

use crate::diag::Diagnostic;
use crate::dim::Dim;
use crate::dtype::DType;
use crate::quant::scheme::Scheme;
use crate::types::{Shape, Type};
use attr::Field;

/// How an op is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// Its own form: a name or a literal.
    Leaf,
    /// Before its operand.
    Prefix(&'static str),
    /// Between its operands; see [`Infix`].
    Infix(Infix),
    /// `name(operands, attributes)`.
    Call(&'static str),
}

/// Infix operators, by the level of precedence docs/language.md gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Infix {
    /// The operator as written.
    pub text: &'static str,
    /// 0 comparison (non-associative), 1 sum, 2 product, 3 `@`.
    pub level: u8,
}

const fn infix(text: &'static str, level: u8) -> Syntax {
    Syntax::Infix(Infix { text, level })
}

/// What kind of work an op is; lowerings choose by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Parameter, literal or size.
    Leaf,
    /// A part of a quantized parameter, or its dequantization.
    Quantized,
    /// One output element from one element of each operand.
    Elementwise,
    /// Over the last axis.
    Row,
    /// Moves elements only.
    Movement,
    /// Matrix product.
    Product,
    /// Splitting into digits and merging them again.
    Digits,
}

/// One row of the table.
pub struct OpInfo {
    /// Name in the op reference and of the builder's method.
    pub name: &'static str,
    /// How it is written.
    pub syntax: Syntax,
    /// Names of its operands; their number is its arity.
    pub operands: &'static [&'static str],
    /// Names and kinds of the attribute arguments after them.
    pub attrs: &'static [(&'static str, AttrKind)],
    /// Kind of work.
    pub class: Class,
    /// Types of the results, or what is wrong with the operands.
    pub rule: fn(&Op, &[&Type]) -> Result<Vec<Type>, Diagnostic>,
    /// Its meaning.
    pub formula: &'static str,
    /// The op from its attribute arguments and the rank of its first operand.
    pub make: fn(&[Attr], usize) -> Option<Op>,
}

macro_rules! ops {
    ($($method:ident $variant:ident $({ $($field:ident: $ty:ty),+ })? [$($operand:ident)*]
       $syntax:expr, $class:ident, $rule:ident, $formula:literal;)*) => {
        /// An operation with its attributes.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        pub enum Op {
            /// The `index`-th parameter.
            Param {
                /// Position in the parameter list.
                index: usize,
            },
            /// An F32 literal.
            Const {
                /// Its bits.
                bits: u32,
            },
            $(#[doc = concat!("`", $formula, "`")] $variant $({ $(#[doc = stringify!($field)] $field: $ty),+ })?,)*
        }

        mod info {
            use super::*;
            $(
                #[allow(non_upper_case_globals, reason = "named after the op it describes")]
                pub(super) static $variant: OpInfo = OpInfo {
                    name: stringify!($method),
                    syntax: $syntax,
                    operands: &[$(stringify!($operand)),*],
                    attrs: &[$($((stringify!($field), <$ty as Field>::KIND)),+)?],
                    class: Class::$class,
                    rule: shape::$rule,
                    formula: $formula,
                    make: |attrs, rank| {
                        let mut attrs = attrs.iter();
                        let op = Op::$variant $({ $($field: <$ty as Field>::from_attr(attrs.next()?, rank)?),+ })?;
                        let _ = rank;
                        attrs.next().is_none().then_some(op)
                    },
                };
            )*
        }

        /// The table, in the order of the reference. Parameters and literals are not in it: they
        /// come from declarations.
        pub static OPS: &[&OpInfo] = &[$(&info::$variant),*];

        impl Op {
            /// The op's row; `None` for parameters and literals.
            pub fn info(&self) -> Option<&'static OpInfo> {
                match self {
                    Op::Param { .. } | Op::Const { .. } => None,
                    $(Op::$variant { .. } => Some(&info::$variant),)*
                }
            }

            /// The attribute arguments as written.
            pub fn attrs(&self) -> Vec<Attr> {
                match self {
                    Op::Param { .. } | Op::Const { .. } => Vec::new(),
                    $(Op::$variant $({ $($field),+ })? => vec![$($($field.to_attr()),+)?],)*
                }
            }
        }

        /// The builder's method for each op, expanded in [`crate::builder`].
        macro_rules! op_methods {
            () => {
                impl Builder {
                    $(
                        #[doc = concat!("`", $formula, "`")]
                        pub fn $method(
                            &mut self, $($operand: Value,)* $($($field: $ty,)+)? span: Span
                        ) -> Result<Value, Diagnostic> {
                            self.push(Op::$variant $({ $($field),+ })?, &[$($operand),*], span)
                        }
                    )*
                }
            };
        }
        pub(crate) use op_methods;
    };
}

ops! {
    // Quantized parameters.
    dequant Dequant [w] Syntax::Call("dequant"), Quantized, dequant,
        "scale * (code - zero): in F64, rounded once to F32";
    codes Codes [w] Syntax::Call("msd.codes"), Quantized, part, "the stored codes of w";
    scale Scale [w] Syntax::Call("msd.scale"), Quantized, part, "the scale of w";
    zero Zero [w] Syntax::Call("msd.zero"), Quantized, part, "the zero point of w";
    // Elementwise. Floats compute in F32 (F64 where an operand is), integer pairs exactly modulo 2^32 (2^64).
    size Size { dim: Dim } [] Syntax::Call("msd.size"), Leaf, size, "a dimension's size as F32";
    neg Neg [x] Syntax::Prefix("-"), Elementwise, signed, "-x";
    abs Abs [x] Syntax::Call("abs"), Elementwise, signed, "|x|";
    exp Exp [x] Syntax::Call("exp"), Elementwise, float, "e^x, polynomial of msd_ir::math";
    log Log [x] Syntax::Call("log"), Elementwise, float, "natural logarithm, polynomial of msd_ir::math";
    tanh Tanh [x] Syntax::Call("tanh"), Elementwise, float, "tanh(x), polynomial of msd_ir::math";
    erf Erf [x] Syntax::Call("msd.erf"), Elementwise, float, "error function, polynomial of msd_ir::math";
    sqrt Sqrt [x] Syntax::Call("sqrt"), Elementwise, float, "square root, correctly rounded";
    add Add [a b] infix("+", 1), Elementwise, arithmetic, "a + b";
    sub Sub [a b] infix("-", 1), Elementwise, arithmetic, "a - b";
    mul Mul [a b] infix("*", 2), Elementwise, arithmetic, "a * b";
    div Div [a b] infix("/", 2), Elementwise, division, "a / b in floating point";
    min Min [a b] Syntax::Call("min"), Elementwise, arithmetic, "a if a < b or a is NaN, else b";
    max Max [a b] Syntax::Call("max"), Elementwise, arithmetic, "a if a > b or a is NaN, else b";
    lt Lt [a b] infix("<", 0), Elementwise, comparison, "a < b";
    le Le [a b] infix("<=", 0), Elementwise, comparison, "a <= b";
    gt Gt [a b] infix(">", 0), Elementwise, comparison, "a > b";
    ge Ge [a b] infix(">=", 0), Elementwise, comparison, "a >= b";
    eq Eq [a b] infix("==", 0), Elementwise, comparison, "a == b";
    ne Ne [a b] infix("!=", 0), Elementwise, comparison, "a != b";
    select Select [c a b] Syntax::Call("where"), Elementwise, select, "a where c holds, else b";
    cast Cast { dtype: DType } [x] Syntax::Call("cast"), Elementwise, cast,
        "x in another element type: nearest even, saturating to integers and small floats";
    steps Steps [x] Syntax::Call("msd.steps"), Elementwise, steps,
        "a float of 4 bits over the smallest step of its type, 1/2 for e2m1 and 1/4 for e1m2: an integer";
    causal Causal [s] Syntax::Call("causal"), Elementwise, causal, "s[i, j] where j <= i + T - M, else -inf";
    // Over the last axis, which stays as size 1.
    sum Sum [x] Syntax::Call("sum"), Row, reduction, "16 partial sums (index mod 16, from +0), then a binary tree";
    amax Amax [x] Syntax::Call("amax"), Row, reduction,
        "16 partial maxima (index mod 16, from -inf), then a binary tree";
    softmax Softmax [x] Syntax::Call("softmax"), Row, softmax,
        "e / sum(e) with e = exp(x - amax(x)); a row of -inf gives zeros";
    // Movement.
    transpose Transpose { axes: Vec<usize> } [x] Syntax::Call("transpose"), Movement, transpose,
        "axis i of the result is axis axes[i] of x";
    reshape Reshape { shape: Shape } [x] Syntax::Call("reshape"), Movement, reshape,
        "the same elements in row-major order";
    concat Concat { axis: usize } [a b] Syntax::Call("concat"), Movement, concat, "a then b along an axis";
    broadcast Broadcast { shape: Shape } [x] Syntax::Call("broadcast"), Movement, stretch,
        "x repeated along axes of size 1, and along new outer axes, to fill a shape";
    slice Slice { axis: usize, start: Dim, stop: Dim } [x] Syntax::Call("slice"), Movement, slice,
        "x from start to before stop along an axis";
    // Products over the last two axes; outer axes broadcast.
    matmul MatMul [a b] infix("@", 3), Product, matmul,
        "sum_k a[m,k] * b[k,n]: k ascending with fused multiply-add in F32; integer pairs exactly modulo 2^32";
    dot Dot [a b] Syntax::Call("msd.dot"), Product, dot,
        "sum_k a[m,k] * b[k,n], exact in I64, of integers of at most 16 bits and of at most 8";
    // Digits.
    decompose Decompose { scheme: Scheme } [x] Syntax::Call("msd.decompose"), Digits, decompose,
        "(digits [D*M, K], scale [M, 1]): x ~ scale * sum_d weight_d * digits[d*M + m, k]";
    decompose_blocks DecomposeBlocks { scheme: Scheme, size: Dim } [x] Syntax::Call("msd.decompose_blocks"), Digits,
        decompose_blocks,
        "(digits [G, D*M, size], relative scale [G, M, 1] in F32, row scale [M, 1]): each block of a row by its own \
         largest magnitude";
    combine Combine { scheme: Scheme } [p] Syntax::Call("msd.combine"), Digits, combine,
        "f32(sum_d weight_d * p[d*M + m, n]): the exact integer S, rounded once; of F32 products in F64, d ascending";
    combine_zero CombineZero { scheme: Scheme } [p r z] Syntax::Call("msd.combine_zero"), Digits, combine_zero,
        "f32(S - z * R), S and R the weighted sums of p and of the row sums r: exact in I64 for an integer z, one \
         fused step in F64 for others";
    accumulate Accumulate [p s u] Syntax::Call("msd.accumulate"), Digits, accumulate,
        "sum_g p[g,m,n] * (s[g,n] * u[g,m]): g ascending from +0 with fused multiply-add, s * u rounded first";
    accumulate_wide AccumulateWide { scheme: Scheme } [p s u] Syntax::Call("msd.accumulate_wide"), Digits,
        accumulate_wide,
        "the same in F64, of S_g = sum_d weight_d * p[g, d*M + m, n]: for scales that are powers of two";
}

impl Op {
    /// The literal `value`.
    pub fn constant(value: f32) -> Op {
        Op::Const { bits: value.to_bits() }
    }

    /// Every dimension expression among its attributes.
    pub fn dims(&self) -> Vec<Dim> {
        let dims = |attr| match attr {
            Attr::Dim(d) => vec![d],
            Attr::Dims(d) => d,
            Attr::DType(_) | Attr::Axis(_) | Attr::Axes(_) | Attr::Scheme(_) => Vec::new(),
        };
        self.attrs().into_iter().flat_map(dims).collect()
    }

    /// How the op is called in messages.
    pub fn spelled(&self) -> &'static str {
        match self.info().map(|i| i.syntax) {
            Some(Syntax::Call(text) | Syntax::Prefix(text)) => text,
            Some(Syntax::Infix(infix)) => infix.text,
            Some(Syntax::Leaf) | None => "value",
        }
    }

    /// Kind of work.
    pub fn class(&self) -> Class {
        self.info().map_or(Class::Leaf, |i| i.class)
    }
}

/// The op called by that name.
pub fn by_call_name(name: &str) -> Option<&'static OpInfo> {
    OPS.iter().copied().find(|i| matches!(i.syntax, Syntax::Call(call) if call == name))
}

/// The op written between its operands as `text`.
pub fn by_infix(text: &str) -> Option<&'static OpInfo> {
    OPS.iter().copied().find(|i| matches!(i.syntax, Syntax::Infix(infix) if infix.text == text))
}
