//! Products of what is in L1, piece by piece through L0, and where their sums go. Owns places in L0 and in L0C; chunks
//! in L1 are `cube.rs`'s.

use msd_ir::dtype::DType;

use super::blocking::{Blocking, Right};
use super::builder::{Builder, Local, global, int};
use super::cube::{CoreState, Emission, Target, Tile};
use super::phases::Counter;
use crate::expr::Expr;
use crate::isa::Op;
use crate::isa::memory::{Pipe, Space};
use crate::isa::region::{BLOCK, FRACTAL, round_up};
use crate::program::Arg;

impl Emission<'_> {
    /// All products of chunk `c`, which is in L1 or on its way, and what becomes of sums that are complete then.
    pub(super) fn multiply(&self, b: &mut Builder, core: &CoreState, c: &Expr) {
        let Blocking { ring, accumulators, k_l1, .. } = self.blocking;
        let chunks = self.chunks();
        let (tile, term, k1, k) = self.chunk(b, core, c);
        let slot = b.bind("slot", c.clone() % ring);
        let is_made = self.sizes.right == Right::MadeInL1;
        if self.streams() {
            b.wait_flag(Pipe::Mte2, Pipe::Mte1, slot.clone());
        }
        if is_made {
            b.cross_wait(Pipe::Mte1, Counter::ChunkMade.id());
        }
        let free = |b: &mut Builder| {
            if self.streams() {
                b.set_flag(Pipe::Mte1, Pipe::Mte2, slot.clone());
            }
            if is_made {
                b.cross_set(Pipe::Mte1, Counter::ChunkFree.id());
            }
        };
        if self.sizes.groups > 1 {
            let length = self.sizes.group();
            b.repeat("g0", (Expr::from(0), k.clone(), length), |b, g0| {
                let group = b.bind("g", (k1.clone() + g0.clone()) / length);
                let turn = c.clone() * (k_l1 / length) + g0.clone() / length;
                let accumulator = b.bind("acc", turn % accumulators);
                let within = Within { from: g0, length: Expr::from(length), begin: Expr::from(0) };
                self.steps(
                    b,
                    core,
                    &Chunk { tile: &tile, term: &term, slot: &slot, k1: &k1, k: &k },
                    &accumulator,
                    &within,
                );
                self.drained(b, core, (c, &term, &group), &tile, accumulator);
            });
            return free(b);
        }
        let accumulator = b.bind("acc", c.clone() / chunks % accumulators);
        let within = Within { from: Expr::from(0), length: k.clone(), begin: k1.clone() };
        self.steps(b, core, &Chunk { tile: &tile, term: &term, slot: &slot, k1: &k1, k: &k }, &accumulator, &within);
        free(b);
        let is_last = match chunks {
            1 => Expr::from(1),
            _ => (c.clone() % chunks).equals(chunks - 1),
        };
        b.when(is_last, |b| self.drained(b, core, (c, &term, &Expr::from(0)), &tile, accumulator));
    }

    /// Sums leave their place in L0C.
    fn drained(&self, b: &mut Builder, core: &CoreState, at: (&Expr, &Expr, &Expr), tile: &Tile, accumulator: Expr) {
        b.flag(Pipe::M, Pipe::Fix, accumulator.clone());
        self.drain(b, core, at, tile, self.accumulator(&accumulator));
        b.set_flag(Pipe::Fix, Pipe::M, accumulator);
    }

    fn accumulator(&self, which: &Expr) -> Local {
        let sums = self.blocking.rows(&self.sizes) * self.blocking.cols * 4;
        Local::new(Space::L0c, which.clone() * round_up(sums, 1024))
    }

    /// Products of a part of a chunk, piece by piece, added to an accumulator.
    fn steps(&self, b: &mut Builder, core: &CoreState, chunk: &Chunk<'_>, accumulator: &Expr, within: &Within) {
        let k_l0 = self.blocking.k_l0;
        let Chunk { tile, term, slot, k1, k } = *chunk;
        let l1 = self.l1();
        let (_, rows) = self.rows(tile);
        let height = self.height(tile);
        let acc = self.accumulator(accumulator);
        b.repeat("k0", (Expr::from(0), within.length.clone(), k_l0), |b, at| {
            let kk = b.rest("kk", &at, k_l0, &within.length);
            let k0 = within.from.clone() + at.clone();
            let q = Expr::variable(core.q);
            b.wait_flag(Pipe::M, Pipe::Mte1, q.clone());
            let half = |space| crate::check::capacity(space, self.chip) as i64 / 2;
            let in_l0 = |space| Local::new(space, q.clone() * half(space));
            let left = match self.blocking.is_resident {
                true => self.bytes((k1.clone() + k0.clone()) * height.clone()),
                false => slot.clone() * l1.left + l1.lefts + self.bytes(k0.clone() * height.clone()),
            };
            let dtype = self.stage.terms[0].a.dtype;
            let others = vec![int("m", rows.clone()), int("k", kk.clone())];
            b.emit(Op::LoadA, &[dtype], vec![in_l0(Space::L0a).into(), Local::new(Space::L1, left).into()], others);
            let right = slot.clone() * l1.right + l1.rights;
            // All terms lie alike in L1 if they lie alike in GM.
            self.of_term(b, term, |b, term| {
                let extents = vec![int("k", kk.clone()), int("n", tile.cols.clone())];
                let dst = in_l0(Space::L0b).into();
                match term.b.is_by_columns() {
                    true => {
                        let wide = tile.cols.clone().round_up(FRACTAL);
                        let src = Local::new(Space::L1, right.clone() + self.bytes(k0.clone() * wide));
                        b.emit(Op::LoadB, &[term.b.dtype], vec![dst, src.into()], extents);
                    }
                    false => {
                        let src = Local::new(Space::L1, right.clone() + k0.clone() * BLOCK);
                        let height = int("height", k.clone().round_up(FRACTAL));
                        let others = [extents, vec![height]].concat();
                        b.emit(Op::LoadBt, &[term.b.dtype], vec![dst, src.into()], others);
                    }
                }
            });
            if self.sizes.is_scaled {
                let blocks = || int("blocks", (kk.clone() + 31) / 32);
                let at = |base: i64, rows: i64| {
                    Local::new(Space::L1, slot.clone() * (rows * l1.scale_row) + base + k0.clone() / 32)
                        .rows(l1.scale_row)
                };
                let left = at(l1.left_scales, self.blocking.rows(&self.sizes));
                let right = at(l1.right_scales, self.blocking.cols);
                let e8m0 = [DType::E8M0];
                b.emit(
                    Op::LoadScales,
                    &e8m0,
                    vec![in_l0(Space::L0as).into(), left.into()],
                    vec![int("rows", rows.clone()), blocks()],
                );
                b.emit(
                    Op::LoadScales,
                    &e8m0,
                    vec![in_l0(Space::L0bs).into(), right.into()],
                    vec![int("rows", tile.cols.clone()), blocks()],
                );
            }
            b.flag(Pipe::Mte1, Pipe::M, q.clone());
            let is_first = (within.begin.clone() + at.clone()).equals(0);
            b.when(is_first.clone(), |b| b.wait_flag(Pipe::Fix, Pipe::M, accumulator.clone()));
            let mut places: Vec<Arg> = vec![acc.clone().into(), in_l0(Space::L0a).into(), in_l0(Space::L0b).into()];
            let others = vec![int("m", rows.clone()), int("k", kk), int("n", tile.cols.clone()), int("init", is_first)];
            if self.sizes.is_scaled {
                places.extend([Arg::from(in_l0(Space::L0as)), in_l0(Space::L0bs).into()]);
                let right = self.stage.terms[0].b.dtype;
                b.emit(Op::MmadMx, &[dtype, right], places, others);
            } else {
                b.emit(Op::Mmad, &[dtype], places, others);
            }
            b.set_flag(Pipe::M, Pipe::Mte1, q.clone());
            b.set(core.q, Expr::from(1) - q);
        });
    }

    /// Sums of a tile out of L0C.
    fn drain(
        &self,
        b: &mut Builder,
        core: &CoreState,
        (c, term, group): (&Expr, &Expr, &Expr),
        tile: &Tile,
        acc: Local,
    ) {
        let terms = self.stage.terms.len() as i64;
        let (apart, rows) = self.rows(tile);
        let sums = self.stage.sums();
        let ordinal = c.clone() / (terms * self.chunks());
        let batch = self.blocking.batch;
        let batches = self.sizes.groups / batch;
        let (dst, ld, to) = match &self.target {
            Target::Result(out) => {
                let place: Vec<Expr> =
                    tile.outer.iter().cloned().chain([tile.token.clone(), tile.col.clone()]).collect();
                (global(out.tensor, out.at_expr(&place)), out.apart(2), out.dtype)
            }
            Target::Tiles(tensor) => {
                let turn = b.bind("turn", ordinal.clone() * batches + group.clone() / batch);
                let places = self.blocking.turns;
                let is_again = Expr::from(places - 1).lt(turn.clone());
                let is_first = if terms == 1 { is_again } else { term.clone().equals(0) * is_again };
                let is_first = if batch == 1 { is_first } else { (group.clone() % batch).equals(0) * is_first };
                b.when(is_first, |b| b.cross_wait(Pipe::Fix, Counter::Taken.id()));
                let place = (Builder::core() * places + turn % places) * batch + group.clone() % batch;
                let tile_of = place * terms + term.clone();
                let size = self.blocking.rows(&self.sizes) * self.blocking.cols;
                (global(*tensor, tile_of * size), self.blocking.cols, sums)
            }
            Target::Parts(parts) => {
                let part = if parts.shape[0] == 1 { Expr::from(0) } else { core.part.clone() };
                let place = [part, term.clone()];
                let place: Vec<Expr> = place
                    .into_iter()
                    .chain(tile.outer.iter().cloned())
                    .chain([tile.token.clone(), tile.col.clone()])
                    .collect();
                (global(parts.tensor, parts.at_expr(&place)), parts.apart(2), sums)
            }
        };
        let sized = |rows: Expr| vec![int("m", rows), int("n", tile.cols.clone()), int("ld", ld)];
        if let Some(weights) = &self.stage.merged {
            // Each behind the one before it, which it is added to.
            for (digit, weight) in weights.iter().enumerate() {
                let below = apart.clone() * (digit as i64 * FRACTAL * 4);
                let acc = Local { offset: acc.offset.clone() + below, ..acc.clone() };
                let mut others = sized(tile.tokens.clone());
                let atomic = Arg::Word(u8::from(digit > 0));
                others.extend([int("height", rows.clone()), ("atomic", atomic), ("scale", Arg::Float(*weight))]);
                b.emit(Op::Fix, &[DType::I32, to], vec![dst.clone(), acc.into()], others);
            }
        } else {
            let mut others = sized(rows);
            if matches!(&self.target, Target::Parts(parts) if parts.shape[0] == 1) {
                others.push(("atomic", Arg::Word(1)));
            }
            b.emit(Op::Fix, &[sums, to], vec![dst, acc.into()], others);
        }
        if matches!(self.target, Target::Tiles(_)) {
            let is_last = if terms == 1 { Expr::from(1) } else { term.clone().equals(terms - 1) };
            let is_last = if batch == 1 { is_last } else { (group.clone() % batch).equals(batch - 1) * is_last };
            b.when(is_last, |b| b.cross_set(Pipe::Fix, Counter::Sums.id()));
        }
    }
}

/// A chunk in L1.
#[derive(Clone, Copy)]
struct Chunk<'a> {
    tile: &'a Tile,
    term: &'a Expr,
    slot: &'a Expr,
    k1: &'a Expr,
    k: &'a Expr,
}

/// A part of a chunk.
struct Within {
    from: Expr,
    length: Expr,
    /// How much of the same sums came before it.
    begin: Expr,
}
