//! Tile emitters, and which of them writes what. Numerics are the contract's ([`crate::tile`]), so that
//! this choice changes speed and no bit.

mod clif;
pub(crate) mod split;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use clif::emit as emit_clif;
use msd_ir::diag::Diagnostic;
use msd_ir::dtype::DType;

use crate::isa::{DotForm, internal};
use crate::tile::{MATRIX_BYTES, MATRIX_ROWS, MAX_PANELS, Operands, QuadForm, Stream, Sum, Tile};
use split::{Pass, Split};

/// Who writes a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Emitter {
    /// Cranelift, 128-bit vectors: every architecture.
    Portable,
    /// Machine code with 256-bit vectors of AVX2 and, for bytes, AVX-VNNI.
    Ymm,
    /// Machine code with 512-bit vectors of AVX-512 and VNNI.
    Zmm,
    /// The same, with the matrix registers of AMX for sums of bytes over the whole of K.
    Amx,
}

/// Code from an emitter that is not Cranelift.
pub(crate) struct Machine {
    pub(crate) bytes: Vec<u8>,
    /// As text, if it was asked for.
    pub(crate) text: String,
}

impl Emitter {
    /// Name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Emitter::Portable => "128",
            Emitter::Ymm => "ymm",
            Emitter::Zmm => "zmm",
            Emitter::Amx => "amx",
        }
    }

    /// The emitter for tiles of such operands, sums and so many digits, where `self` is the widest the target has.
    pub(crate) fn serving(self, operands: &Operands, sum: Sum, digits: usize) -> Emitter {
        let wanted = self.wanted(operands, sum);
        if digits > wanted.max_rows(operands)[0] { Emitter::Portable } else { wanted }
    }

    /// The tile that is compiled in place of one: the portable ones fetch nothing ahead.
    pub(crate) fn canonical(self, tile: Tile) -> Tile {
        match self.serving(&tile.operands, tile.sum, tile.digits) {
            Emitter::Portable => Tile { stream: Stream::Alone, ..tile },
            Emitter::Ymm | Emitter::Zmm | Emitter::Amx => tile,
        }
    }

    fn wanted(self, operands: &Operands, sum: Sum) -> Emitter {
        match (self, operands) {
            (Emitter::Portable, _) => Emitter::Portable,
            (Emitter::Amx, Operands::Quads(form)) if is_for_matrices(form, sum) => Emitter::Amx,
            (Emitter::Amx, _) => Emitter::Zmm.wanted(operands, sum),
            // Words are multiplied in pairs, whose sums AVX-512 has no way to add up across lanes.
            (_, Operands::Quads(form)) if form.dot == DotForm::Pairs => Emitter::Ymm,
            (_, Operands::Quads(form)) if form.dot == DotForm::UnsignedBytes => self,
            (_, Operands::Floats { panel, compute: DType::F32 }) if is_converted(*panel, self) => self,
            (_, Operands::Quads(_) | Operands::Floats { .. }) => Emitter::Portable,
        }
    }

    /// The code of a tile, but for those of [`Emitter::Portable`], which are Cranelift's.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn emit(self, tile: &Tile, is_listed: bool) -> Result<Machine, Diagnostic> {
        let width = match self {
            Emitter::Portable => return Err(internal("a tile that is Cranelift's")),
            Emitter::Ymm => x86::Width::Ymm,
            Emitter::Zmm => x86::Width::Zmm,
            Emitter::Amx if self.writer(&tile.operands, tile.rows(), tile.panels) == self => {
                let Sum::Whole { has_start, merge } = tile.sum else {
                    return Err(internal("matrices whose sums are not over the whole of K"));
                };
                return x86::amx::emit(tile, (has_start, merge), is_listed).map_err(internal);
            }
            Emitter::Amx => x86::Width::Zmm,
        };
        let row_units = self.row_depth(&tile.operands) / tile.operands.unit_depth();
        x86::emit(tile, (width, row_units), is_listed).map_err(internal)
    }

    /// The function that gives back the registers that tiles of [`Emitter::Amx`] have given shapes to.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn emit_release(is_listed: bool) -> Result<Machine, Diagnostic> {
        x86::amx::emit_release(is_listed).map_err(internal)
    }

    /// Whether [`Emitter::emit_split`] writes functions that split rows.
    pub(crate) fn splits_rows(self) -> bool {
        matches!(self, Emitter::Zmm | Emitter::Amx)
    }

    /// The function for the largest magnitude of a row, or for its digits.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn emit_split(split: &Split, pass: Pass, is_listed: bool) -> Result<Machine, Diagnostic> {
        let machine = match pass {
            Pass::Largest => x86::split::emit_largest(split.source, is_listed),
            Pass::Digits => x86::split::emit_digits(split, is_listed),
        };
        machine.map_err(internal)
    }

    /// Other machines have no other emitter.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn emit(self, _: &Tile, _: bool) -> Result<Machine, Diagnostic> {
        Err(internal("a tile that is Cranelift's"))
    }

    /// As above.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn emit_release(_: bool) -> Result<Machine, Diagnostic> {
        Err(internal("registers that are not there"))
    }

    /// As above.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn emit_split(_: &Split, _: Pass, _: bool) -> Result<Machine, Diagnostic> {
        Err(internal("splitting that is Cranelift's"))
    }

    /// Most digit rows a tile takes, where tokens are few and where they are many. Two panels by 14 rows take the
    /// fewest loads for a product; one by 28 converts each element of a panel for the most rows. Both are too few
    /// streams from memory to get the most of it.
    pub(crate) fn max_rows(self, operands: &Operands) -> [usize; 2] {
        match self {
            Emitter::Portable => [4, 4],
            Emitter::Ymm if is_pairs(operands) => [3, 3],
            Emitter::Ymm => [6, 6],
            Emitter::Zmm if is_float(operands) => [9, 28],
            Emitter::Zmm => [9, 14],
            // Of fewer rows reading the weights is all that takes time, and vectors read a tenth faster.
            Emitter::Amx => [Emitter::Zmm.max_rows(operands)[0], MATRIX_ROWS],
        }
    }

    /// Digit rows of a product from which on tokens are many: of fewer, reading is the most of the work, and more
    /// streams count.
    pub(crate) fn many_rows(self) -> u64 {
        match self {
            Emitter::Portable | Emitter::Ymm | Emitter::Zmm => 38,
            Emitter::Amx => 10,
        }
    }

    /// Parts of a block of K where several tiles read the same panels: matrix registers read those of one part again
    /// and again from the first-level cache.
    pub(crate) fn k_parts(self) -> u64 {
        match self {
            Emitter::Portable | Emitter::Ymm | Emitter::Zmm => 1,
            Emitter::Amx => 4,
        }
    }

    /// Who writes the tile of so many rows and panels, where `self` serves its operands: matrix registers leave few
    /// rows to vectors, which read them where they lie.
    pub(crate) fn writer(self, operands: &Operands, rows: usize, panels: usize) -> Emitter {
        let vectors = Emitter::Zmm;
        let is_small = rows <= vectors.max_rows(operands)[0] && panels <= vectors.panels(operands, rows);
        if self == Emitter::Amx && is_small { vectors } else { self }
    }

    /// Most digit rows that are done with a block of the weights before the next. Ten of the largest tiles of vectors,
    /// so that they stay in the second-level cache even where others use that as well. Matrix registers take rows so
    /// fast that reading the weights again takes longer than that: as many as fit the cache for a block of K, which is
    /// shorter there, beside their sums.
    pub(crate) fn rows_together(self) -> usize {
        match self {
            Emitter::Portable | Emitter::Ymm | Emitter::Zmm => 140,
            Emitter::Amx => 512,
        }
    }

    /// Areas of up to [`MAX_PANELS`] panels that a unit of many rows takes at most. All of K of the rows does not fit
    /// the second-level cache, and matrix registers would wait for the third's; a block of K does, for several areas.
    pub(crate) fn areas(self) -> usize {
        match self {
            Emitter::Portable | Emitter::Ymm | Emitter::Zmm => 1,
            Emitter::Amx => 4,
        }
    }

    /// Neighbours along K of a row that lie side by side where rows are packed: a unit's, or what a row of a matrix
    /// register holds.
    pub(crate) fn row_depth(self, operands: &Operands) -> usize {
        match self {
            Emitter::Portable | Emitter::Ymm | Emitter::Zmm => operands.unit_depth(),
            Emitter::Amx => MATRIX_BYTES,
        }
    }

    /// How many panels a tile of so many rows takes: few rows leave registers for more panels, whose
    /// streams keep the memory busy.
    pub(crate) fn panels(self, operands: &Operands, rows: usize) -> usize {
        match (self, rows) {
            (Emitter::Portable, _) => 1,
            (Emitter::Ymm, 1) if is_pairs(operands) => 2,
            (Emitter::Ymm, _) if is_pairs(operands) => 1,
            (Emitter::Ymm, 1) => 4,
            (Emitter::Ymm, 2) => 3,
            (Emitter::Ymm, 3) => 2,
            (Emitter::Ymm, _) => 1,
            (Emitter::Zmm, 0..=6) => MAX_PANELS,
            (Emitter::Zmm, 7..=9) => 3,
            (Emitter::Zmm, _) if is_float(operands) => 1,
            (Emitter::Zmm, _) => 2,
            (Emitter::Amx, 0..=9) => Emitter::Zmm.panels(operands, rows),
            (Emitter::Amx, _) => MAX_PANELS,
        }
    }
}

/// Whether matrix registers take such sums. Groups of K are scaled in vectors, too often for that.
fn is_for_matrices(form: &QuadForm, sum: Sum) -> bool {
    form.dot == DotForm::UnsignedBytes && matches!(sum, Sum::Whole { .. })
}

fn is_float(operands: &Operands) -> bool {
    matches!(operands, Operands::Floats { .. })
}

fn is_pairs(operands: &Operands) -> bool {
    matches!(operands, Operands::Quads(form) if form.dot == DotForm::Pairs)
}

/// Whether machine code turns elements of a panel into F32 on loading.
fn is_converted(panel: DType, emitter: Emitter) -> bool {
    match panel {
        DType::F32 | DType::BF16 | DType::I8 | DType::I4 | DType::U8 | DType::U4 => true,
        // AVX2 does not promise the conversion.
        DType::F16 => emitter == Emitter::Zmm,
        _ => false,
    }
}
