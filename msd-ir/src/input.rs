//! What a kernel is called with, and the check that it fits. Every executor (evaluator, JIT)
//! binds its inputs here first, so all of them refuse the same faults in the same words, and may
//! rely afterwards on every shape, quotient and slice of the graph being sound.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diag::{Code, Diagnostic};
use crate::dim::{Dim, DimError, Sizes, exact_quotient};
use crate::graph::{Kernel, Node, Param};
use crate::ops::Op;
use crate::quant::tensor::{QuantTensor, QuantView};
use crate::span::Span;
use crate::tensor::{Tensor, TensorView};
use crate::types::{TensorType, Type};

/// Largest number of elements of any value of a graph.
pub const MAX_ELEMENTS: u64 = 1 << 40;

/// The argument for one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// The tensor, or the codes of a quantized parameter.
    pub tensor: Tensor,
    /// The scale of a quantized parameter.
    pub scale: Option<Tensor>,
    /// Its zero point, if it is declared with one.
    pub zero: Option<Tensor>,
}

impl From<Tensor> for Input {
    /// The argument for a plain parameter.
    fn from(tensor: Tensor) -> Input {
        Input { tensor, scale: None, zero: None }
    }
}

impl From<QuantTensor> for Input {
    /// The argument for a quantized parameter.
    fn from(tensor: QuantTensor) -> Input {
        let (tensor, scale, zero) = tensor.into_parts();
        Input { tensor, scale: Some(scale), zero }
    }
}

/// The argument for one parameter, borrowed.
#[derive(Clone, Copy, Debug)]
pub struct InputView<'a> {
    /// The tensor, or the codes of a quantized parameter.
    pub tensor: TensorView<'a>,
    /// The scale of a quantized parameter.
    pub scale: Option<TensorView<'a>>,
    /// Its zero point, if it is declared with one.
    pub zero: Option<TensorView<'a>>,
}

impl<'a> From<&'a Input> for InputView<'a> {
    fn from(input: &'a Input) -> InputView<'a> {
        let part = |tensor: &'a Option<Tensor>| tensor.as_ref().map(Tensor::view);
        InputView { tensor: input.tensor.view(), scale: part(&input.scale), zero: part(&input.zero) }
    }
}

impl<'a> From<TensorView<'a>> for InputView<'a> {
    /// The argument for a plain parameter.
    fn from(tensor: TensorView<'a>) -> InputView<'a> {
        InputView { tensor, scale: None, zero: None }
    }
}

impl<'a> From<QuantView<'a>> for InputView<'a> {
    /// The argument for a quantized parameter.
    fn from(view: QuantView<'a>) -> InputView<'a> {
        InputView { tensor: view.codes, scale: Some(view.scale), zero: view.zero }
    }
}

/// [`bind`] for inputs that are owned.
///
/// # Errors
/// As [`bind`].
pub fn bind_owned(kernel: &Kernel, inputs: &[Input], given: &Sizes) -> Result<Sizes, Diagnostic> {
    let views: Vec<InputView<'_>> = inputs.iter().map(InputView::from).collect();
    bind(kernel, &views, given)
}

/// Checks `inputs` (one per parameter, in order) against `kernel` and derives the size of every
/// dimension. `given` holds sizes known beforehand; they must agree. The kernel must be one that
/// [`crate::verify::verify`] accepts.
///
/// After `Ok`: element types and shapes are as declared, codes lie in their types, scales and float
/// zero points are finite, every dimension expression of the graph has a size and no value more than [`MAX_ELEMENTS`]
/// elements, every quotient divides and every slice lies within its operand.
pub fn bind(kernel: &Kernel, inputs: &[InputView<'_>], given: &Sizes) -> Result<Sizes, Diagnostic> {
    let pieces = pieces(kernel, inputs)?;
    for piece in &pieces {
        piece.check_type()?;
    }
    let sizes = bind_names(&pieces, given)?;
    for piece in &pieces {
        piece.check_shape(&sizes)?;
    }
    for (a, b) in &kernel.quotients {
        exact_quotient(a, b, &sizes).map_err(|e| size_fault(e).at(kernel.span))?;
    }
    for node in &kernel.nodes {
        check_node(kernel, node, &sizes).map_err(|d| d.at(node.span))?;
    }
    for piece in &pieces {
        piece.check_codes()?;
        piece.check_finite()?;
    }
    Ok(sizes)
}

/// What a piece of an argument is.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Tensor,
    Scale,
    Zero,
}

/// One tensor of the arguments beside its declaration.
struct Piece<'a> {
    /// As the command line calls it: `W`, `W.scale`.
    name: String,
    role: Role,
    declared: &'a TensorType,
    tensor: TensorView<'a>,
    span: Span,
}

/// Pairs declarations with arguments.
fn pieces<'a>(kernel: &'a Kernel, inputs: &[InputView<'a>]) -> Result<Vec<Piece<'a>>, Diagnostic> {
    if let Some(param) = kernel.params.get(inputs.len()) {
        return Err(missing(&param.name, param));
    }
    if inputs.len() > kernel.params.len() {
        let message = format!("{} inputs for {} parameters", inputs.len(), kernel.params.len());
        return Err(Diagnostic::new(Code::UnknownInput, message).at(kernel.span).help("give one input per parameter"));
    }
    let mut pieces = Vec::new();
    for (param, input) in kernel.params.iter().zip(inputs) {
        let (tensor, scale, zero) = match &param.ty {
            Type::Tensor(t) => (t, None, None),
            Type::Quant(q) => (&q.codes, Some(&q.scale.ty), q.zero.as_ref().map(|z| &z.ty)),
        };
        pieces.extend(piece(param, Role::Tensor, Some(tensor), Some(input.tensor))?);
        pieces.extend(piece(param, Role::Scale, scale, input.scale)?);
        pieces.extend(piece(param, Role::Zero, zero, input.zero)?);
    }
    Ok(pieces)
}

fn piece<'a>(
    param: &Param,
    role: Role,
    declared: Option<&'a TensorType>,
    tensor: Option<TensorView<'a>>,
) -> Result<Option<Piece<'a>>, Diagnostic> {
    let name = match role {
        Role::Tensor => param.name.to_string(),
        Role::Scale => format!("{}.scale", param.name),
        Role::Zero => format!("{}.zero", param.name),
    };
    match (declared, tensor) {
        (Some(declared), Some(tensor)) => Ok(Some(Piece { name, role, declared, tensor, span: param.span })),
        (Some(_), None) => Err(missing(&name, param).help(format!(
            "the parameter is `{}: {}`; what was given for it is plain, or lacks a part",
            param.name, param.ty
        ))),
        (None, Some(_)) => {
            let message = format!("input `{name}`, but `{}` is `{}`", param.name, param.ty);
            Err(Diagnostic::new(Code::UnknownInput, message)
                .at(param.span)
                .help("leave it out, or declare it in the parameter's type"))
        }
        (None, None) => Ok(None),
    }
}

fn missing(name: &str, param: &Param) -> Diagnostic {
    Diagnostic::new(Code::MissingInput, format!("no input for `{name}`"))
        .at(param.span)
        .help(format!("the parameter is `{}: {}`", param.name, param.ty))
}

/// The sizes of the names in `declared` that `tensor` gives them. `name` is for the
/// messages, which are those of [`bind`].
pub(crate) fn solve(name: &str, declared: &TensorType, tensor: TensorView<'_>) -> Result<Sizes, Diagnostic> {
    let piece = Piece { name: name.into(), role: Role::Tensor, declared, tensor, span: Span::new(0, 0) };
    let solved = || {
        piece.check_rank()?;
        let sizes = bind_names(std::slice::from_ref(&piece), &Sizes::new())?;
        piece.check_shape(&sizes)?;
        Ok(sizes)
    };
    // There is no source to point into.
    solved().map_err(|d: Diagnostic| Diagnostic { span: None, ..d })
}

impl Piece<'_> {
    fn check_type(&self) -> Result<(), Diagnostic> {
        if self.tensor.dtype() != self.declared.dtype {
            let (found, wanted) = (self.tensor.dtype().name(), self.declared.dtype.name());
            return Err(self.fault(Code::InputType, format!("input `{}` is `{found}`, not `{wanted}`", self.name)));
        }
        self.check_rank()
    }

    fn check_rank(&self) -> Result<(), Diagnostic> {
        if self.tensor.shape().len() != self.declared.rank() {
            let shape = self.tensor.shape();
            let message =
                format!("input `{}` has {} dimensions {shape:?}, not {}", self.name, shape.len(), self.declared.rank());
            return Err(self.fault(Code::InputShape, message));
        }
        Ok(())
    }

    /// Dimensions of the declaration with the sizes found.
    fn axes(&self) -> impl Iterator<Item = (&Dim, u64)> {
        self.declared.shape.iter().zip(self.tensor.shape().iter().map(|s| *s as u64))
    }

    fn check_shape(&self, sizes: &Sizes) -> Result<(), Diagnostic> {
        for (axis, (dim, found)) in self.axes().enumerate() {
            let wanted = dim.eval(sizes).map_err(|e| size_fault(e).at(self.span))?;
            if wanted != found {
                let message = match dim.as_constant() {
                    Some(_) => format!("axis {axis} of input `{}` has size {found}, not {wanted}", self.name),
                    None => format!("axis {axis} of input `{}` has size {found}, but `{dim}` = {wanted}", self.name),
                };
                return Err(self.fault(Code::InputShape, message));
            }
        }
        Ok(())
    }

    fn check_codes(&self) -> Result<(), Diagnostic> {
        self.tensor.check_codes().map_err(|d| {
            let message = format!("input `{}`: {}", self.name, d.message);
            Diagnostic { message, ..d }.at(self.span)
        })
    }

    /// Scales multiply every product of a row, so one that is not finite is refused, not computed
    /// with. Integer zero points are always finite.
    fn check_finite(&self) -> Result<(), Diagnostic> {
        if self.role == Role::Tensor {
            return Ok(());
        }
        self.tensor.first_not_finite().map_or(Ok(()), |i| {
            let message = format!("element {i} of `{}` is {}", self.name, self.tensor.value(i));
            let fault = Diagnostic::new(Code::ScaleNotFinite, message).at(self.span);
            Err(fault.help("scales and zero points must be finite"))
        })
    }

    fn fault(&self, code: Code, message: String) -> Diagnostic {
        Diagnostic::new(code, message).at(self.span).help(format!("`{}` is declared `{}`", self.name, self.declared))
    }
}

/// Sizes of the dimension names, from wherever one stands alone.
fn bind_names(pieces: &[Piece<'_>], given: &Sizes) -> Result<Sizes, Diagnostic> {
    let mut sizes = given.clone();
    let mut origins: BTreeMap<Arc<str>, &str> = BTreeMap::new();
    for piece in pieces {
        for (dim, found) in piece.axes() {
            let Some(name) = dim.as_name().map(Arc::<str>::from) else { continue };
            let known = *sizes.entry(name.clone()).or_insert(found);
            if known == found {
                origins.entry(name).or_insert(&piece.name);
                continue;
            }
            let before = match origins.get(&name) {
                Some(origin) => format!("{known} in `{origin}`"),
                None => format!("given as {known}"),
            };
            let message = format!("`{name}` is {before} but {found} in `{}`", piece.name);
            return Err(Diagnostic::new(Code::DimensionConflict, message)
                .at(piece.span)
                .help("equal names are equal sizes: change one of the two, or its declaration"));
        }
    }
    Ok(sizes)
}

/// Sizes of a type under `sizes`.
///
/// # Errors
/// If a dimension has no size, or one out of range.
pub fn shape_under(shape: &[Dim], sizes: &Sizes) -> Result<Vec<usize>, Diagnostic> {
    let sizes = shape.iter().map(|d| {
        let size = d.eval(sizes).map_err(size_fault)?;
        usize::try_from(size).map_err(|_| size_fault(DimError::OutOfRange(d.clone())))
    });
    sizes.collect()
}

fn check_node(kernel: &Kernel, node: &Node, sizes: &Sizes) -> Result<(), Diagnostic> {
    for ty in &node.types {
        let shape = shape_under(ty.shape(), sizes)?;
        // Axes of size 0 aside, so that no product of some of the sizes overflows either.
        let count = shape.iter().try_fold(1u64, |n, s| n.checked_mul((*s).max(1) as u64));
        if count.is_none_or(|n| n > MAX_ELEMENTS) {
            let message = format!("`{ty}` would have shape {shape:?}, beyond 2^40 elements");
            return Err(Diagnostic::new(Code::TooLarge, message).help("choose smaller sizes"));
        }
    }
    for dim in node.op.dims() {
        dim.eval(sizes).map_err(size_fault)?;
    }
    if let Op::Slice { axis, start, stop } = &node.op {
        let whole = &kernel.ty(node.operands[0]).shape()[*axis];
        let size = |d: &Dim| d.eval(sizes).map_err(size_fault);
        let (from, to, end) = (size(start)?, size(stop)?, size(whole)?);
        if from > to || to > end {
            let message =
                format!("`slice` from `{start}` = {from} to `{stop}` = {to} does not lie in `{whole}` = {end}");
            return Err(Diagnostic::new(Code::BadSlice, message).help("0 <= start <= stop <= size"));
        }
    }
    Ok(())
}

/// Why a dimension expression has no size, as a diagnostic without a place.
pub fn size_fault(error: DimError) -> Diagnostic {
    let (code, help) = match &error {
        DimError::Unset(_) => (Code::DimensionUnset, "give its size, or an input that has it"),
        DimError::Indivisible(..) => (Code::Indivisible, "choose a size that is a multiple"),
        DimError::OutOfRange(_) => (Code::DimensionRange, "sizes lie between 0 and 2^48"),
    };
    Diagnostic::new(code, error.to_string()).help(help)
}

#[cfg(test)]
mod tests;
