//! The tile contract: what the innermost product function is given and gives back, whatever
//! emitter wrote it. Loop nests, packing and epilogues know tiles only through this page, so
//! wider machine-code tiles can stand beside the Cranelift ones.
//!
//! *Row tile* `(w, w_stride, x, x_stride, k, c)`: adds the exact integers
//! `c[r][v] += sum_k x[r][k] * w[v][k]` for `r < rows`, `v < channels` (4, or 1 at the
//! edge), to I64 `c`, row-major `[rows][channels]`.
//! Rows of `x` and `w` are bytes, `stride` bytes apart. Nothing beyond `k` bytes of a row is read.
//!
//! *Panel tile* `(panel, a, a_stride, k, c, c_stride)`: stores `c[r][j] = sum_k a[r][k] * panel[k][j]`
//! for `r < rows`, `j < 24`: floats with one fused multiply-add per step, `k` ascending from 0, or
//! integers modulo 2^32 (2^64). `a` and `c` are of the type computed in; strides count bytes.

use msd_ir::dtype::DType;

use crate::isa::DotForm;

/// Weight rows (output channels) per row tile: four streams keep the memory busy at one token.
pub(crate) const CHANNELS: usize = 4;

/// Output channels per panel: six vectors, so that two rows of accumulators fit 16 registers.
pub(crate) const PANEL: usize = 24;

/// How a row tile reads its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowForm {
    pub(crate) dot: DotForm,
    pub(crate) x_signed: bool,
    pub(crate) w_signed: bool,
    /// Signed weights stored with 128 added (packed), ready for unsigned-times-signed products.
    pub(crate) stored_offset: bool,
}

impl RowForm {
    /// The form for rows of `x` and `w`; `packed` rows may be stored in whatever way suits.
    pub(crate) fn choose(host: DotForm, x: DType, w: DType, packed: bool) -> RowForm {
        let signed = |d: DType| matches!(d, DType::I8 | DType::I4);
        let (x_signed, w_signed) = (signed(x), signed(w));
        let fits = match host {
            DotForm::UnsignedBytes => x_signed,
            DotForm::SignedBytes => x_signed && w_signed,
            DotForm::Pairs => true,
        };
        let dot = if fits { host } else { DotForm::Pairs };
        let stored_offset = packed && dot == DotForm::UnsignedBytes && w_signed;
        RowForm { dot, x_signed, w_signed, stored_offset }
    }

    /// Whether products are taken with `w + 128`, which the digit sum of the row puts right.
    pub(crate) fn is_offset(&self) -> bool {
        self.dot == DotForm::UnsignedBytes && self.w_signed
    }
}

/// A row tile to be emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowTile {
    pub(crate) rows: usize,
    pub(crate) form: RowForm,
}

/// A panel tile to be emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PanelTile {
    pub(crate) rows: usize,
    /// Element type of the panel.
    pub(crate) panel: DType,
    /// F32, F64, I32 or I64.
    pub(crate) compute: DType,
}

/// Arguments of either tile function.
pub(crate) const TILE_ARGUMENTS: usize = 6;

/// Most products per call that an I32 lane is sure to hold: 255 * 128 * 4 per step of 16 bytes.
pub(crate) const MAX_K: u64 = 1 << 15;
