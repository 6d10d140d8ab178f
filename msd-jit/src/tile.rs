//! The tile contract: what the innermost product function is given and gives back, whatever emitter
//! wrote it ([`crate::micro`]). Loop nests, packing and epilogues know tiles only through this page.
//!
//! A tile multiplies the digit rows of a few tokens with a few *panels* of 16 output channels.
//! Both are packed ([`crate::schedule::Layout`], [`crate::schedule::RowLayout`]), so that each is read from
//! one place on: panels of integers as `[units][16][4]` bytes, a unit being four neighbours along K, and of
//! floats as `[units][16]`, a unit being one; rows as `[units][digits][tokens]` of as many elements, which of
//! integers are bytes or words. Past the end of a row or of a group there are zeros to the end of the unit. Products
//! with matrix registers have each row's units in sixteens, `[units/16][digits][tokens][16]`
//! ([`crate::micro::Emitter::row_depth`]), of which the last may be filled in part: those of all their tiles.
//!
//! A tile takes one argument, the address of a [`Call`] table. With `acc[d][j][p][n]` the sums over
//! the units of the call, exact modulo 2^32 or, of floats, with one fused multiply-add per `k`,
//! ascending:
//!
//! * [`Sum::Whole`]: `C[d][j][p][n]`, whose rows `[d][j]` are [`C_ROW`] elements apart, becomes `acc`, having
//!   begun at what `C` held, or with `FIRST` at 0 or at `START[d][j]`. Of a tile that merges, `LAST` leaves F32 in
//!   place of the first digit's sums: those of all digits, weighted and added, rounded once.
//! * [`Sum::Wide`]: the same in I64, each call's sums being added. `START` is not looked at.
//! * [`Sum::Groups`]: `K` counts groups of as many units as the tile was made for, whose sums
//!   (beginning at 0 or `START[group][d][j]`) are merged and added up in floats,
//!   `C[j][p][n] += merged * (SCALE[p][group][n] * UNIT[group][j])`, groups ascending, from 0 with `FIRST`.
//!   With a zero point `ZERO[p][group][n] * ROWS[group][j]` is taken off the merged sum first.
//!
//! With [`Tile::finish`], `LAST` leaves in `C` nothing to be read, but stores elements of the result:
//! `OUT[j][p][n]`, tokens `OUT_TOKEN` bytes apart and channels side by side, is what the merged or added up sums
//! are after the steps. Machine code alone does that; what it must equal is the loop of [`crate::lower::product`]
//! behind tiles that do not.
//!
//! Pointers in the table are the tile's to move on. `AHEAD` is where memory is read next: a tile may fetch from
//! there, at the distances of the panels, `AHEAD_STEP` bytes for every 64 bytes of a panel. Any address is good.

use msd_ir::dtype::DType;

use crate::isa::DotForm;

/// Output channels per panel.
pub(crate) const PANEL: usize = 16;

/// Neighbours along K in a unit of an integer panel.
pub(crate) const QUAD: usize = 4;

/// Rows of a matrix register, and the bytes of each.
pub(crate) const MATRIX_ROWS: usize = 16;
pub(crate) const MATRIX_BYTES: usize = 64;

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// Fewest tiles that share a block of panels; see [`Stream::Shared`].
pub(crate) const SHARING: usize = 4;

/// Most panels a tile takes.
pub(crate) const MAX_PANELS: usize = 4;

/// Elements from row to row of `C`, where tiles side by side leave their sums.
pub(crate) const C_ROW: usize = MAX_PANELS * PANEL;

/// Fields of the table a tile is called with, each an I64: addresses, distances in bytes, counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Call {
    /// First panel.
    W,
    /// To the next panel.
    WPanel,
    /// Rows of the tile's tokens.
    X,
    /// Units, or groups; the tile's to count down.
    K,
    C,
    /// Not 0 if nothing is added up so far.
    First,
    /// Not 0 if nothing will be added any more.
    Last,
    /// I32 of the first token's first digit; to the next token it is 4 bytes.
    Start,
    StartDigit,
    StartGroup,
    Ahead,
    AheadStep,
    /// F32 `[groups][16]` of the first panel.
    Scale,
    ScalePanel,
    /// F32 of the first token; to the next token it is 4 bytes.
    Unit,
    UnitGroup,
    /// `[groups][16]` of the first panel, of the tile's type of zero points.
    Zero,
    ZeroPanel,
    /// Of the first token, its merged row sum: I32 where merging is narrow, else F64; to the next token
    /// it is 4 or 8 bytes.
    Rows,
    RowsGroup,
    /// The result's first element.
    Out,
    OutToken,
    /// The first element of what a step takes, and bytes to the next token's.
    Leaf0,
    Leaf0Token,
    Leaf1,
    Leaf1Token,
    Leaf2,
    Leaf2Token,
    Leaf3,
    Leaf3Token,
    /// Which shapes the matrix registers of the thread have: a number of the tile's, or 0 if they have none.
    Shapes,
}

impl Call {
    /// Where the field lies.
    pub(crate) fn offset(self) -> i32 {
        self as i32 * 8
    }

    /// Bytes of the table.
    pub(crate) const BYTES: usize = (Call::Shapes as usize + 1) * 8;

    /// The fields of leaves.
    pub(crate) const LEAVES: [(Call, Call); 4] = [
        (Call::Leaf0, Call::Leaf0Token),
        (Call::Leaf1, Call::Leaf1Token),
        (Call::Leaf2, Call::Leaf2Token),
        (Call::Leaf3, Call::Leaf3Token),
    ];
}

/// Elements of integer operands as a tile reads them: 8 bits, or words of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    Signed,
    Unsigned,
    /// Rows alone.
    Word,
}

/// How integers are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct QuadForm {
    pub(crate) dot: DotForm,
    pub(crate) x: Element,
    /// As stored in the panel.
    pub(crate) w: Element,
    /// Where codes are stored with their sign bit flipped, so that one side of a product is unsigned
    /// and the other signed: what the row sums of `x` are multiplied with to put that right.
    pub(crate) flip: Option<i32>,
}

impl QuadForm {
    /// The form for rows of `x` and codes of `w` on a target.
    pub(crate) fn choose(host: DotForm, x: DType, w: DType) -> QuadForm {
        // An unsigned code of 4 bits is the same number as a signed byte.
        let is_signed = |d: DType| matches!(d, DType::I8 | DType::I4 | DType::U4);
        let is_unsigned = |d: DType| matches!(d, DType::U8 | DType::U4);
        let form = |x, w, flip| QuadForm { dot: host, x, w, flip };
        match host {
            DotForm::UnsignedBytes if is_signed(x) && is_unsigned(w) => form(Element::Signed, Element::Unsigned, None),
            // w + 128 as an unsigned byte is w with its sign bit flipped.
            DotForm::UnsignedBytes if is_signed(x) => form(Element::Signed, Element::Unsigned, Some(-128)),
            DotForm::UnsignedBytes if x == DType::U8 && is_signed(w) => form(Element::Unsigned, Element::Signed, None),
            DotForm::UnsignedBytes if x == DType::U8 => form(Element::Unsigned, Element::Signed, Some(128)),
            DotForm::SignedBytes if is_signed(x) && is_signed(w) => form(Element::Signed, Element::Signed, None),
            DotForm::SignedBytes if is_signed(x) => form(Element::Signed, Element::Signed, Some(128)),
            _ => {
                let w = if matches!(w, DType::I8 | DType::I4) { Element::Signed } else { Element::Unsigned };
                QuadForm { dot: DotForm::Pairs, x: Element::Word, w, flip: None }
            }
        }
    }

    /// The type in which rows are read.
    pub(crate) fn x_dtype(&self) -> DType {
        match self.x {
            Element::Signed => DType::I8,
            Element::Unsigned => DType::U8,
            Element::Word => DType::I16,
        }
    }
}

/// What a tile multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operands {
    Quads(QuadForm),
    /// Panels of `panel`, rows and sums of `compute`: F32, F64, or integers modulo 2^32 (2^64).
    Floats {
        panel: DType,
        compute: DType,
    },
}

/// How the sums of a token's digits become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MergeForm {
    /// Of the digits.
    pub(crate) weights: &'static [i64],
    /// Whether an I32 holds every integer up to the one rounding; else merging happens in F64, which
    /// holds them all.
    pub(crate) is_narrow: bool,
}

/// What becomes of the sums of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GroupForm {
    pub(crate) units: u32,
    pub(crate) merge: MergeForm,
    /// Whether sums begin at `START`.
    pub(crate) has_start: bool,
    /// F32; F64 where merged sums are not rounded before they are added up.
    pub(crate) total: DType,
    pub(crate) has_unit: bool,
    /// Type of the zero points: I32 or, merged in F64, F32.
    pub(crate) zero: Option<DType>,
}

/// What a tile does with its sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Sum {
    Whole { has_start: bool, merge: Option<MergeForm> },
    Wide,
    Groups(GroupForm),
}

/// How an element of memory, a leaf, belongs to elements of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Along {
    /// One for each token.
    Tokens,
    /// One for each channel, side by side.
    Channels,
    /// One for each element, those of a token side by side.
    Both,
}

/// What is done to an F32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StepOp {
    Add,
    Subtract,
    Multiply,
    /// Multiplied in F64 with an F64, and that rounded to F32.
    Scale,
}

/// A step from sums to elements of the result: `value op leaf`, or `leaf op value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FinishStep {
    pub(crate) op: StepOp,
    pub(crate) is_leaf_first: bool,
    /// Its place among [`Call::LEAVES`], and its type: F64 of scales, else F32 or, but for those of tokens, BF16.
    pub(crate) leaf: usize,
    pub(crate) dtype: DType,
    pub(crate) along: Along,
}

/// What a tile does to F32 sums, step by step, before it stores them as elements of the result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Finish {
    pub(crate) steps: [Option<FinishStep>; Call::LEAVES.len()],
    /// Whether every NaN is stored as the same, as in what callers are given.
    pub(crate) is_canonical: bool,
}

/// Where panels come from when a tile reads them; the later, the more tiles read the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Stream {
    /// From memory, by this tile and no other, so that reading is all that takes time.
    Alone,
    /// From memory, and hardly sooner than they are multiplied, by the first of a few tiles.
    Direct,
    /// From a cache, where most tiles find what others have read, while the next block is fetched bit by bit.
    Shared,
}

/// A tile to be emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tile {
    pub(crate) operands: Operands,
    pub(crate) sum: Sum,
    pub(crate) finish: Option<Finish>,
    pub(crate) stream: Stream,
    pub(crate) digits: usize,
    pub(crate) tokens: usize,
    pub(crate) panels: usize,
}

impl Operands {
    /// Bytes of a panel's unit.
    pub(crate) fn unit_bytes(&self) -> usize {
        match self {
            Operands::Quads(_) => PANEL * QUAD,
            Operands::Floats { panel, .. } => PANEL * panel.host_bytes(),
        }
    }

    /// Elements along K of a unit.
    pub(crate) fn unit_depth(&self) -> usize {
        match self {
            Operands::Quads(_) => QUAD,
            Operands::Floats { .. } => 1,
        }
    }

    /// Type of the rows.
    pub(crate) fn x_dtype(&self) -> DType {
        match self {
            Operands::Quads(form) => form.x_dtype(),
            Operands::Floats { compute, .. } => *compute,
        }
    }

    /// Bytes of a row's unit.
    pub(crate) fn x_bytes(&self) -> usize {
        self.unit_depth() * self.x_dtype().host_bytes()
    }

    /// In a few letters: types of the rows and of the panels.
    pub(crate) fn name(&self) -> String {
        match self {
            Operands::Quads(form) => {
                let letter = |e| match e {
                    Element::Signed => "s8",
                    Element::Unsigned => "u8",
                    Element::Word => "s16",
                };
                format!("{}{}", letter(form.x), letter(form.w))
            }
            Operands::Floats { panel, compute } => format!("{}_{}", compute.name(), panel.name()),
        }
    }
}

impl Tile {
    /// Rows of `x`.
    pub(crate) fn rows(&self) -> usize {
        self.digits * self.tokens
    }

    /// Rows of `C`: one for each token where groups are added up.
    pub(crate) fn c_rows(&self) -> usize {
        if matches!(self.sum, Sum::Groups(_)) { self.tokens } else { self.rows() }
    }

    /// Type of the elements of `C`.
    pub(crate) fn c_dtype(&self) -> DType {
        self.sum.c_dtype(&self.operands)
    }

    /// The function's name.
    pub(crate) fn name(&self) -> String {
        let Tile { operands, stream, digits, tokens, panels, .. } = self;
        let stream = match stream {
            Stream::Alone => "alone",
            Stream::Direct => "direct",
            Stream::Shared => "shared",
        };
        let sum = match self.sum {
            Sum::Whole { .. } => "",
            Sum::Wide => "_i64",
            Sum::Groups(_) => "_groups",
        };
        let end = if self.finish.is_some() { "_finished" } else { "" };
        format!("tile_{stream}_{tokens}x{digits}_{panels}x{PANEL}_{}{sum}{end}", operands.name())
    }
}

impl Sum {
    /// Type of the elements of `C`.
    pub(crate) fn c_dtype(&self, operands: &Operands) -> DType {
        match (self, operands) {
            (Sum::Groups(group), _) => group.total,
            (Sum::Wide, _) => DType::I64,
            (Sum::Whole { .. }, Operands::Quads(_)) => DType::I32,
            (Sum::Whole { .. }, Operands::Floats { compute, .. }) => *compute,
        }
    }
}
