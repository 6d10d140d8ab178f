//! Types of values: float, integer and quantized tensors with symbolic shapes. Owns NumPy
//! broadcasting over dimensions and the alignment of scales with codes.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::diag::{Code, Diagnostic};
use crate::dim::Dim;
use crate::dtype::DType;

/// Sizes along each axis, outermost first.
pub type Shape = Vec<Dim>;

/// An array of one element type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Sizes along each axis.
    pub shape: Shape,
}

impl TensorType {
    /// A type of that element and shape.
    pub fn new(dtype: DType, shape: Shape) -> Self {
        TensorType { dtype, shape }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
}

/// How a scale or zero point lies over one axis of the codes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Along {
    /// The axis of the part that varies with this axis of the codes.
    pub part_axis: usize,
    /// Consecutive codes that share a value.
    pub group: u64,
}

/// A scale or a zero point, aligned with its codes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// Element type and shape as declared.
    pub ty: TensorType,
    /// For each axis of the codes: how the part varies along it, or that it does not.
    pub along: Vec<Option<Along>>,
}

/// Codes with a scale and perhaps a zero point: `value = scale * (code - zero)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuantType {
    /// The stored codes.
    pub codes: TensorType,
    /// Their scale.
    pub scale: Part,
    /// Their zero point, if asymmetric.
    pub zero: Option<Part>,
}

/// Type of a value of the graph.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// A plain tensor.
    Tensor(TensorType),
    /// A quantized tensor; only `dequant` and the `msd.` part ops take it.
    Quant(Arc<QuantType>),
}

impl Type {
    /// The plain tensor type, if it is one.
    pub fn tensor(&self) -> Option<&TensorType> {
        match self {
            Type::Tensor(t) => Some(t),
            Type::Quant(_) => None,
        }
    }

    /// Shape of the tensor or of the codes.
    pub fn shape(&self) -> &[Dim] {
        match self {
            Type::Tensor(t) => &t.shape,
            Type::Quant(q) => &q.codes.shape,
        }
    }
}

impl QuantType {
    /// Aligns `scale` and `zero` with `codes` by dimension name (docs/language.md: "`scale` and `zero`").
    pub fn new(codes: TensorType, scale: TensorType, zero: Option<TensorType>) -> Result<Self, Diagnostic> {
        QuantType::check_elements(codes.dtype, scale.dtype, zero.as_ref().map(|z| z.dtype))?;
        let scale = Part::align(&codes, scale, "scale")?;
        let zero = zero.map(|z| Part::align(&codes, z, "zero point")).transpose()?;
        Ok(QuantType { codes, scale, zero })
    }

    /// Refuses element types that do not go together.
    pub(crate) fn check_elements(codes: DType, scale: DType, zero: Option<DType>) -> Result<(), Diagnostic> {
        if codes == DType::Bool || codes == DType::E8M0 || codes.bits() > 8 {
            let message = format!("`{}` elements cannot carry a scale", codes.name());
            return Err(Diagnostic::new(Code::ScaleUnexpected, message)
                .help("quantized codes are i8, u8, i4, u4, e4m3, e5m2, e2m1 or e1m2"));
        }
        if !matches!(scale, DType::F32 | DType::F16 | DType::BF16 | DType::E8M0 | DType::E4M3) {
            let message = format!("a scale cannot be `{}`", scale.name());
            return Err(Diagnostic::new(Code::ScaleType, message).help("scales are f32, f16, bf16, e8m0 or e4m3"));
        }
        if let Some(zero) = zero {
            let is_float = matches!(zero, DType::F32 | DType::F16 | DType::BF16);
            let is_code = zero.is_int() && zero.bits() <= 32;
            if !is_float && !is_code {
                let message = format!("a zero point cannot be `{}`", zero.name());
                return Err(
                    Diagnostic::new(Code::ScaleType, message).help("zero points are integers, f32, f16 or bf16")
                );
            }
            if codes.is_float() {
                let message = format!("`{}` codes have no zero point", codes.name());
                return Err(Diagnostic::new(Code::ScaleUnexpected, message).help("zero points belong to integer codes"));
            }
        }
        Ok(())
    }
}

impl Part {
    fn align(codes: &TensorType, ty: TensorType, what: &str) -> Result<Part, Diagnostic> {
        let mut along = vec![None; codes.rank()];
        if ty.rank() == codes.rank() {
            for (axis, (c, p)) in codes.shape.iter().zip(&ty.shape).enumerate() {
                if p.is_one() {
                    continue;
                }
                along[axis] = Some(Along { part_axis: axis, group: Part::group(codes, c, p, what)? });
            }
            return Ok(Part { ty, along });
        }
        for (part_axis, p) in ty.shape.iter().enumerate() {
            if p.is_one() {
                continue;
            }
            let matches = |c: &Dim| c == p || (!p.names().is_empty() && c.constant_ratio(p).is_some());
            let axes: Vec<usize> = (0..codes.rank()).filter(|a| matches(&codes.shape[*a])).collect();
            let axis = match axes.as_slice() {
                [axis] => *axis,
                [] => return Err(Part::no_match(codes, p, what)),
                _ => return Err(Part::ambiguous(codes, p, what)),
            };
            if along[axis].is_some() {
                let message = format!("the {what} names dimension `{}` twice", codes.shape[axis]);
                return Err(Diagnostic::new(Code::ScaleDimension, message).help("each name may appear once"));
            }
            along[axis] = Some(Along { part_axis, group: Part::group(codes, &codes.shape[axis], p, what)? });
        }
        Ok(Part { ty, along })
    }

    fn group(codes: &TensorType, code: &Dim, part: &Dim, what: &str) -> Result<u64, Diagnostic> {
        code.constant_ratio(part).ok_or_else(|| Part::no_match(codes, part, what))
    }

    fn no_match(codes: &TensorType, part: &Dim, what: &str) -> Diagnostic {
        let message = format!("{what} dimension `{part}` is no dimension of `{codes}`, nor a group of one");
        Diagnostic::new(Code::ScaleDimension, message)
            .help("write a dimension name, a group such as `K/128`, or `[1]` for one value per tensor")
    }

    fn ambiguous(codes: &TensorType, part: &Dim, what: &str) -> Diagnostic {
        let mut positions = codes.shape.iter().map(|_| "1".to_string()).collect::<Vec<_>>();
        if let Some(first) = codes.shape.iter().position(|c| c == part) {
            positions[first] = part.to_string();
        }
        let message = format!("{what} dimension `{part}` matches several dimensions of `{codes}`");
        Diagnostic::new(Code::ScaleAmbiguous, message)
            .help(format!("give it the tensor's rank, one entry per dimension: `[{}]`", positions.join(", ")))
    }

    /// Consecutive codes that share an element of the part, with its position; in the order of the
    /// codes, both row-major, of the shapes given.
    pub fn runs<'a>(&'a self, codes: &'a [usize], part: &[usize]) -> impl Iterator<Item = (Range<usize>, usize)> {
        let mut strides = vec![1; part.len()];
        for axis in (1..part.len()).rev() {
            strides[axis - 1] = strides[axis] * part[axis];
        }
        // For each axis of the codes: how many in a row share an element, and how far apart those are.
        let step = |along: &Option<Along>| {
            along.as_ref().map_or((usize::MAX, 0), |a| (a.group as usize, strides[a.part_axis]))
        };
        let mut steps: Vec<(usize, usize)> = self.along.iter().map(step).collect();
        let (columns, (length, apart)) = (codes.last().copied().unwrap_or(1), steps.pop().unwrap_or((1, 0)));
        let outer = &codes[..codes.len().saturating_sub(1)];
        let rows = if columns == 0 { 0 } else { outer.iter().product() };
        (0..rows).flat_map(move |row: usize| {
            let (mut rest, mut base) = (row, 0);
            for (size, (group, apart)) in outer.iter().zip(&steps).rev() {
                base += rest % size / group * apart;
                rest /= size;
            }
            let first = row * columns;
            let starts = (0..columns).step_by(length).enumerate();
            starts.map(move |(g, i)| (first + i..first + columns.min(i.saturating_add(length)), base + g * apart))
        })
    }

    /// Whether it is one value for the whole tensor.
    pub fn is_per_tensor(&self) -> bool {
        self.along.iter().all(Option::is_none)
    }
}

/// For each axis of the codes: block sizes, largest first and ending with 1, such that every
/// part's groups are whole blocks; nothing if groups overlap.
pub fn block_sizes(rank: usize, parts: &[&Part]) -> Option<Vec<Vec<u64>>> {
    let mut units = vec![vec![1]; rank];
    for part in parts {
        for (axis, along) in part.along.iter().enumerate() {
            if let Some(along) = along.as_ref().filter(|a| !units[axis].contains(&a.group)) {
                units[axis].push(along.group);
            }
        }
    }
    for sizes in &mut units {
        sizes.sort_unstable_by(|a, b| b.cmp(a));
    }
    units.iter().all(|sizes| sizes.windows(2).all(|pair| pair[0] % pair[1] == 0)).then_some(units)
}

/// The shape two operands share by NumPy's rule, or the two dimensions that disagree.
pub fn broadcast(a: &[Dim], b: &[Dim]) -> Result<Shape, (Dim, Dim)> {
    let rank = a.len().max(b.len());
    let one = Dim::constant(1);
    let at = |s: &[Dim], i: usize| (i + s.len()).checked_sub(rank).map_or(one.clone(), |j| s[j].clone());
    (0..rank)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Ok(x),
            (x, y) if x.is_one() => Ok(y),
            (x, y) if y.is_one() => Ok(x),
            (x, y) => Err((x, y)),
        })
        .collect()
}

/// `[M, N]`.
pub fn shape_text(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(", "))
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype.name(), shape_text(&self.shape))
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Tensor(t) => t.fmt(f),
            Type::Quant(q) => {
                write!(f, "{} scale {}", q.codes, q.scale.ty)?;
                q.zero.as_ref().map_or(Ok(()), |z| write!(f, " zero {}", z.ty))
            }
        }
    }
}
