//! Elements moved to other places of GM, as they are: transposes, and windows that nothing can read as they lie. Each
//! element that lies apart is a row of its own to the units that move them, so that this is slow; whoever
//! can do without it does.

use super::builder::{Builder, Local, global, int, outer_place};
use super::view::{View, merge_axes};
use crate::chip::Chip;
use crate::expr::Expr;
use crate::isa::memory::{Pipe, Space};
use crate::isa::region::{BLOCK, bytes, ceil, round_up};
use crate::isa::{MOST_EXTENT, Op};

/// `to` becomes `from`, of as many elements.
#[derive(Clone, Debug)]
pub(crate) struct CopyStage {
    pub(crate) from: View,
    pub(crate) to: View,
    pub(crate) note: String,
}

/// How a copy is cut.
struct Plan {
    from: View,
    to: View,
    shape: Vec<i64>,
    /// Axes before rows.
    outer: usize,
    rows: i64,
    cols: i64,
    /// Elements from row to row on both sides.
    apart: (i64, i64),
    most_rows: i64,
    most_cols: i64,
    /// Bytes from row to row in UB.
    pitch: i64,
}

impl Plan {
    fn new(stage: &CopyStage, chip: &Chip) -> Plan {
        let (mut from, mut to) = (stage.from.clone(), stage.to.clone());
        let mut shape = from.shape.clone();
        merge_axes(&mut shape, &mut [&mut from, &mut to], false, 0);
        let rank = shape.len();
        // Rows of several elements, or of one each along the last axis.
        let in_rows = from.strides[rank - 1] == 1 && to.strides[rank - 1] == 1;
        let axis = if in_rows { rank - 2 } else { rank - 1 };
        let (rows, cols) = (shape[axis], if in_rows { shape[rank - 1] } else { 1 });
        let apart = (from.strides[axis], to.strides[axis]);
        let half = *chip.memory.ub as i64 / 2;
        // Whole blocks of whatever type.
        let most = half / BLOCK * BLOCK * 8 / i64::from(from.dtype.bits());
        let most_cols = most.min(MOST_EXTENT / 64 * 64).min(cols);
        let pitch = round_up(bytes(most_cols, from.dtype), BLOCK);
        let most_rows = rows.min(half / pitch).min(MOST_EXTENT);
        Plan { from, to, shape, outer: axis, rows, cols, apart, most_rows, most_cols, pitch }
    }

    /// Tiles of rows and of columns, and how often there are as many.
    fn tiles(&self) -> (i64, i64, i64) {
        let batch = self.shape[..self.outer].iter().product();
        (ceil(self.rows, self.most_rows), ceil(self.cols, self.most_cols), batch)
    }
}

impl CopyStage {
    /// About how long the vector cores take: two tiles are on their way at a time.
    pub(crate) fn cycles(&self, chip: &Chip) -> f64 {
        if self.from.count() == 0 {
            return 0.0;
        }
        let plan = Plan::new(self, chip);
        let (row_tiles, col_tiles, batch) = plan.tiles();
        let each = ceil(batch * row_tiles * col_tiles, (*chip.cores.cube * *chip.cores.vectors_per_cube) as i64) as f64;
        let moved = bytes(plan.most_rows * plan.most_cols, self.from.dtype) as f64;
        let (rates, latency) = (&chip.rates, &chip.latency);
        let there = moved / *rates.gm_to_ub as f64 + moved / *rates.ub_to_gm as f64;
        let (issue, gm) = (*latency.dma_issue as f64, *latency.gm as f64);
        each.max(2.0) * (there / 2.0 + issue + gm)
    }

    /// Emits the stage for the vector cores.
    pub(crate) fn emit(self, b: &mut Builder, chip: &Chip) {
        if self.from.count() == 0 {
            return;
        }
        let plan = Plan::new(&self, chip);
        let (row_tiles, col_tiles, batch) = plan.tiles();
        let Plan { from, to, shape, outer, rows, cols, apart, most_rows, most_cols, pitch } = plan;
        let (half, dtype) = (*chip.memory.ub as i64 / 2, from.dtype);
        let per_cube = *chip.cores.vectors_per_cube as i64;
        let cores = *chip.cores.cube as i64 * per_cube;
        let unit = Builder::core() * per_cube + Builder::sub();
        b.note(self.note);
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
            if outer + 2 == shape.len() {
                place.push(col);
            }
            let p = Expr::variable(parity);
            let local = || Local::new(Space::Ub, Expr::variable(parity) * half / BLOCK * BLOCK).rows(pitch);
            let extents = |ld: i64| vec![int("rows", n.clone()), int("cols", width.clone()), int("ld", ld)];
            b.wait_flag(Pipe::Mte3, Pipe::Mte2, p.clone());
            let source = global(from.tensor, from.at_expr(&place));
            b.emit(Op::Load, &[dtype], vec![local().into(), source], extents(apart.0));
            b.flag(Pipe::Mte2, Pipe::Mte3, p.clone());
            let target = global(to.tensor, to.at_expr(&place));
            b.emit(Op::Store, &[dtype], vec![target, local().into()], extents(apart.1));
            b.set_flag(Pipe::Mte3, Pipe::Mte2, p.clone());
            b.set(parity, Expr::from(1) - p);
        });
        (0..2).for_each(|id| b.wait_flag(Pipe::Mte3, Pipe::Mte2, id));
        b.barrier_all();
    }
}
