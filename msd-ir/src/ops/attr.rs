//! Attribute arguments of ops: their kinds, their text, and the fields they become.

use std::fmt;

use crate::dim::Dim;
use crate::dtype::DType;
use crate::quant::scheme::Scheme;
use crate::types::{Shape, shape_text};

/// Kinds of attribute arguments, as written after the operands of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    /// An element type.
    DType(DType),
    /// An axis, possibly counted from the end.
    Axis(i64),
    /// `[0, 2, 1]`
    Axes(Vec<i64>),
    /// A size.
    Dim(Dim),
    /// `[M, N]`
    Dims(Shape),
    /// A decomposition scheme in quotes.
    Scheme(Scheme),
}

/// What an attribute argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttrKind {
    /// An element type.
    DType,
    /// An integer, negative to count from the end.
    Axis,
    /// A list of integers.
    Axes,
    /// A dimension expression.
    Dim,
    /// A list of dimension expressions.
    Dims,
    /// A quoted scheme name.
    Scheme,
}

impl AttrKind {
    /// The kind in words.
    pub fn describe(self) -> &'static str {
        match self {
            AttrKind::DType => "an element type such as `f32`",
            AttrKind::Axis => "an axis number",
            AttrKind::Axes => "a list of axes such as `[1, 0]`",
            AttrKind::Dim => "a size such as `K/2`",
            AttrKind::Dims => "a shape such as `[M, N]`",
            AttrKind::Scheme => "a scheme name in quotes",
        }
    }
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attr::DType(d) => f.write_str(d.name()),
            Attr::Axis(a) => write!(f, "{a}"),
            Attr::Axes(a) => write!(f, "{a:?}"),
            Attr::Dim(d) => write!(f, "{d}"),
            Attr::Dims(s) => f.write_str(&shape_text(s)),
            Attr::Scheme(s) => write!(f, "\"{}\"", s.name()),
        }
    }
}

/// A Rust type that can stand in an op's fields.
pub(super) trait Field: Sized {
    const KIND: AttrKind;
    /// `rank` is the first operand's, for axes counted from the end.
    fn from_attr(attr: &Attr, rank: usize) -> Option<Self>;
    fn to_attr(&self) -> Attr;
}

impl Field for DType {
    const KIND: AttrKind = AttrKind::DType;
    fn from_attr(attr: &Attr, _: usize) -> Option<Self> {
        if let Attr::DType(d) = attr { Some(*d) } else { None }
    }
    fn to_attr(&self) -> Attr {
        Attr::DType(*self)
    }
}

impl Field for usize {
    const KIND: AttrKind = AttrKind::Axis;
    fn from_attr(attr: &Attr, rank: usize) -> Option<Self> {
        if let Attr::Axis(a) = attr { from_end(*a, rank) } else { None }
    }
    fn to_attr(&self) -> Attr {
        Attr::Axis(*self as i64)
    }
}

impl Field for Vec<usize> {
    const KIND: AttrKind = AttrKind::Axes;
    fn from_attr(attr: &Attr, rank: usize) -> Option<Self> {
        if let Attr::Axes(a) = attr { a.iter().map(|a| from_end(*a, rank)).collect() } else { None }
    }
    fn to_attr(&self) -> Attr {
        Attr::Axes(self.iter().map(|a| *a as i64).collect())
    }
}

impl Field for Dim {
    const KIND: AttrKind = AttrKind::Dim;
    fn from_attr(attr: &Attr, _: usize) -> Option<Self> {
        if let Attr::Dim(d) = attr { Some(d.clone()) } else { None }
    }
    fn to_attr(&self) -> Attr {
        Attr::Dim(self.clone())
    }
}

impl Field for Shape {
    const KIND: AttrKind = AttrKind::Dims;
    fn from_attr(attr: &Attr, _: usize) -> Option<Self> {
        if let Attr::Dims(s) = attr { Some(s.clone()) } else { None }
    }
    fn to_attr(&self) -> Attr {
        Attr::Dims(self.clone())
    }
}

impl Field for Scheme {
    const KIND: AttrKind = AttrKind::Scheme;
    fn from_attr(attr: &Attr, _: usize) -> Option<Self> {
        if let Attr::Scheme(s) = attr { Some(*s) } else { None }
    }
    fn to_attr(&self) -> Attr {
        Attr::Scheme(*self)
    }
}

/// An axis counted from either end; out-of-range ones are left to the shape rule to report.
fn from_end(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis.checked_add(rank as i64)? } else { axis };
    Some(usize::try_from(axis).unwrap_or(usize::MAX))
}
