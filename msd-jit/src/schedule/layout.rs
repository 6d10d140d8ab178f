//! How operands lie, weights in panels of 16 channels and rows in blocks of tokens, and how far apart: the
//! layouts of the tile contract ([`crate::tile`]) as sizes. Moving the bytes is [`crate::pack`]'s for what callers
//! give, and a stage's for what a kernel computes.

use msd_ir::diag::Diagnostic;
use msd_ir::dim::Dim;
use msd_ir::dtype::DType;

use super::{Term, View, product, too_complex};
use crate::blocking::{Limits, TileTokens, k_block};
use crate::tile::{PANEL, QUAD};

/// How a matrix operand `b[batch, k, n]` is laid out for its tile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Layout {
    /// `[ceil(n / 16)][units][16][4]` bytes, a unit being four neighbours along `k` or the last few of a
    /// group; zero bytes past the end. Floats of 4 bits are integers in steps of their type.
    Quads {
        /// Whether the sign bit of each code is flipped.
        flip: bool,
        /// Length of the groups of `k`, where those are no whole units.
        group: Option<u64>,
    },
    /// `[ceil(n / 16)][k][16]` elements of that type, zeros past the last channel.
    Columns { stored: DType },
}

impl Layout {
    /// The layout of integers multiplied along `k`, whole or in groups of that length.
    pub(crate) fn quads(flip: bool, group: Option<u64>) -> Layout {
        Layout::Quads { flip, group: group.filter(|size| size % QUAD as u64 != 0) }
    }

    /// The layout of floats or integers of a type, small floats as the BF16 they equal, which one
    /// shift makes an F32.
    pub(crate) fn columns(dtype: DType) -> Layout {
        Layout::Columns { stored: if dtype.minifloat().is_some() { DType::BF16 } else { dtype } }
    }

    /// What elements become in it.
    pub(crate) fn stored(&self, dtype: DType) -> DType {
        match self {
            Layout::Quads { flip, .. } => {
                let is_signed = !matches!(dtype, DType::U8 | DType::U4);
                if is_signed != *flip { DType::I8 } else { DType::U8 }
            }
            Layout::Columns { stored } => *stored,
        }
    }

    /// Elements of a unit, and elements along `k` that it covers.
    pub(crate) fn unit(&self) -> (u64, u64) {
        match self {
            Layout::Quads { .. } => ((PANEL * QUAD) as u64, QUAD as u64),
            Layout::Columns { .. } => (PANEL as u64, 1),
        }
    }

    /// Elements from panel to panel.
    fn panel(&self, k: &Dim) -> Option<Dim> {
        let group = match self {
            Layout::Columns { .. } => None,
            Layout::Quads { group, .. } => *group,
        };
        padded(k, self.unit().1, group)?.mul(&Dim::constant(PANEL as u64))
    }

    /// The packed form of `source [.., k, n]`: `[.., n, k]`, the strides of the last two axes being those
    /// from panel to panel and from unit to unit; and how many elements it has at most.
    pub(crate) fn packed(&self, source: &View, memory: usize) -> Result<(View, Dim), Diagnostic> {
        let (k, n) = (source.size_from_end(1), source.size_from_end(0));
        let batch = &source.shape[..source.shape.len() - 2];
        let sizes = || {
            let panel = self.panel(&k)?;
            let matrix = match n.as_constant() {
                Some(n) => panel.mul(&Dim::constant(n.div_ceil(PANEL as u64)))?,
                None => n.add(&Dim::constant(PANEL as u64 - 1))?.mul(&panel.div(&Dim::constant(PANEL as u64))?)?,
            };
            let mut strides = vec![panel, Dim::constant(self.unit().0)];
            let mut step = matrix;
            for size in batch.iter().rev() {
                strides.insert(0, step.clone());
                step = step.mul(size)?;
            }
            Some((strides, step))
        };
        let (strides, elements) = sizes().ok_or_else(too_complex)?;
        let shape = batch.iter().chain([&n, &k]).cloned().collect();
        let dtype = self.stored(source.dtype);
        Ok((View { memory, dtype, shape, strides, offset: Dim::constant(0) }, elements))
    }
}

/// How rows `x[batch, digits * tokens, k]` are laid out for their tiles: `k` in blocks, of each of these tokens in
/// blocks, the larger ones first ([`crate::blocking::TileTokens`]), and of each of those `[units][digits][tokens]`, a
/// unit being so many neighbours along `k`, or the last few of a group and zeros up to a multiple of four. What is
/// multiplied with one block of the weights thus lies in one piece: apart, pieces may get in each other's way in caches
/// that know few places for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowLayout {
    /// Type of the elements.
    pub(crate) stored: DType,
    pub(crate) digits: u64,
    /// Most tokens of a block.
    pub(crate) tokens: TileTokens,
    /// Neighbours of a unit.
    pub(crate) depth: u64,
    /// Length of the groups of `k`, where those are no whole units.
    pub(crate) group: Option<u64>,
    /// Elements of a block of `k`: whole units or groups, as are those of its parts ([`TileTokens::k_parts`]).
    pub(crate) block: u64,
}

impl RowLayout {
    /// The layout of the rows of a product's term number `index`.
    pub(crate) fn of(term: &Term, limits: &Limits, index: usize) -> RowLayout {
        let depth = limits.emitter(index).row_depth(&term.operands) as u64;
        let per_count = term.groups.as_ref().map_or(term.operands.unit_depth() as u64, |g| g.size);
        let group = term.groups.as_ref().map(|g| g.size).filter(|size| size % depth != 0);
        let block = k_block(term) * per_count;
        let (tokens, digits) = (limits.tokens(), term.digits() as u64);
        RowLayout { stored: term.operands.x_dtype(), digits, tokens, depth, group, block }
    }

    /// The packed form of `source [.., digits * tokens, k]`: `[.., tokens, n]`, a token's elements being as many as
    /// if they were neighbours (they are not: the stride of a batch alone means anything); and how many it has in all.
    pub(crate) fn packed(&self, source: &View, memory: usize) -> Result<(View, Dim), Diagnostic> {
        let (k, rows) = (source.size_from_end(0), source.size_from_end(1));
        let shape = || {
            let token = padded(&k, self.depth, self.group)?.mul(&Dim::constant(self.digits))?;
            let tokens = rows.div(&Dim::constant(self.digits))?;
            let batch = &source.shape[..source.shape.len() - 2];
            Some(batch.iter().cloned().chain([tokens, token]).collect::<Vec<_>>())
        };
        let shape = shape().ok_or_else(too_complex)?;
        let elements = product(&shape)?;
        Ok((View::dense(memory, self.stored, shape).ok_or_else(too_complex)?, elements))
    }
}

/// `k` elements, each of their groups rounded up to whole units.
fn padded(k: &Dim, depth: u64, group: Option<u64>) -> Option<Dim> {
    let whole = |size: u64| size.div_ceil(depth) * depth;
    match (group, k.as_constant()) {
        (Some(size), _) => k.div(&Dim::constant(size))?.mul(&Dim::constant(whole(size))),
        (None, Some(k)) => Some(Dim::constant(whole(k))),
        // A ceiling is no polynomial: room for one unit more.
        (None, None) => k.add(&Dim::constant(depth - 1)),
    }
}
