//! Elements moved to other places of GM, as they are: transposes, and windows that nothing can read as they lie. Each
//! element that lies apart is a row of its own to the units that move them, so that this is slow; whoever
//! can do without it does.

use super::builder::{Builder, Local, global, int};
use super::vector::outer_place;
use super::view::{View, merge_axes};
use crate::chip::Chip;
use crate::expr::Expr;
use crate::isa::memory::{Pipe, Space};
use crate::isa::region::{BLOCK, bytes, round_up};
use crate::isa::{MOST_EXTENT, Op};

/// `to` becomes `from`, of as many elements.
#[derive(Clone, Debug)]
pub(crate) struct CopyStage {
    pub(crate) from: View,
    pub(crate) to: View,
    pub(crate) note: String,
}

impl CopyStage {
    /// About how long the vector cores take.
    pub(crate) fn cycles(&self, chip: &Chip) -> f64 {
        let is_apart = |view: &View| view.strides.last() != Some(&1);
        let count = self.to.count() as f64 / (*chip.cores.cube * *chip.cores.vectors_per_cube) as f64;
        let each = i64::from(self.from.dtype.bits()) as f64 / 8.0;
        // An element that lies apart takes a line.
        let moved = |view: &View| if is_apart(view) { *chip.memory.l2_line as f64 } else { each };
        count * (moved(&self.from) + moved(&self.to)) / *chip.rates.ub_to_gm as f64 + 2.0 * *chip.latency.gm as f64
    }

    /// Emits the stage for the vector cores.
    pub(crate) fn emit(mut self, b: &mut Builder, chip: &Chip) {
        let mut shape = self.from.shape.clone();
        if shape.contains(&0) {
            return;
        }
        merge_axes(&mut shape, &mut [&mut self.from, &mut self.to], false, 0);
        let rank = shape.len();
        let (from, to) = (&self.from, &self.to);
        let in_rows = from.strides[rank - 1] == 1 && to.strides[rank - 1] == 1;
        // Rows of several elements, or of one each along the last axis.
        let (outer, rows, cols, lds) = match in_rows {
            true => {
                let lds = (from.strides[rank - 2], to.strides[rank - 2]);
                (rank - 2, shape[rank - 2], shape[rank - 1], lds)
            }
            false => (rank - 1, shape[rank - 1], 1, (from.strides[rank - 1], to.strides[rank - 1])),
        };
        let half = *chip.memory.ub as i64 / 2;
        let dtype = from.dtype;
        // Whole blocks of whatever type.
        let most_cols = (half / BLOCK * BLOCK * 8 / i64::from(dtype.bits())).min(MOST_EXTENT / 64 * 64).min(cols);
        let pitch = round_up(bytes(most_cols, dtype), BLOCK);
        let most_rows = rows.min(half / pitch).min(MOST_EXTENT);
        let (row_tiles, col_tiles) = (tiles(rows, most_rows), tiles(cols, most_cols));
        let batch: i64 = shape[..outer].iter().product();
        let per_cube = *chip.cores.vectors_per_cube as i64;
        let cores = *chip.cores.cube as i64 * per_cube;
        let unit = Builder::core() * per_cube + Builder::sub();
        b.note(self.note.clone());
        let parity = b.cell("p", 0);
        (0..2).for_each(|id| b.set_flag(Pipe::Mte3, Pipe::Mte2, id));
        b.repeat("u", (unit, Expr::from(batch * row_tiles * col_tiles), cores), |b, u| {
            let row = b.bind("r", u.clone() / col_tiles % row_tiles * most_rows);
            let col = b.bind("c", u.clone() % col_tiles * most_cols);
            let mut place = outer_place(b, u / (row_tiles * col_tiles), &shape[..outer]);
            let n = b.bind("rows", (Expr::from(rows) - row.clone()).min(most_rows));
            let width = b.bind("cols", (Expr::from(cols) - col.clone()).min(most_cols));
            let width = if dtype.bits() == 4 { width.round_up(2) } else { width };
            place.push(row);
            if in_rows {
                place.push(col);
            }
            let p = Expr::variable(parity);
            let local = || Local::new(Space::Ub, Expr::variable(parity) * half / BLOCK * BLOCK).rows(pitch);
            let extents = |ld: i64| vec![int("rows", n.clone()), int("cols", width.clone()), int("ld", ld)];
            b.wait_flag(Pipe::Mte3, Pipe::Mte2, p.clone());
            let source = global(from.tensor, from.at_expr(&place));
            b.emit(Op::Load, &[dtype], vec![local().into(), source], extents(lds.0));
            b.flag(Pipe::Mte2, Pipe::Mte3, p.clone());
            let target = global(to.tensor, to.at_expr(&place));
            b.emit(Op::Store, &[dtype], vec![target, local().into()], extents(lds.1));
            b.set_flag(Pipe::Mte3, Pipe::Mte2, p.clone());
            b.set(parity, Expr::from(1) - p);
        });
        (0..2).for_each(|id| b.wait_flag(Pipe::Mte3, Pipe::Mte2, id));
        b.barrier_all();
    }
}

pub(crate) fn tiles(size: i64, tile: i64) -> i64 {
    size.div_euclid(tile) + i64::from(size % tile != 0)
}
