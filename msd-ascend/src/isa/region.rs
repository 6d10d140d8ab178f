//! Which bytes each instruction touches: capacity, alignment, races and traffic are all told from these.
//! Owns the arithmetic of layouts; that nothing else computes an address is what keeps values, costs
//! and checks of one mind.
//!
//! A *fractal* is 16 rows of 32 bytes. In NZ, columns of fractals follow each other (N), and each fractal
//! lies by rows (z): element `(i, j)` of a matrix of `height` rows, with `c` elements in 32 bytes, starts at byte
//! `(j / c) * height * 32 + i * 32 + (j % c) * 32 / c`.

use msd_ir::dtype::DType;

use super::memory::{Place, Region, Space};
use super::{Issue, Op, Regions};
use crate::chip::Chip;

/// Rows of a fractal, and columns of accumulators.
pub(crate) const FRACTAL: i64 = 16;
/// Bytes of a row of a fractal, and of a block of the vector unit.
pub(crate) const BLOCK: i64 = 32;

/// Elements in 32 bytes.
pub(crate) fn per_block(dtype: DType) -> i64 {
    BLOCK * 8 / i64::from(dtype.bits())
}

/// `n` rounded up to a multiple.
pub(crate) fn round_up(n: i64, multiple: i64) -> i64 {
    n.saturating_add(multiple - 1) / multiple * multiple
}

/// How many parts of `by` hold `n`.
pub(crate) fn ceil(n: i64, by: i64) -> i64 {
    n.div_euclid(by) + i64::from(n.rem_euclid(by) != 0)
}

/// Bytes of so many elements.
pub(crate) fn bytes(elements: i64, dtype: DType) -> i64 {
    round_up(elements.saturating_mul(i64::from(dtype.bits())), 8) / 8
}

/// What stands for an operand that is not said.
pub(crate) fn or(said: i64, otherwise: i64) -> i64 {
    if said == 0 { otherwise } else { said }
}

fn region(place: &Place, writes: bool, rows: i64, bytes: i64, stride: i64) -> Region {
    Region { space: place.space, tensor: place.tensor, writes, start: place.offset, rows, bytes, stride }
}

fn dense(place: &Place, writes: bool, bytes: i64) -> Region {
    region(place, writes, 1, bytes, 0)
}

/// Rows in GM, offset and distance in elements.
fn global(place: &Place, writes: bool, dtype: DType, rows: i64, cols: i64, ld: i64) -> Region {
    let start = bytes(place.offset, dtype);
    Region { start, ..region(place, writes, rows, bytes(cols, dtype), bytes(or(ld, cols), dtype)) }
}

/// `rows` by `cols` of an NZ matrix.
fn nz(place: &Place, writes: bool, dtype: DType, rows: i64, cols: i64, height: i64) -> Region {
    let rows = round_up(rows, FRACTAL);
    let columns = round_up(cols, per_block(dtype)) / per_block(dtype);
    region(place, writes, columns, rows * BLOCK, or(height, rows).saturating_mul(BLOCK))
}

/// Rows on chip, which start 32 bytes apart or as said.
fn local(place: &Place, writes: bool, rows: i64, bytes: i64) -> Region {
    region(place, writes, rows, bytes, place.row.unwrap_or(round_up(bytes, BLOCK)))
}

pub(super) fn none(_: &Issue, _: &Chip) -> Regions {
    Vec::new()
}

pub(super) fn nd2nz(issue: &Issue, _: &Chip) -> Regions {
    let [rows, cols, ld, height, ..] = issue.ints;
    let [dst, src, ..] = &issue.places;
    let dtype = issue.dtype();
    vec![nz(dst, true, dtype, rows, cols, height), global(src, false, dtype, rows, cols, ld)]
}

pub(super) fn load(issue: &Issue, _: &Chip) -> Regions {
    let [rows, cols, ld, ..] = issue.ints;
    let [dst, src, ..] = &issue.places;
    let dtype = issue.dtype();
    vec![local(dst, true, rows, bytes(cols, dtype)), global(src, false, dtype, rows, cols, ld)]
}

pub(super) fn store(issue: &Issue, _: &Chip) -> Regions {
    let [rows, cols, ld, ..] = issue.ints;
    let [dst, src, ..] = &issue.places;
    let dtype = issue.dtype();
    vec![global(dst, true, dtype, rows, cols, ld), local(src, false, rows, bytes(cols, dtype))]
}

pub(super) fn store_nz(issue: &Issue, _: &Chip) -> Regions {
    let [rows, cols, height, ..] = issue.ints;
    let [dst, src, ..] = &issue.places;
    let dtype = issue.dtype();
    vec![nz(dst, true, dtype, rows, cols, height), local(src, false, rows, bytes(cols, dtype))]
}

/// Bytes of an operand in L0: both extents whole fractals.
pub(super) fn factor_bytes(rows: i64, depth: i64, dtype: DType) -> i64 {
    round_up(rows, FRACTAL) * round_up(depth, per_block(dtype)) / per_block(dtype) * BLOCK
}

pub(super) fn load_a(issue: &Issue, _: &Chip) -> Regions {
    let [m, k, height, ..] = issue.ints;
    let [dst, src, ..] = &issue.places;
    let dtype = issue.dtype();
    vec![dense(dst, true, factor_bytes(m, k, dtype)), nz(src, false, dtype, m, k, height)]
}

pub(super) fn load_b(issue: &Issue, _: &Chip) -> Regions {
    let [k, n, height, ..] = issue.ints;
    let [dst, src, ..] = &issue.places;
    let dtype = issue.dtype();
    vec![dense(dst, true, factor_bytes(n, k, dtype)), nz(src, false, dtype, n, k, height)]
}

pub(super) fn load_bt(issue: &Issue, _: &Chip) -> Regions {
    let [k, n, height, ..] = issue.ints;
    let [dst, src, ..] = &issue.places;
    let dtype = issue.dtype();
    vec![dense(dst, true, factor_bytes(n, k, dtype)), nz(src, false, dtype, k, n, height)]
}

pub(super) fn load_scales(issue: &Issue, _: &Chip) -> Regions {
    let [rows, blocks, ..] = issue.ints;
    let [dst, src, ..] = &issue.places;
    vec![dense(dst, true, rows * blocks), local(src, false, rows, blocks)]
}

pub(super) fn mmad(issue: &Issue, _: &Chip) -> Regions {
    let [m, k, n, init, ..] = issue.ints;
    let [acc, a, b, sa, sb] = &issue.places;
    let sums = round_up(m, FRACTAL) * round_up(n, FRACTAL) * 4;
    let mut regions = vec![
        dense(acc, true, sums),
        dense(a, false, factor_bytes(m, k, issue.dtype())),
        dense(b, false, factor_bytes(n, k, issue.to())),
    ];
    if init == 0 {
        regions.push(dense(acc, false, sums));
    }
    if issue.op == Op::MmadMx {
        let blocks = round_up(k, BLOCK) / BLOCK;
        regions.extend([dense(sa, false, m * blocks), dense(sb, false, n * blocks)]);
    }
    regions
}

/// What leaves L0C lies in NZ there, columns of 16 accumulators.
pub(super) fn fix(issue: &Issue, _: &Chip) -> Regions {
    let [m, n, ld, atomic, _, height, ..] = issue.ints;
    let [dst, acc, scales, ..] = &issue.places;
    // Columns of fractals, each of as many rows as the whole matrix has.
    let (own, whole) = (round_up(m, FRACTAL), round_up(height.max(m), FRACTAL));
    let panel = FRACTAL * 4;
    let to = issue.to();
    let written = match dst.space {
        Space::Gm => global(dst, true, to, m, n, ld),
        Space::Ub => local(dst, true, m, bytes(n, to)),
        _ => nz(dst, true, to, m, n, ld),
    };
    let sums = region(acc, false, round_up(n, FRACTAL) / FRACTAL, own * panel, whole * panel);
    let mut regions = vec![written, sums];
    if atomic != 0 {
        regions.push(Region { writes: false, ..written });
    }
    if issue.op == Op::FixColumns {
        regions.push(dense(scales, false, bytes(n, DType::F32)));
    }
    regions
}

/// A vector operand: `rows` of `bytes`, of which only the first 32 if blocks stand still; blocks that lie apart are
/// regions of their own, those of a row or those of a column, whichever are fewer.
fn vector_operand(place: &Place, writes: bool, rows: i64, bytes: i64) -> Regions {
    let stride = place.row.unwrap_or(bytes);
    let rows = if stride == 0 { 1 } else { rows };
    let blocks = (bytes - 1) / BLOCK + 1;
    match place.block {
        0 => vec![region(place, writes, rows, bytes.min(BLOCK), stride)],
        BLOCK => vec![region(place, writes, rows, bytes, stride)],
        apart => {
            let from = |start: i64| Place { offset: place.offset + start, ..*place };
            let last = bytes - (blocks - 1) * BLOCK;
            if rows < blocks {
                let whole = |row: i64| region(&from(row * stride), writes, blocks - 1, BLOCK, apart);
                let tail = |row: i64| region(&from(row * stride + (blocks - 1) * apart), writes, 1, last, 0);
                return (0..rows).flat_map(|row| [whole(row), tail(row)]).filter(|r| !r.is_empty()).collect();
            }
            let width = |block: i64| if block + 1 < blocks { BLOCK } else { last };
            (0..blocks).map(|block| region(&from(block * apart), writes, rows, width(block), stride)).collect()
        }
    }
}

pub(super) fn vector(issue: &Issue, _: &Chip) -> Regions {
    let [rows, cols, ..] = issue.ints;
    let row = bytes(cols, issue.dtype());
    let operands = issue.op.spec().operands.iter().filter(|o| o.is_place()).count();
    let mut regions = vector_operand(&issue.places[0], true, rows, row);
    regions.extend(issue.places[1..operands].iter().flat_map(|place| vector_operand(place, false, rows, row)));
    if issue.op == Op::Vmla {
        regions.extend(vector_operand(&issue.places[0], false, rows, row));
    }
    regions
}

pub(super) fn vcmp(issue: &Issue, _: &Chip) -> Regions {
    let [rows, cols, ..] = issue.ints;
    let [dst, a, b, ..] = &issue.places;
    let row = bytes(cols, issue.dtype());
    let bits = round_up(cols, 8) / 8;
    [vector_operand(dst, true, rows, bits), vector_operand(a, false, rows, row), vector_operand(b, false, rows, row)]
        .concat()
}

pub(super) fn vsel(issue: &Issue, _: &Chip) -> Regions {
    let [rows, cols, ..] = issue.ints;
    let [dst, mask, a, b, ..] = &issue.places;
    let row = bytes(cols, issue.dtype());
    let bits = round_up(cols, 8) / 8;
    [
        vector_operand(dst, true, rows, row),
        vector_operand(mask, false, rows, bits),
        vector_operand(a, false, rows, row),
        vector_operand(b, false, rows, row),
    ]
    .concat()
}

pub(super) fn vcast(issue: &Issue, _: &Chip) -> Regions {
    let [rows, cols, ..] = issue.ints;
    let [dst, a, ..] = &issue.places;
    [
        vector_operand(dst, true, rows, bytes(cols, issue.to())),
        vector_operand(a, false, rows, bytes(cols, issue.dtype())),
    ]
    .concat()
}

pub(super) fn reduce(issue: &Issue, _: &Chip) -> Regions {
    let [rows, cols, ..] = issue.ints;
    let [dst, a, ..] = &issue.places;
    let element = bytes(1, issue.dtype());
    let result = Region { stride: dst.row.unwrap_or(element), ..region(dst, true, rows, element, 0) };
    [vec![result], vector_operand(a, false, rows, bytes(cols, issue.dtype()))].concat()
}

pub(super) fn broadcast(issue: &Issue, _: &Chip) -> Regions {
    let [rows, ..] = issue.ints;
    let [dst, a, ..] = &issue.places;
    vec![dense(dst, true, rows * BLOCK), dense(a, false, bytes(rows, issue.dtype()))]
}
