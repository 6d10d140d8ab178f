//! How operands lie in panels of 16 channels, and how far apart: the layouts of the tile contract
//! ([`crate::tile`]) as sizes. Moving the bytes is [`crate::pack`]'s for what callers give, and a stage's
//! for what a kernel computes.

use msd_ir::diag::Diagnostic;
use msd_ir::dim::Dim;
use msd_ir::dtype::DType;

use super::{View, too_complex};
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
        let unit = Dim::constant(self.unit().0);
        match self {
            Layout::Columns { .. } => k.mul(&unit),
            Layout::Quads { group: Some(size), .. } => {
                let per_group = Dim::constant(size.div_ceil(QUAD as u64)).mul(&unit)?;
                k.div(&Dim::constant(*size))?.mul(&per_group)
            }
            Layout::Quads { group: None, .. } => match k.as_constant() {
                Some(k) => Dim::constant(k.div_ceil(QUAD as u64)).mul(&unit),
                // A ceiling is no polynomial: room for one unit more.
                None => k.add(&Dim::constant(QUAD as u64 - 1))?.mul(&Dim::constant(PANEL as u64)),
            },
        }
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
