//! What vector cores do beside a product: right operands of a tile are made before the cube core needs them, and its
//! sums become results after. Owns the order of both and the counters between.

use super::blocking::Right;
use super::builder::{Builder, global, outer_place};
use super::cube::{Conversion, Emission, Target, VectorWork};
use super::phases::Counter;
use super::slots::TileSize;
use super::tiles::{At, Body, To};
use crate::expr::{Expr, Slot};
use crate::isa::memory::{Core, Pipe};
use crate::isa::region::{BLOCK, FRACTAL};

impl Emission<'_> {
    /// The vector cores' part: right operands of a tile, and what becomes of the sums of the one before.
    pub(crate) fn vector(&self, b: &mut Builder, work: &VectorWork) {
        b.on(Core::Vector);
        let (team, _) = self.place(b);
        let tiles = self.own_tiles(b, &team);
        let parity = b.cell("p", 0);
        // Whose flags and places are their own.
        let distinct = if work.shares_places { 1 } else { work.conversions.len() };
        let own: Vec<Slot> = work.conversions.iter().take(distinct).map(|_| b.cell("q", 0)).collect();
        let places: Vec<Slot> = own.iter().copied().cycle().take(work.conversions.len()).collect();
        let of_groups = b.cell("g", 0);
        let conversions = || work.conversions.iter().take(distinct).map(|conversion| &conversion.body);
        let bodies = || conversions().chain(&work.groups).chain(&work.merge);
        Body::open_all(bodies(), b);
        let lag = self.blocking.lag(&self.sizes, self.chip);
        b.repeat("t", (Expr::from(0), tiles.clone() + lag, 1), |b, t| {
            if lag > 0 {
                b.when(t.clone().lt(tiles.clone()), |b| match self.sizes.right {
                    Right::MadeInL1 => self.convert_in_l1(b, &work.conversions, &team, &t, &places),
                    _ => self.convert(b, &work.conversions, &team, &t, &places),
                });
            }
            if let Some(merge) = &work.merge {
                let before = t.clone() - lag;
                let is_there = if lag > 0 { Expr::from(lag - 1).lt(t) } else { Expr::from(1) };
                b.when(is_there, |b| match &work.groups {
                    Some(body) => self.merge_groups(b, (body, merge), &team, &before, (of_groups, parity)),
                    None => self.merge(b, merge, &team, &before, parity),
                });
            }
        });
        let free = match self.sizes.right {
            Right::MadeAgain => Some((tiles.min(2), Counter::Reused)),
            Right::MadeInL1 => Some((Expr::from(self.blocking.ring), Counter::ChunkFree)),
            Right::Given | Right::Made => None,
        };
        if let Some((count, counter)) = free {
            b.repeat("t", (Expr::from(0), count, 1), |b, _| b.cross_wait(Pipe::Mte3, counter.id()));
        }
        Body::close_all(bodies(), b);
        b.barrier_all();
    }

    /// Right operands of the `t`-th tile.
    fn convert(&self, b: &mut Builder, conversions: &[Conversion], team: &Expr, t: &Expr, places: &[Slot]) {
        let tile = self.tile(b, team.clone() + t.clone() * self.teams());
        let per_cube = *self.chip.cores.vectors_per_cube as i64;
        let is_again = self.sizes.right == Right::MadeAgain;
        if is_again {
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
                    let cols = b.rest("cols", &c, width, &Expr::from(cols));
                    let mut place = outer_place(b, row.clone() / shape[rank - 2], &shape[..rank - 2]);
                    place.push(if rank > 2 { row.clone() % shape[rank - 2] } else { row.clone() });
                    place.push(c.clone());
                    let to = is_again.then(|| {
                        let first = (Builder::core() * 2 + t.clone() % 2) * (self.blocking.cols * each);
                        To::Place(vec![first + r.clone(), c])
                    });
                    body.emit(b, &At { place, to, ..At::sized(n.clone(), cols) }, *parity);
                });
            });
        }
        b.cross_set(Pipe::Mte3, Counter::Made.id());
    }

    /// Right operands of the `t`-th tile, chunk by chunk, in L1.
    fn convert_in_l1(&self, b: &mut Builder, conversions: &[Conversion], team: &Expr, t: &Expr, places: &[Slot]) {
        let tile = self.tile(b, team.clone() + t.clone() * self.teams());
        let per_cube = *self.chip.cores.vectors_per_cube as i64;
        let (ring, k_l1, l1) = (self.blocking.ring, self.blocking.k_l1, self.l1());
        let in_l1 = tile.cols.clone().round_up(FRACTAL);
        // Whole fractals of columns for each vector core, as many as for the others if that can be.
        let share = b.bind("share", tile.cols.clone().round_up(FRACTAL * per_cube) / per_cube);
        let first = b.bind("first", Builder::sub() * share.clone());
        let end = b.bind("end", (first.clone() + share).min(tile.cols.clone()));
        for (index, (conversion, parity)) in conversions.iter().zip(places).enumerate() {
            let TileSize { rows: height, cols: width } = conversion.body.tile;
            b.note(conversion.note.clone());
            b.repeat("k", (Expr::from(0), Expr::from(self.sizes.k), k_l1), |b, k1| {
                let in_tile = k1.clone() / k_l1 + index as i64 * self.chunks();
                let c = b.bind("chunk", t.clone() * self.chunks_of_tile() + in_tile);
                b.cross_wait(Pipe::Mte3, Counter::ChunkFree.id());
                let slot = b.bind("slot", c % ring * l1.right + l1.rights);
                let depth = b.rest("depth", &k1, k_l1, &Expr::from(self.sizes.k));
                b.repeat("r", (first.clone(), end.clone(), height), |b, r| {
                    let n = b.bind("rows", (end.clone() - r.clone()).min(height));
                    b.repeat("c", (Expr::from(0), depth.clone(), width), |b, from| {
                        let cols = b.rest("cols", &from, width, &depth);
                        let place = vec![tile.col.clone() + r.clone(), k1.clone() + from.clone()];
                        let at = slot.clone() + r.clone() * BLOCK + self.bytes(from) * in_l1.clone();
                        let to = Some(To::L1 { first: at, height: in_l1.clone() });
                        conversion.body.emit(b, &At { place, to, ..At::sized(n.clone(), cols) }, *parity);
                    });
                });
                b.cross_set(Pipe::Mte3, Counter::ChunkMade.id());
            });
        }
    }

    /// What becomes of the sums of the `t`-th tile.
    fn merge(&self, b: &mut Builder, body: &Body, team: &Expr, t: &Expr, parity: Slot) {
        let Target::Tiles(tensor) = self.target else { return };
        let terms = self.stage.terms.len() as i64;
        let per_cube = *self.chip.cores.vectors_per_cube as i64;
        let (rows, cols) = (self.blocking.rows(&self.sizes), self.blocking.cols);
        let tile = self.tile(b, team.clone() + t.clone() * self.teams());
        b.cross_wait(Pipe::Mte2, Counter::Sums.id());
        let (apart, _) = self.rows(&tile);
        let height = body.tile.rows;
        b.note(format!("{}: what becomes of the sums", self.stage.note));
        b.repeat("r", (Builder::sub() * height, tile.tokens.clone(), height * per_cube), |b, r| {
            let count = b.bind("rows", (tile.tokens.clone() - r.clone()).min(height));
            let sums = |term: usize, digit: usize| {
                let turns = self.blocking.turns;
                let tile_of = (Builder::core() * turns + t.clone() % turns) * terms + term as i64;
                let row = apart.clone() * digit as i64 + r.clone();
                (global(tensor, tile_of * (rows * cols) + row * cols), cols)
            };
            let token = tile.token.clone() + r.clone();
            let place = tile.outer.iter().cloned().chain([token, tile.col.clone()]).collect();
            let at = At { place, sums: Some(&sums), ..At::sized(count, tile.cols.clone()) };
            body.emit(b, &at, parity);
        });
        b.cross_set(Pipe::Mte2, Counter::Taken.id());
    }

    /// What becomes of the sums of the `t`-th tile's groups: added up batch by batch, then like others.
    fn merge_groups(
        &self,
        b: &mut Builder,
        (each, last): (&Body, &Body),
        team: &Expr,
        t: &Expr,
        (of_groups, parity): (Slot, Slot),
    ) {
        let Target::Tiles(tensor) = self.target else { return };
        let per_cube = *self.chip.cores.vectors_per_cube as i64;
        let (rows, cols, batch) = (self.blocking.rows(&self.sizes), self.blocking.cols, self.blocking.batch);
        let (batches, turns) = (self.sizes.groups / batch, self.blocking.turns);
        let tile = self.tile(b, team.clone() + t.clone() * self.teams());
        let (apart, _) = self.rows(&tile);
        // Rows of this vector core.
        let half = b.bind("half", (tile.tokens.clone() + (per_cube - 1)) / per_cube);
        let first = b.bind("first", Builder::sub() * half.clone());
        let own = b.bind("own", (tile.tokens.clone() - first.clone()).min(half).max(0));
        let at = |group: Option<Expr>, row: &Expr, rows: Expr| {
            let token = tile.token.clone() + first.clone() + row.clone();
            let place = tile.outer.iter().cloned().chain(group).chain([token, tile.col.clone()]).collect();
            At { place, kept: row.clone(), ..At::sized(rows, tile.cols.clone()) }
        };
        b.note(format!("{}: what becomes of the sums", self.stage.note));
        b.barrier(Pipe::V);
        let none = Expr::from(0);
        b.when(none.clone().lt(own.clone()), |b| each.start_folds(b, &at(None, &none, own.clone())));
        b.repeat("batch", (Expr::from(0), Expr::from(batches), 1), |b, n| {
            b.cross_wait(Pipe::Mte2, Counter::Sums.id());
            let turn = (t.clone() * batches + n.clone()) % turns;
            let place = b.bind("place", (Builder::core() * turns + turn) * batch);
            let of = |row: &Expr, g: &Expr, digit: usize| {
                let row = apart.clone() * digit as i64 + first.clone() + row.clone();
                global(tensor, (place.clone() + g.clone()) * (rows * cols) + row * cols)
            };
            if each.sums_rows {
                let height = each.tile.rows;
                b.repeat("g", (Expr::from(0), Expr::from(batch), height), |b, g| {
                    b.repeat("r", (Expr::from(0), own.clone(), 1), |b, r| {
                        let sums = |_: usize, digit: usize| (of(&r, &g, digit), rows * cols);
                        let mut at = At { sums: Some(&sums), ..at(None, &r, Expr::from(height)) };
                        at.place.insert(at.place.len() - 1, n.clone() * batch + g.clone());
                        each.emit(b, &at, of_groups);
                    });
                });
            } else {
                b.repeat("g", (Expr::from(0), Expr::from(batch), 1), |b, g| {
                    b.repeat("r", (Expr::from(0), own.clone(), each.tile.rows), |b, r| {
                        let count = b.bind("rows", (own.clone() - r.clone()).min(each.tile.rows));
                        let sums = |_: usize, digit: usize| (of(&r, &g, digit), cols);
                        let at = At { sums: Some(&sums), ..at(Some(n.clone() * batch + g.clone()), &r, count) };
                        each.emit(b, &at, of_groups);
                    });
                });
            }
            b.cross_set(Pipe::Mte2, Counter::Taken.id());
        });
        b.barrier(Pipe::V);
        b.repeat("r", (Expr::from(0), own.clone(), last.tile.rows), |b, r| {
            let count = b.bind("rows", (own.clone() - r.clone()).min(last.tile.rows));
            last.emit(b, &at(None, &r, count), parity);
        });
    }
}
