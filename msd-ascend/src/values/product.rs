//! The cube: products of what lies in L0, and the way of their sums out of L0C. Owns the order of
//! additions and every rounding of them.
//!
//! Both factors become F32, which has every value of the types that the cube takes, and one kernel adds rows of the
//! left one times *panels*, 16 columns, of the right one. It multiplies and adds without fusing, which is as good as
//! fused where products are exact: always but for BF16, whose exponents are F32's ([`Span`]). Sums of
//! integers are exact in F32 for [`EXACT_DEPTH`] steps and are added up as integers from there.

use msd_ir::dtype::{DType, e8m0_value};

use super::element::{Round, floats, put_floats, put_ints, rounded};
use super::movement::{FRACTAL_BYTES, Fractals, Matrix, extent, leaves, slice, slice_mut};
use super::vector::greatest;
use super::{Fault, View};
use crate::chip::Layout;
use crate::isa::Issue;
use crate::isa::memory::{Place, Space};
use crate::isa::region::{BLOCK, FRACTAL, per_block, round_up};

/// Columns of a panel, which are those of accumulators that lie beside each other.
const WIDTH: usize = FRACTAL as usize;
/// Bytes of a row of as many accumulators.
const SUMS_BYTES: usize = 4 * WIDTH;
/// Products of 8-bit integers are at most 2^14, and F32 has all integers up to 2^24.
const EXACT_DEPTH: usize = 1 << 10;

/// Depth 1 of a panel.
type Columns<T> = [T; WIDTH];
/// How an accumulator is read and written.
type Cell<T> = (fn([u8; 4]) -> T, fn(T) -> [u8; 4]);
const FLOAT: Cell<f32> = (f32::from_le_bytes, f32::to_le_bytes);
const INTEGER: Cell<i32> = (i32::from_le_bytes, i32::to_le_bytes);

/// Both operands of a product.
struct Factors {
    m: usize,
    n: usize,
    /// From row to row of `left` and from panel to panel of `right`.
    pitch: usize,
    /// Steps that count.
    depth: usize,
    /// Rows of the left operand.
    left: Vec<f32>,
    /// Panels of the right one; columns that it lacks are 0.
    right: Vec<Columns<f32>>,
}

impl Factors {
    fn read(issue: &Issue, view: &View<'_>) -> Result<Factors, Fault> {
        let [m, k, n, ..] = issue.ints;
        let [_, a, b, ..] = &issue.places;
        let (of_a, of_b) = (issue.dtype(), issue.to());
        let (m, depth, n) = (extent(m)?, extent(k)?, extent(n)?);
        let pitch = round_up(k, per_block(of_a).max(per_block(of_b))) as usize;
        let mut left = vec![0.0; m * pitch];
        each_block(view, a, of_a, (m, depth), view.l0a, |i, first, values| {
            let start = i * pitch + first;
            if let Some(target) = left.get_mut(start..start + values.len()) {
                target.copy_from_slice(values);
            }
        })?;
        let mut right = vec![[0.0; WIDTH]; n.div_ceil(WIDTH) * pitch];
        each_block(view, b, of_b, (n, depth), Layout::Nz, |j, first, values| {
            let steps = right.get_mut(j / WIDTH * pitch + first..).unwrap_or_default();
            for (step, value) in steps.iter_mut().zip(values) {
                step[j % WIDTH] = *value;
            }
        })?;
        Ok(Factors { m, n, pitch, depth, left, right })
    }

    fn row(&self, i: usize) -> &[f32] {
        part(&self.left, i * self.pitch, self.depth)
    }

    fn panel(&self, index: usize) -> &[Columns<f32>] {
        part(&self.right, index * self.pitch, self.depth)
    }
}

fn part<T>(all: &[T], start: usize, length: usize) -> &[T] {
    all.get(start..start + length).unwrap_or_default()
}

/// Calls `put` for each block of 32 bytes of an operand in L0, `rows` by `depth`, with its row, the depth of
/// its first element, and the values.
fn each_block(
    view: &View<'_>,
    place: &Place,
    dtype: DType,
    (rows, depth): (usize, usize),
    layout: Layout,
    mut put: impl FnMut(usize, usize, &[f32]),
) -> Result<(), Fault> {
    let mut values = vec![0.0; per_block(dtype) as usize];
    let fractals = Fractals::of(layout, rows, depth, dtype);
    let memory = slice(view.bytes(place), place.offset, fractals.bytes())?;
    for i in 0..fractals.down {
        for j in 0..fractals.across {
            let fractal = slice(memory, fractals.start(i, j), FRACTAL_BYTES)?;
            for (row, block) in (i as usize * WIDTH..rows).zip(fractal.chunks(BLOCK as usize)) {
                floats(dtype, block, &mut values)?;
                put(row, j as usize * values.len(), &values);
            }
        }
    }
    Ok(())
}

/// Updates the accumulators of each row and panel, which start from 0 if the instruction says so. `update` is given
/// the index of the panel and of the row.
fn update_sums<T: Copy + Default>(
    issue: &Issue,
    view: &mut View<'_>,
    (get, put): Cell<T>,
    update: impl Fn(usize, usize, &mut Columns<T>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let [m, _, n, init, ..] = issue.ints;
    let (m, n) = (extent(m)?, extent(n)?);
    let place = &issue.places[0];
    let panel_bytes = m.next_multiple_of(WIDTH) * SUMS_BYTES;
    let memory = slice_mut(view.bytes_mut(place), place.offset, (n.div_ceil(WIDTH) * panel_bytes) as i64)?;
    for (index, rows) in memory.chunks_mut(panel_bytes).enumerate() {
        let width = WIDTH.min(n - index * WIDTH);
        for (i, row) in rows.chunks_mut(SUMS_BYTES).take(m).enumerate() {
            let stored = || row.as_chunks().0.iter().take(width);
            let mut sums = [T::default(); WIDTH];
            if init == 0 {
                sums.iter_mut().zip(stored()).for_each(|(sum, bytes)| *sum = get(*bytes));
            }
            update(index, i, &mut sums)?;
            let stored = row.as_chunks_mut().0.iter_mut().take(width);
            stored.zip(sums).for_each(|(bytes, sum)| *bytes = put(sum));
        }
    }
    Ok(())
}

/// `sums[j] += row[k] * panel[k][j]`, `k` ascending.
fn accumulate(row: &[f32], panel: &[Columns<f32>], sums: &mut Columns<f32>) {
    let mut local = *sums;
    for (a, step) in row.iter().zip(panel) {
        for (sum, b) in local.iter_mut().zip(step) {
            *sum += a * b;
        }
    }
    *sums = local;
}

/// The same, fused where a product may not be exact.
fn accumulate_fused(row: &[f32], panel: &[Columns<f32>], spans: &[Span], sums: &mut Columns<f32>) {
    for ((a, step), span) in row.iter().zip(panel).zip(spans) {
        if Span::of(std::slice::from_ref(a)).is_exact_with(*span) {
            sums.iter_mut().zip(step).for_each(|(sum, b)| *sum += a * b);
        } else {
            sums.iter_mut().zip(step).for_each(|(sum, b)| *sum = a.mul_add(*b, *sum));
        }
    }
}

/// The least and the greatest biased exponent of numbers that are finite and not 0, subnormal ones
/// counted as 1.
#[derive(Clone, Copy)]
struct Span {
    low: i32,
    high: i32,
}

impl Span {
    /// Of no numbers: exact with all.
    const NONE: Span = Span { low: 1 << 10, high: -(1 << 10) };

    fn of(values: &[f32]) -> Span {
        values.iter().fold(Span::NONE, |span, value| {
            let exponent = (value.to_bits() >> 23 & 255) as i32;
            let counts = *value != 0.0 && exponent < 255;
            let (low, high) = if counts { (exponent.max(1), exponent) } else { (Span::NONE.low, Span::NONE.high) };
            Span { low: span.low.min(low), high: span.high.max(high) }
        })
    }

    fn with(self, other: Span) -> Span {
        Span { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// Whether F32 has every product of BF16 numbers of these spans. They have 8 bits, so that a product is a multiple
    /// of 2^(e + f - 268), which must not be below 2^-149, and is less than 2^(e + f - 252), which must not
    /// be above 2^128. Infinities and NaN are not rounded.
    fn is_exact_with(self, other: Span) -> bool {
        self.low + other.low >= 119 && self.high + other.high <= 380
    }
}

pub(crate) fn mmad(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let factors = Factors::read(issue, view)?;
    match issue.dtype() {
        DType::I8 | DType::I4 => sum_integers(issue, view, &factors),
        DType::BF16 => sum_wide(issue, view, &factors),
        _ => update_sums(issue, view, FLOAT, |panel, i, sums| {
            accumulate(factors.row(i), factors.panel(panel), sums);
            Ok(())
        }),
    }
}

/// No sum of products leaves 32 bits, since `k` is at most 4095, but what was there before may.
fn sum_integers(issue: &Issue, view: &mut View<'_>, factors: &Factors) -> Result<(), Fault> {
    update_sums(issue, view, INTEGER, |panel, i, sums| {
        let mut totals = [0; WIDTH];
        for (row, panel) in factors.row(i).chunks(EXACT_DEPTH).zip(factors.panel(panel).chunks(EXACT_DEPTH)) {
            let mut exact = [0.0; WIDTH];
            accumulate(row, panel, &mut exact);
            totals.iter_mut().zip(exact).for_each(|(total, sum)| *total += sum as i32);
        }
        for (j, (sum, total)) in sums.iter_mut().zip(totals).enumerate() {
            *sum = sum.checked_add(total).ok_or_else(|| leaves(i, panel * WIDTH + j))?;
        }
        Ok(())
    })
}

/// BF16: fused step by step only where exponents are extreme.
fn sum_wide(issue: &Issue, view: &mut View<'_>, factors: &Factors) -> Result<(), Fault> {
    let left = Span::of(&factors.left);
    let spans: Vec<Span> = factors.right.iter().map(|step| Span::of(step)).collect();
    let panels = spans.chunks(factors.pitch.max(1)).map(|panel| panel.iter().copied().fold(Span::NONE, Span::with));
    let is_exact: Vec<bool> = panels.map(|panel| left.is_exact_with(panel)).collect();
    update_sums(issue, view, FLOAT, |panel, i, sums| {
        let (row, steps) = (factors.row(i), factors.panel(panel));
        match is_exact.get(panel) {
            Some(true) => accumulate(row, steps, sums),
            _ => accumulate_fused(row, steps, part(&spans, panel * factors.pitch, factors.depth), sums),
        }
        Ok(())
    })
}

/// A block's sum is rounded to F64 once, which matters for E5M2 alone: other products have so few bits that F64 has
/// each sum of 32. Times both scales, powers of two, it is added to the accumulator in F64 and rounded to F32,
/// blocks ascending.
pub(crate) fn mmad_mx(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let [_, _, _, sa, sb] = &issue.places;
    let factors = Factors::read(issue, view)?;
    let left: Vec<f64> = factors.left.iter().map(|v| f64::from(*v)).collect();
    let right: Vec<Columns<f64>> = factors.right.iter().map(|step| step.map(f64::from)).collect();
    let blocks = factors.depth.div_ceil(BLOCK as usize);
    let scales = |place: &Place, rows: usize| -> Result<Vec<f64>, Fault> {
        let codes = slice(view.bytes(place), place.offset, (rows * blocks) as i64)?;
        Ok(codes.iter().map(|code| f64::from(e8m0_value(*code))).collect())
    };
    let (of_a, of_b) = (scales(sa, factors.m)?, scales(sb, factors.n)?);
    let is_wide = [issue.dtype(), issue.to()].contains(&DType::E5M2);
    update_sums(issue, view, FLOAT, |panel, i, sums| {
        let row = part(&left, i * factors.pitch, factors.depth).chunks(BLOCK as usize);
        let steps = part(&right, panel * factors.pitch, factors.depth).chunks(BLOCK as usize);
        let columns = part(&of_b, panel * WIDTH * blocks, blocks * WIDTH.min(factors.n - panel * WIDTH));
        for (block, (row, steps)) in row.zip(steps).enumerate() {
            let exact = if is_wide { block_in_parts(row, steps) } else { block_sum(row, steps) };
            let scale = part(&of_a, i * blocks + block, 1).first().copied().unwrap_or(f64::NAN);
            let scales = columns.iter().skip(block).step_by(blocks.max(1));
            for ((sum, exact), other) in sums.iter_mut().zip(exact).zip(scales) {
                *sum = (f64::from(*sum) + exact * (scale * other)) as f32;
            }
        }
        Ok(())
    })
}

fn block_sum(row: &[f64], panel: &[Columns<f64>]) -> Columns<f64> {
    let mut sums = [0.0; WIDTH];
    for (a, step) in row.iter().zip(panel) {
        for (sum, b) in sums.iter_mut().zip(step) {
            *sum += a * b;
        }
    }
    sums
}

/// The same of products with more bits between the greatest and the least than F64 has: those from 1 on have
/// none below 2^-6, those below 1 none above; the sums of both are exact.
fn block_in_parts(row: &[f64], panel: &[Columns<f64>]) -> Columns<f64> {
    let (mut large, mut small) = ([0.0; WIDTH], [0.0; WIDTH]);
    for (a, step) in row.iter().zip(panel) {
        for ((large, small), b) in large.iter_mut().zip(&mut small).zip(step) {
            let product: f64 = a * b;
            let is_large = product.abs() >= 1.0;
            *large += if is_large { product } else { 0.0 };
            *small += if is_large { 0.0 } else { product };
        }
    }
    std::array::from_fn(|j| large[j] + small[j])
}

pub(crate) fn fix(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let [_, n, _, _, _, _, scale] = issue.ints;
    drain(issue, view, &vec![cut(f32::from_bits(scale as u32)); extent(n)?])
}

pub(crate) fn fix_columns(issue: &Issue, view: &mut View<'_>) -> Result<(), Fault> {
    let [_, n, ..] = issue.ints;
    let place = &issue.places[2];
    let mut scales = vec![0.0; extent(n)?];
    floats(DType::F32, slice(view.bytes(place), place.offset, n * 4)?, &mut scales)?;
    scales.iter_mut().for_each(|scale| *scale = cut(*scale));
    drain(issue, view, &scales)
}

/// A scale as the unit has it: 10 bits of mantissa, the others cut off.
fn cut(scale: f32) -> f32 {
    if scale.is_nan() { scale } else { f32::from_bits(scale.to_bits() & !0x1FFF) }
}

/// Accumulators with a scale for each column to wherever they go. What is added to what is there is rounded to its
/// type before.
fn drain(issue: &Issue, view: &mut View<'_>, scales: &[f32]) -> Result<(), Fault> {
    let [m, n, ld, atomic, relu, height, ..] = issue.ints;
    let [dst, acc, ..] = &issue.places;
    let matrix = Matrix { dtype: issue.to(), rows: m, cols: n };
    let (m, n, height) = (extent(m)?, extent(n)?, extent(height.max(m))?);
    // The last column of fractals is read as far as it has rows.
    let own_bytes = m.next_multiple_of(WIDTH) * SUMS_BYTES;
    let panel_bytes = height.next_multiple_of(WIDTH) * SUMS_BYTES;
    let all = n.div_ceil(WIDTH).saturating_sub(1) * panel_bytes + own_bytes;
    let sums = slice(view.bytes(acc), acc.offset, all as i64)?;
    let (mut data, mut row, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..m {
        row.clear();
        for panel in sums.chunks(panel_bytes) {
            row.extend_from_slice(part(panel, i * SUMS_BYTES, SUMS_BYTES).as_chunks().0);
        }
        row.truncate(n);
        drain_row(issue, &row, scales, relu != 0, &mut raw)?;
        data.extend_from_slice(&raw);
    }
    if atomic != 0 {
        let old = match dst.space {
            Space::Gm => matrix.read_gm(view, dst, ld)?,
            Space::Ub => matrix.read_rows(view, dst)?,
            _ => matrix.read_nz(view, dst, ld)?,
        };
        matrix.add(&old, &mut data)?;
    }
    match dst.space {
        Space::Gm => matrix.write_gm(view, dst, ld, &data),
        Space::Ub => matrix.write_rows(view, dst, &data),
        _ => matrix.write_nz(view, dst, ld, &data, false),
    }
}

/// One row: times the scale in F32, the nearest even of the type. Integers that stay integers do not pass
/// through F32 where the scale is 1.
fn drain_row(issue: &Issue, sums: &[[u8; 4]], scales: &[f32], relu: bool, out: &mut Vec<u8>) -> Result<(), Fault> {
    let (from, to) = (issue.dtype(), issue.to());
    let value = |bytes: &[u8; 4]| match from {
        DType::I32 => i32::from_le_bytes(*bytes) as f32,
        _ => f32::from_le_bytes(*bytes),
    };
    let scaled = sums.iter().zip(scales).map(|(bytes, scale)| value(bytes) * scale);
    let values: Vec<f32> = match relu {
        true => scaled.map(|v| greatest(v, 0.0)).collect(),
        false => scaled.collect(),
    };
    if to.is_float() {
        return put_floats(to, &values, out);
    }
    let mut ints = Vec::new();
    rounded(&values, Round::Rint, &mut ints);
    if from == DType::I32 && to == DType::I32 {
        for (int, (bytes, scale)) in ints.iter_mut().zip(sums.iter().zip(scales)) {
            if *scale == 1.0 {
                let sum = i32::from_le_bytes(*bytes);
                *int = if relu { sum.max(0) } else { sum };
            }
        }
    }
    put_ints(to, &ints, out)
}
