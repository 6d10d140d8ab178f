//! Declared types: element types, shorthands, shapes, scales. Owns which dimension names exist;
//! arithmetic over them is `msd_ir::dim`'s, alignment of scales `msd_ir::types`'s.

use std::sync::Arc;

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dim::{Dim, MAX_SIZE};
use msd_ir::dtype::DType;
use msd_ir::quant::format::BlockFormat;
use msd_ir::span::Span;
use msd_ir::types::{QuantType, Shape, TensorType, Type};

use super::Lower;
use crate::ast::{ExprId, ExprKind, Name, TensorExpr, TypeExpr};
use crate::nearest::suggestion;

impl<'a> Lower<'a, '_> {
    /// Collects the names that stand alone as a dimension of a parameter or of its parts.
    pub(super) fn declare_dimensions<'t>(&mut self, params: impl Iterator<Item = &'t TypeExpr<'a>>)
    where
        'a: 't,
    {
        for ty in params {
            let parts = ty.parts.iter().map(|(_, tensor)| tensor);
            for dim in std::iter::once(&ty.tensor).chain(parts).flat_map(|t| &t.dims) {
                if let ExprKind::Name(name) = self.arena.get(*dim).kind
                    && is_dimension_name(name)
                {
                    self.dimensions.insert(name);
                }
            }
        }
    }

    pub(super) fn param_type(&mut self, ty: &TypeExpr<'a>) -> Option<Type> {
        let (scale, zero) = self.parts(ty)?;
        if let Some(format) = BlockFormat::from_name(ty.tensor.dtype.text) {
            let shape = self.shape(&ty.tensor.dims)?;
            if let Some(part) = scale.or(zero) {
                let message = format!("`{}` has its scale already", format.name);
                let fault = Diagnostic::new(Code::ScaleUnexpected, message).at(part.span);
                self.report(
                    fault.help(format!("write the codes as `{}` to give them another scale", format.codes.name())),
                );
                return None;
            }
            return self.block_format(ty, format, shape);
        }
        let codes = self.tensor_type(&ty.tensor);
        let scale_ty = scale.map(|s| self.tensor_type(s));
        let zero_ty = zero.map(|z| self.tensor_type(z));
        let codes = codes?;
        let Some(scale) = scale else { return Some(Type::Tensor(codes)) };
        let scale_ty = scale_ty??;
        let quant = QuantType::new(codes.clone(), scale_ty.clone(), None).map_err(|fault| {
            let at_codes = fault.code == Code::ScaleUnexpected;
            fault.at(if at_codes { ty.tensor.span } else { scale.span })
        });
        let quant = self.accept(quant)?;
        let Some(zero) = zero else { return Some(Type::Quant(Arc::new(quant))) };
        let quant = QuantType::new(codes, scale_ty, Some(zero_ty??)).map_err(|fault| fault.at(zero.span));
        Some(Type::Quant(Arc::new(self.accept(quant)?)))
    }

    fn block_format(&mut self, ty: &TypeExpr<'a>, format: BlockFormat, shape: Shape) -> Option<Type> {
        let Some(last) = shape.last().cloned() else {
            let message = format!("`{}` needs a dimension to lay its blocks along", format.name);
            let fault = Diagnostic::new(Code::RankTooLow, message).at(ty.tensor.span);
            self.report(fault.help(format!("write `{}[N, K]`", format.name)));
            return None;
        };
        let mut scale = shape.clone();
        let blocks = self.quotient(&last, &Dim::constant(format.block), ty.tensor.span)?;
        let axis = scale.len() - 1;
        scale[axis] = blocks;
        let quant = QuantType::new(TensorType::new(format.codes, shape), TensorType::new(format.scale, scale), None);
        let quant = self.accept(quant.map_err(|fault| fault.at(ty.span)))?;
        Some(Type::Quant(Arc::new(quant)))
    }

    pub(super) fn result_type(&mut self, ty: &TypeExpr<'a>) -> Option<TensorType> {
        let is_block = BlockFormat::from_name(ty.tensor.dtype.text).is_some();
        if is_block || !ty.parts.is_empty() {
            let message = "a result is a plain tensor and carries no scale";
            let span = if is_block { ty.tensor.dtype.span } else { ty.span };
            self.report(Diagnostic::new(Code::ScaleUnexpected, message).at(span).help("return floats or integers"));
            return None;
        }
        self.tensor_type(&ty.tensor)
    }

    /// The scale and the zero point of a type.
    #[allow(clippy::type_complexity, reason = "two optional parts, named where they are bound")]
    fn parts<'t>(&mut self, ty: &'t TypeExpr<'a>) -> Option<(Option<&'t TensorExpr<'a>>, Option<&'t TensorExpr<'a>>)> {
        let (mut scale, mut zero) = (None, None);
        for (word, tensor) in &ty.parts {
            let fault = match word.text {
                "scale" if scale.is_none() && zero.is_none() => {
                    scale = Some(tensor);
                    continue;
                }
                "zero" if scale.is_some() && zero.is_none() => {
                    zero = Some(tensor);
                    continue;
                }
                "zero" if zero.is_none() => {
                    let fault = Diagnostic::new(Code::ScaleUnexpected, "a zero point without a scale");
                    fault.help("put the scale first: `u4[N, K] scale f16[N] zero u4[N]`")
                }
                "scale" | "zero" => {
                    let message =
                        format!("a type has one `scale`, then perhaps one `zero`; this `{}` is too many", word.text);
                    Diagnostic::new(Code::ScaleUnexpected, message).help("remove it")
                }
                other => {
                    let message = format!("expected `scale`, `zero` or the end of the type, found `{other}`");
                    let help = suggestion(other, ["scale", "zero"], "parameters are separated by `,`");
                    Diagnostic::new(Code::UnexpectedToken, message).help(help)
                }
            };
            self.report(fault.at(word.span));
            return None;
        }
        Some((scale, zero))
    }

    fn tensor_type(&mut self, tensor: &TensorExpr<'a>) -> Option<TensorType> {
        let dtype = self.declared_dtype(tensor.dtype);
        let shape = self.shape(&tensor.dims);
        Some(TensorType::new(dtype?, shape?))
    }

    fn declared_dtype(&mut self, name: Name<'a>) -> Option<DType> {
        let dtype = DType::from_name(name.text);
        if let Some(dtype) = dtype.filter(|d| d.is_declarable()) {
            return Some(dtype);
        }
        let fault = if dtype.is_some() {
            let message = format!("`{}` is an accumulator and cannot be declared", name.text);
            Diagnostic::new(Code::UnknownType, message)
                .help(format!("it lives inside kernels only, as in `cast(x, {})`", name.text))
        } else if BlockFormat::from_name(name.text).is_some() {
            let message = format!("`{}` has a scale of its own and stands for a whole parameter", name.text);
            Diagnostic::new(Code::UnknownType, message).help("scales and zero points are plain tensors")
        } else {
            unknown_dtype(name.text)
        };
        self.report(fault.at(name.span));
        None
    }

    pub(super) fn shape(&mut self, dims: &[ExprId]) -> Option<Shape> {
        let dims: Vec<Option<Dim>> = dims.iter().map(|d| self.dim(*d)).collect();
        dims.into_iter().collect()
    }

    /// The size an expression stands for.
    pub(super) fn dim(&mut self, root: ExprId) -> Option<Dim> {
        let arena = self.arena;
        let first = arena.get(root).first;
        let mut needed = vec![false; root + 1 - first];
        needed[root - first] = true;
        for id in (first..=root).rev() {
            if let (true, ExprKind::Infix { left, right, op: "+" | "-" | "*" | "/" }) =
                (needed[id - first], &arena.get(id).kind)
            {
                needed[left - first] = true;
                needed[right - first] = true;
            }
        }
        let mut dims: Vec<Option<Dim>> = vec![None; needed.len()];
        for id in (first..=root).filter(|id| needed[id - first]) {
            let expr = arena.get(id);
            dims[id - first] = match &expr.kind {
                ExprKind::Name(name) => self.dimension_name(name, expr.span),
                ExprKind::Number(text) => self.dimension_number(text, expr.span),
                ExprKind::Infix { op: op @ ("+" | "-" | "*" | "/"), left, right } => {
                    let operands = dims[left - first].take().zip(dims[right - first].take());
                    operands.and_then(|(a, b)| self.dim_infix(op, &a, &b, expr.span))
                }
                ExprKind::Fault => None,
                _ => {
                    let fault = Diagnostic::new(Code::BadArgument, "this is no size").at(expr.span);
                    self.report(fault.help("a size is made of dimension names, integers and `+ - * /`"));
                    None
                }
            };
        }
        dims.pop().flatten()
    }

    fn dimension_name(&mut self, name: &'a str, span: Span) -> Option<Dim> {
        if self.dimensions.contains(name) {
            return Some(Dim::name(name));
        }
        let fault = if !is_dimension_name(name) {
            let capital: String =
                name.chars().take(1).flat_map(char::to_uppercase).chain(name.chars().skip(1)).collect();
            Diagnostic::new(Code::UnknownName, format!("`{name}` is no dimension name"))
                .help(format!("dimension names begin with a capital letter: `{capital}`"))
        } else if self.lost.contains(name) {
            return None;
        } else {
            let help = suggestion(
                name,
                self.dimensions.iter().copied(),
                format!("let `{name}` stand alone as a dimension of some parameter"),
            );
            Diagnostic::new(Code::UnknownDimension, format!("no parameter fixes the dimension `{name}`")).help(help)
        };
        self.report(fault.at(span));
        None
    }

    fn dimension_number(&mut self, text: &str, span: Span) -> Option<Dim> {
        let is_integer = text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u64>() {
            Ok(size) if is_integer && size <= MAX_SIZE => Some(Dim::constant(size)),
            _ if is_integer => {
                let fault = Diagnostic::new(Code::InvalidNumber, format!("`{text}` is larger than 2^48")).at(span);
                self.report(fault.help("sizes lie between 0 and 2^48"));
                None
            }
            _ => {
                let fault = Diagnostic::new(Code::BadArgument, format!("`{text}` is no size")).at(span);
                self.report(fault.help("sizes are integers"));
                None
            }
        }
    }

    fn dim_infix(&mut self, op: &str, a: &Dim, b: &Dim, span: Span) -> Option<Dim> {
        let result = match op {
            "+" => a.add(b),
            "-" => a.sub(b),
            "*" => a.mul(b),
            _ => return self.quotient(a, b, span),
        };
        let Some(result) = result else { return self.too_complex(span) };
        let is_number = result.names().is_empty();
        if is_number && result.as_constant().is_none_or(|n| n > MAX_SIZE) {
            let message = format!("`{a} {op} {b}` is no size");
            self.report(Diagnostic::new(Code::DimensionRange, message).at(span).help("sizes lie between 0 and 2^48"));
            return None;
        }
        Some(result)
    }

    fn quotient(&mut self, a: &Dim, b: &Dim, span: Span) -> Option<Dim> {
        let divides = match (a.as_constant(), b.as_constant()) {
            (_, Some(0)) => false,
            (Some(x), Some(y)) => x % y == 0,
            _ => true,
        };
        if !divides {
            let fault = Diagnostic::new(Code::Indivisible, format!("`{a}` is not divisible by `{b}`")).at(span);
            self.report(fault.help("a quotient must divide without remainder"));
            return None;
        }
        match self.builder.quotient(a, b) {
            Some(quotient) => Some(quotient),
            None => self.too_complex(span),
        }
    }

    fn too_complex(&mut self, span: Span) -> Option<Dim> {
        let fault = Diagnostic::new(Code::DimensionTooComplex, "this size is too complex").at(span);
        self.report(fault.help("give the intermediate size a name of its own"));
        None
    }
}

fn is_dimension_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
}

/// An element type nobody knows; the place is the caller's.
pub(super) fn unknown_dtype(name: &str) -> Diagnostic {
    let names = DType::ALL.iter().filter(|d| d.is_declarable()).map(|d| d.name());
    let names = names.chain(BlockFormat::ALL.map(|format| format.name));
    let all = format!("element types are {}", names.clone().collect::<Vec<_>>().join(" "));
    Diagnostic::new(Code::UnknownType, format!("there is no element type `{name}`")).help(suggestion(name, names, all))
}
