//! What vector cores do beside a product: right operands of a tile are made before the cube core needs them, and its
//! sums become results after. Owns the order of both and the counters between.

use super::builder::{Builder, global};
use super::cube::{Conversion, Emission, Target, VectorWork};
use super::phases::Counter;
use super::slots::TileSize;
use super::tiles::{At, Body};
use crate::expr::{Expr, Slot};
use crate::isa::memory::{Core, Pipe};

impl Emission<'_> {
    /// The vector cores' part: right operands of a tile, and what becomes of the sums of the one before.
    pub(crate) fn vector(&self, b: &mut Builder, work: &VectorWork) {
        b.on(Core::Vector);
        let (group, _) = self.place(b);
        let tiles = self.own_tiles(b, &group);
        let parity = b.cell("p", 0);
        let places: Vec<Slot> = work.conversions.iter().map(|_| b.cell("q", 0)).collect();
        let bodies = || work.conversions.iter().map(|conversion| &conversion.body).chain(&work.merge);
        bodies().for_each(|body| body.open(b));
        // Sums are asked for once two more tiles were made: loads for those would wait behind them.
        let lag = if work.conversions.is_empty() { 0 } else { 2 };
        b.repeat("t", (Expr::from(0), tiles.clone() + lag, 1), |b, t| {
            if lag > 0 {
                b.when(t.clone().lt(tiles.clone()), |b| self.convert(b, &work.conversions, &group, &t, &places));
            }
            if let Some(merge) = &work.merge {
                let before = t.clone() - lag;
                let is_there = if lag > 0 { Expr::from(lag - 1).lt(t) } else { Expr::from(1) };
                b.when(is_there, |b| self.merge(b, merge, &group, &before, parity));
            }
        });
        if self.reuses {
            b.repeat("t", (Expr::from(0), tiles.min(2), 1), |b, _| b.cross_wait(Pipe::Mte3, Counter::Reused.id()));
        }
        bodies().for_each(|body| body.close(b));
        b.barrier_all();
    }

    /// Right operands of the `t`-th tile.
    fn convert(&self, b: &mut Builder, conversions: &[Conversion], group: &Expr, t: &Expr, places: &[Slot]) {
        let tile = self.tile(b, group.clone() + t.clone() * self.groups());
        let per_cube = *self.chip.cores.vectors_per_cube as i64;
        if self.reuses {
            b.when(Expr::from(1).lt(t.clone()), |b| b.cross_wait(Pipe::Mte3, Counter::Reused.id()));
        }
        for (conversion, parity) in conversions.iter().zip(places) {
            let Conversion { body, shape, note } = conversion;
            let rank = shape.len();
            let rows: i64 = shape[..rank - 1].iter().product();
            let (each, cols) = (rows / self.sizes.cols, shape[rank - 1]);
            let TileSize { rows: height, cols: width } = body.tile;
            let begin = b.bind("row", tile.col.clone() * each);
            let count = b.bind("count", tile.cols.clone() * each);
            b.note(note.clone());
            let first = Builder::sub() * height;
            b.repeat("r", (first, count.clone(), height * per_cube), |b, r| {
                let n = b.bind("rows", (count - r.clone()).min(height));
                let row = b.bind("at", begin + r.clone());
                b.repeat("c", (Expr::from(0), Expr::from(cols), width), |b, c| {
                    let cols = match cols % width {
                        0 => Expr::from(width),
                        _ => b.bind("cols", (Expr::from(cols) - c.clone()).min(width)),
                    };
                    let mut place = super::vector::outer_place(b, row.clone() / shape[rank - 2], &shape[..rank - 2]);
                    place.push(if rank > 2 { row.clone() % shape[rank - 2] } else { row.clone() });
                    place.push(c.clone());
                    let to = self.reuses.then(|| {
                        let first = (Builder::core() * 2 + t.clone() % 2) * (self.blocking.cols * each);
                        vec![first + r.clone(), c]
                    });
                    body.emit(b, &At { place, rows: n.clone(), cols, to, part: None, sums: None }, *parity);
                });
            });
        }
        b.cross_set(Pipe::Mte3, Counter::Made.id());
    }

    /// What becomes of the sums of the `t`-th tile.
    fn merge(&self, b: &mut Builder, body: &Body, group: &Expr, t: &Expr, parity: Slot) {
        let Target::Tiles(tensor) = self.target else { return };
        let terms = self.stage.terms.len() as i64;
        let per_cube = *self.chip.cores.vectors_per_cube as i64;
        let (rows, cols) = (self.blocking.rows(&self.sizes), self.blocking.cols);
        let tile = self.tile(b, group.clone() + t.clone() * self.groups());
        b.cross_wait(Pipe::Mte2, Counter::Sums.id());
        let (apart, _) = self.rows(&tile);
        let height = body.tile.rows;
        b.note(format!("{}: what becomes of the sums", self.stage.note));
        b.repeat("r", (Builder::sub() * height, tile.tokens.clone(), height * per_cube), |b, r| {
            let count = b.bind("rows", (tile.tokens.clone() - r.clone()).min(height));
            let sums = |term: usize, digit: usize| {
                let tile_of = (Builder::core() * 2 + t.clone() % 2) * terms + term as i64;
                let row = apart.clone() * digit as i64 + r.clone();
                (global(tensor, tile_of * (rows * cols) + row * cols), cols)
            };
            let token = tile.token.clone() + r.clone();
            let place = tile.outer.iter().cloned().chain([token, tile.col.clone()]).collect();
            body.emit(
                b,
                &At { place, rows: count, cols: tile.cols.clone(), to: None, part: None, sums: Some(&sums) },
                parity,
            );
        });
        b.cross_set(Pipe::Mte2, Counter::Taken.id());
    }
}
