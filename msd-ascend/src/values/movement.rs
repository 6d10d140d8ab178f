//! Instructions that move bytes between memories and lay them out anew; types matter by their width alone,
//! but to what is added to GM. Owns where rows, matrices in NZ and operands of the cube lie
//! (`region.rs` says which bytes those are); elements as numbers are [`super::element`]'s.
//!
//! Sources are collected as dense rows and laid out from there. Elements of 4 bits lie two to a byte, low half
//! first; a row of them starts and, in GM, ends with a byte.

use msd_ir::dtype::DType;

use super::element::{floats, ints, put_floats, put_ints};
use super::{Fault, View};
use crate::chip::Layout;
use crate::isa::Issue;
use crate::isa::memory::Place;
use crate::isa::region::{BLOCK, FRACTAL, bytes, or, per_block, round_up};

/// Bytes of a fractal.
pub(super) const FRACTAL_BYTES: i64 = FRACTAL * BLOCK;

fn outside() -> Fault {
    Fault::Unchecked("an operand leaves its memory".to_string())
}

/// So many bytes of a memory.
pub(super) fn slice(memory: &[u8], start: i64, length: i64) -> Result<&[u8], Fault> {
    let start = usize::try_from(start).ok();
    let range = start.and_then(|start| Some(start..start.checked_add(usize::try_from(length).ok()?)?));
    range.and_then(|range| memory.get(range)).ok_or_else(outside)
}

/// The same, to be written.
pub(super) fn slice_mut(memory: &mut [u8], start: i64, length: i64) -> Result<&mut [u8], Fault> {
    let start = usize::try_from(start).ok();
    let range = start.and_then(|start| Some(start..start.checked_add(usize::try_from(length).ok()?)?));
    range.and_then(|range| memory.get_mut(range)).ok_or_else(outside)
}

/// How many rows or columns an instruction takes: none is no operand.
pub(super) fn extent(said: i64) -> Result<usize, Fault> {
    usize::try_from(said).ok().filter(|n| *n > 0).ok_or_else(|| "an operand has no elements".to_string().into())
}

/// Extents and type of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Matrix {
    /// Of which type.
    pub(super) dtype: DType,
    /// How many rows.
    pub(super) rows: i64,
    /// How many columns.
    pub(super) cols: i64,
}

impl Matrix {
    fn of(issue: &Issue) -> Matrix {
        let [rows, cols, ..] = issue.ints;
        Matrix { dtype: issue.dtype(), rows, cols }
    }

    /// Bytes of a row.
    fn pitch(self) -> i64 {
        bytes(self.cols, self.dtype)
    }

    /// Bytes of all rows, which are no more than a memory on chip has unless rows lie upon each other.
    fn total(self) -> Result<usize, Fault> {
        const MOST: i64 = 1 << 28;
        let total = self.rows.checked_mul(self.pitch()).filter(|total| (0..=MOST).contains(total));
        total.map(|total| total as usize).ok_or_else(|| "an operand's rows lie upon each other".to_string().into())
    }

    /// Rows of so many bytes, of dense data.
    fn rows_of(self, data: &[u8]) -> impl Iterator<Item = (i64, &[u8])> {
        (0..self.rows).zip(data.chunks(self.pitch().max(1) as usize))
    }

    /// Rows out of GM, `ld` elements apart.
    pub(super) fn read_gm(self, view: &View<'_>, place: &Place, ld: i64) -> Result<Vec<u8>, Fault> {
        self.read(view, place, bytes(place.offset, self.dtype), bytes(or(ld, self.cols), self.dtype))
    }

    /// Dense rows to GM, `ld` elements apart.
    pub(super) fn write_gm(self, view: &mut View<'_>, place: &Place, ld: i64, data: &[u8]) -> Result<(), Fault> {
        self.write(view, place, bytes(place.offset, self.dtype), bytes(or(ld, self.cols), self.dtype), data)
    }

    /// Rows on chip, which start 32 bytes apart or as said.
    pub(super) fn read_rows(self, view: &View<'_>, place: &Place) -> Result<Vec<u8>, Fault> {
        self.read(view, place, place.offset, place.row.unwrap_or(round_up(self.pitch(), BLOCK)))
    }

    /// Dense rows to rows on chip.
    pub(super) fn write_rows(self, view: &mut View<'_>, place: &Place, data: &[u8]) -> Result<(), Fault> {
        self.write(view, place, place.offset, place.row.unwrap_or(round_up(self.pitch(), BLOCK)), data)
    }

    fn read(self, view: &View<'_>, place: &Place, start: i64, apart: i64) -> Result<Vec<u8>, Fault> {
        let memory = view.bytes(place);
        let mut data = Vec::with_capacity(self.total()?);
        for i in 0..self.rows {
            data.extend_from_slice(slice(memory, start + i * apart, self.pitch())?);
        }
        Ok(data)
    }

    fn write(self, view: &mut View<'_>, place: &Place, start: i64, apart: i64, data: &[u8]) -> Result<(), Fault> {
        let memory = view.bytes_mut(place);
        for (i, row) in self.rows_of(data) {
            slice_mut(memory, start + i * apart, self.pitch())?.copy_from_slice(row);
        }
        Ok(())
    }

    /// Rows of a matrix in NZ.
    pub(super) fn read_nz(self, view: &View<'_>, place: &Place, height: i64) -> Result<Vec<u8>, Fault> {
        let height = or(height, round_up(self.rows, FRACTAL));
        let mut data = vec![0; self.total()?];
        for (i, row) in (0..self.rows).zip(data.chunks_mut(self.pitch().max(1) as usize)) {
            for (column, block) in row.chunks_mut(BLOCK as usize).enumerate() {
                let start = place.offset + (column as i64 * height + i) * BLOCK;
                block.copy_from_slice(slice(view.bytes(place), start, block.len() as i64)?);
            }
        }
        Ok(data)
    }

    /// Dense rows to NZ. With `fill`, zeros follow each row up to whole blocks, and the last row up to whole
    /// fractals.
    pub(super) fn write_nz(
        self,
        view: &mut View<'_>,
        place: &Place,
        height: i64,
        data: &[u8],
        fill: bool,
    ) -> Result<(), Fault> {
        let whole = round_up(self.rows, FRACTAL);
        let written = if fill { whole } else { self.rows };
        let memory = view.bytes_mut(place);
        let width = BLOCK as usize;
        // Of an odd number of 4-bit elements, the last byte has room for one more.
        let last = if self.dtype.bits() == 4 && self.cols % 2 == 1 { 15 } else { 0xFF };
        for column in 0..round_up(self.pitch(), BLOCK) / BLOCK {
            let start = place.offset + column * or(height, whole) * BLOCK;
            let mut blocks = slice_mut(memory, start, written * BLOCK)?.chunks_mut(width);
            for ((_, row), block) in self.rows_of(data).zip(&mut blocks) {
                let from = row.get(column as usize * width..).unwrap_or_default();
                let (values, rest) = block.split_at_mut(from.len().min(width));
                values.copy_from_slice(&from[..values.len()]);
                if let (true, Some(byte)) = (from.len() <= width, values.last_mut()) {
                    *byte &= last;
                }
                if fill {
                    rest.fill(0);
                }
            }
            blocks.for_each(|block| block.fill(0));
        }
        Ok(())
    }

    /// `data = old + data`, in the type: floats rounded once, integers saturated, but sums of 32 bits must fit.
    pub(super) fn add(self, old: &[u8], data: &mut [u8]) -> Result<(), Fault> {
        let count = self.cols.max(0) as usize;
        let width = self.pitch().max(1) as usize;
        let mut raw = Vec::new();
        let (mut a, mut b) = (vec![0.0; count], vec![0.0; count]);
        let (mut m, mut n) = (vec![0; count], vec![0; count]);
        for (i, (old, new)) in old.chunks(width).zip(data.chunks_mut(width)).enumerate() {
            if self.dtype.is_float() {
                floats(self.dtype, old, &mut a)?;
                floats(self.dtype, new, &mut b)?;
                a.iter_mut().zip(&b).for_each(|(a, b)| *a += *b);
                put_floats(self.dtype, &a, &mut raw)?;
            } else {
                ints(self.dtype, old, &mut m)?;
                ints(self.dtype, new, &mut n)?;
                for (j, (m, n)) in m.iter_mut().zip(&n).enumerate() {
                    *m = m.checked_add(*n).ok_or_else(|| leaves(i, j))?;
                }
                put_ints(self.dtype, &m, &mut raw)?;
            }
            new.copy_from_slice(&raw);
        }
        Ok(())
    }
}

/// What is wrong with a sum that I32 does not have.
pub(super) fn leaves(row: usize, column: usize) -> Fault {
    Fault::Range(format!("the sum of row {row}, column {column} leaves 32 bits"))
}

pub(crate) fn nd2nz(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let [_, _, ld, height, ..] = issue.ints;
    let [dst, src, ..] = &issue.places;
    let data = Matrix::of(issue).read_gm(view, src, ld)?;
    Matrix::of(issue).write_nz(view, dst, height, &data, true)
}

pub(crate) fn load(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let [_, _, ld, ..] = issue.ints;
    let [dst, src, ..] = &issue.places;
    let data = Matrix::of(issue).read_gm(view, src, ld)?;
    Matrix::of(issue).write_rows(view, dst, &data)
}

pub(crate) fn store(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let [_, _, ld, atomic, ..] = issue.ints;
    let [dst, src, ..] = &issue.places;
    let mut data = Matrix::of(issue).read_rows(view, src)?;
    if atomic != 0 {
        let old = Matrix::of(issue).read_gm(view, dst, ld)?;
        Matrix::of(issue).add(&old, &mut data)?;
    }
    Matrix::of(issue).write_gm(view, dst, ld, &data)
}

pub(crate) fn store_nz(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let [_, _, height, ..] = issue.ints;
    let [dst, src, ..] = &issue.places;
    let data = Matrix::of(issue).read_rows(view, src)?;
    Matrix::of(issue).write_nz(view, dst, height, &data, true)
}

/// An operand of the cube in L0, in whole fractals.
#[derive(Clone, Copy)]
pub(super) struct Fractals {
    layout: Layout,
    /// Rows of fractals.
    pub(super) down: i64,
    /// Columns of them, along the contraction.
    pub(super) across: i64,
}

impl Fractals {
    pub(super) fn of(layout: Layout, rows: usize, depth: usize, dtype: DType) -> Fractals {
        let block = per_block(dtype);
        let (down, across) = (round_up(rows as i64, FRACTAL) / FRACTAL, round_up(depth as i64, block) / block);
        Fractals { layout, down, across }
    }

    pub(super) fn bytes(self) -> i64 {
        self.down * self.across * FRACTAL_BYTES
    }

    /// Where a fractal lies.
    pub(super) fn start(self, i: i64, j: i64) -> i64 {
        let index = match self.layout {
            Layout::Zz => i * self.across + j,
            Layout::Nz => j * self.down + i,
        };
        index * FRACTAL_BYTES
    }
}

/// Fractals of an NZ matrix in L1, `rows` by `depth`, to L0.
fn load_factor(issue: &Issue, view: &mut View<'_>, layout: Layout, rows: i64, depth: i64) -> Result<(), Fault> {
    let [_, _, height, ..] = issue.ints;
    let [dst, src, ..] = &issue.places;
    let fractals = Fractals::of(layout, extent(rows)?, extent(depth)?, issue.dtype());
    let height = or(height, round_up(rows, FRACTAL));
    let mut data = Vec::with_capacity(fractals.bytes() as usize);
    for j in 0..fractals.across {
        let start = src.offset + j * height * BLOCK;
        data.extend_from_slice(slice(view.bytes(src), start, fractals.down * FRACTAL_BYTES)?);
    }
    let target = slice_mut(view.bytes_mut(dst), dst.offset, fractals.bytes())?;
    let mut each = data.chunks(FRACTAL_BYTES as usize);
    for j in 0..fractals.across {
        for (i, data) in (0..fractals.down).zip(&mut each) {
            slice_mut(target, fractals.start(i, j), FRACTAL_BYTES)?.copy_from_slice(data);
        }
    }
    Ok(())
}

pub(crate) fn load_a(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let [m, k, ..] = issue.ints;
    load_factor(issue, view, view.l0a, m, k)
}

/// A fractal of L0B lies by columns, which is how L1 holds it.
pub(crate) fn load_b(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let [k, n, ..] = issue.ints;
    load_factor(issue, view, Layout::Nz, n, k)
}

/// What lies beyond `k` and `n` is filled with zeros.
pub(crate) fn load_bt(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let [k, n, height, ..] = issue.ints;
    let [dst, src, ..] = &issue.places;
    let dtype = issue.dtype();
    let data = Matrix { dtype, rows: k, cols: n }.read_nz(view, src, height)?;
    let (rows, cols) = (extent(k)?, extent(n)?);
    let turned = match dtype.bits() {
        4 => turn_nibbles(&data, rows, cols),
        8 => turn::<1>(&data, rows, cols),
        _ => turn::<2>(&data, rows, cols),
    };
    let whole = Fractals::of(Layout::Nz, cols, rows, dtype).bytes();
    let fractals = slice_mut(view.bytes_mut(dst), dst.offset, whole)?;
    fractals.fill(0);
    // Rows of `turned` are columns of the operand; its blocks go where the fractals of NZ are.
    let height = round_up(n, FRACTAL) as usize;
    let width = BLOCK as usize;
    for (j, row) in turned.chunks(bytes(k, dtype).max(1) as usize).enumerate() {
        for (block, data) in row.chunks(width).enumerate() {
            let start = (block * height + j) * width;
            slice_mut(fractals, start as i64, data.len() as i64)?.copy_from_slice(data);
        }
    }
    Ok(())
}

/// A dense matrix of elements of `N` bytes, transposed.
fn turn<const N: usize>(data: &[u8], rows: usize, cols: usize) -> Vec<u8> {
    let mut turned = vec![[0; N]; rows * cols];
    for (i, row) in data.chunks(cols.max(1) * N).enumerate() {
        let elements = row.as_chunks::<N>().0;
        for (target, element) in turned.iter_mut().skip(i).step_by(rows.max(1)).zip(elements) {
            *target = *element;
        }
    }
    turned.into_flattened()
}

/// The same of 4-bit elements.
fn turn_nibbles(data: &[u8], rows: usize, cols: usize) -> Vec<u8> {
    let (width, height) = (cols.div_ceil(2), rows.div_ceil(2));
    let mut turned = vec![0; cols * height];
    for (i, row) in data.chunks(width.max(1)).enumerate() {
        let codes = row.iter().flat_map(|byte| [byte & 15, byte >> 4]);
        for (target, code) in turned.iter_mut().skip(i / 2).step_by(height.max(1)).zip(codes) {
            *target |= code << (i % 2 * 4);
        }
    }
    turned
}

pub(crate) fn load_scales(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let [dst, src, ..] = &issue.places;
    let data = Matrix::of(issue).read_rows(view, src)?;
    slice_mut(view.bytes_mut(dst), dst.offset, data.len() as i64)?.copy_from_slice(&data);
    Ok(())
}
