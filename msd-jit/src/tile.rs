//! The tile contract: what the innermost product function is given and gives back, whatever
//! emitter wrote it. Loop nests, packing and epilogues know tiles only through this page, so
//! wider machine-code tiles can stand beside the Cranelift ones.
//!
//! *Row tile* `(w, w_stride, x, x_stride, k, c)`: adds the exact integers
//! `c[r][v] += sum_k x[r][k] * w[v][k]` for `r < rows`, `v < channels` (4, or 1 at the
//! edge), to I64 `c`, row-major `[rows][channels]`. A narrow one stores the sums, to I32 `c`.
//! Rows of `w` are bytes, those of `x` bytes or words of 16 bits; strides count bytes. Nothing beyond
//! `k` elements of a row is read.
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

/// How a row tile reads an element of 4 or 8 bits, which takes a byte, or of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    Signed,
    Unsigned,
    /// 16 bits, signed; `x` alone.
    Word,
}

impl Element {
    fn of(dtype: DType) -> Element {
        match dtype {
            DType::I16 => Element::Word,
            DType::I8 | DType::I4 => Element::Signed,
            _ => Element::Unsigned,
        }
    }
}

/// How a row tile reads its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowForm {
    pub(crate) dot: DotForm,
    pub(crate) x: Element,
    pub(crate) w: Element,
    /// Signed weights stored with 128 added (packed), ready for unsigned-times-signed products.
    pub(crate) stored_offset: bool,
}

impl RowForm {
    /// The form for rows of `x` and `w`; `packed` rows may be stored in whatever way suits.
    pub(crate) fn choose(host: DotForm, x: DType, w: DType, packed: bool) -> RowForm {
        // An unsigned code of 4 bits is the same number as a signed byte.
        let is_signed_byte = |d: DType| matches!(d, DType::I8 | DType::I4 | DType::U4);
        let is_unsigned = |d: DType| matches!(d, DType::U8 | DType::U4);
        let form = |dot, x, w| RowForm { dot, x, w, stored_offset: false };
        match host {
            DotForm::UnsignedBytes if is_signed_byte(x) && is_unsigned(w) => {
                form(host, Element::Signed, Element::Unsigned)
            }
            DotForm::UnsignedBytes if is_signed_byte(x) => {
                RowForm { stored_offset: packed, ..form(host, Element::Signed, Element::Signed) }
            }
            DotForm::UnsignedBytes if is_unsigned(x) && is_signed_byte(w) => {
                form(host, Element::Unsigned, Element::Signed)
            }
            DotForm::SignedBytes if is_signed_byte(x) && is_signed_byte(w) => {
                form(host, Element::Signed, Element::Signed)
            }
            _ => form(DotForm::Pairs, Element::of(x), Element::of(w)),
        }
    }

    /// Whether products are taken with `w + 128`, which the digit sum of the row puts right.
    pub(crate) fn is_offset(&self) -> bool {
        self.dot == DotForm::UnsignedBytes && self.x == Element::Signed && self.w == Element::Signed
    }

    /// Most products per call that an I32 is sure to hold, all lanes together: of bytes 255 * 255 each,
    /// of words 2^15 * 255.
    pub(crate) fn max_k(&self) -> u64 {
        if self.x == Element::Word { 1 << 8 } else { 1 << 15 }
    }

    /// Bytes of an element of `x`.
    pub(crate) fn x_bytes(&self) -> i64 {
        if self.x == Element::Word { 2 } else { 1 }
    }
}

/// A row tile to be emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowTile {
    pub(crate) rows: usize,
    pub(crate) form: RowForm,
    pub(crate) is_narrow: bool,
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
