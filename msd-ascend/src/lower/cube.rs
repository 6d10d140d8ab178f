//! Products on the cube cores. Owns the instructions and the flags; how a product is cut is `blocking.rs`'s, what
//! vector cores do meanwhile `beside.rs`'s.
//!
//! A core works on its tiles one after the other. Chunks of K come to a ring of buffers in L1 as far ahead as it
//! holds; a left operand that is the same for all tiles of a core comes once. Sums leave L0C for the result, or for a
//! tile in GM that the vector cores beside merge.

use super::blocking::{Blocking, Right, Sizes};
use super::builder::{Builder, Local, global, int, outer_place};
use super::phases::{Counter, Phases};
use super::product::ProductStage;
use super::region::Term;
use super::tiles::Body;
use super::view::View;
use crate::chip::Chip;
use crate::expr::{Expr, Slot};
use crate::isa::Op;
use crate::isa::memory::{Core, Pipe, Space};
use crate::isa::region::{BLOCK, FRACTAL, ceil, round_up};

/// Where the sums of a product go.
pub(crate) enum Target {
    /// Straight to a window of the result.
    Result(View),
    /// To tiles that the vector cores beside merge: `[core, turns * batch, term, rows, cols]`.
    Tiles(u16),
    /// To GM, `[part, term, .., D*M, N]`: by parts of K, or added up where there is one for all.
    Parts(View),
}

/// A product about to be written as instructions.
pub(crate) struct Emission<'a> {
    pub(crate) stage: &'a ProductStage,
    pub(crate) sizes: Sizes,
    pub(crate) blocking: Blocking,
    pub(crate) chip: &'a Chip,
    pub(crate) target: Target,
    /// About how many cycles vector cores take to make the left operand.
    pub(crate) ahead: f64,
}

/// What makes right operands: rows of a region for each column of a tile.
pub(crate) struct Conversion {
    pub(crate) body: Body,
    pub(crate) shape: Vec<i64>,
    pub(crate) note: String,
}

/// What vector cores do beside a product.
#[derive(Default)]
pub(crate) struct VectorWork {
    pub(crate) conversions: Vec<Conversion>,
    /// Whether all conversions have the same places and flags, and take turns.
    pub(crate) shares_places: bool,
    /// What is kept of the sums of each group.
    pub(crate) groups: Option<Body>,
    pub(crate) merge: Option<Body>,
}

/// A tile: its number and where it starts.
pub(super) struct Tile {
    pub(super) outer: Vec<Expr>,
    pub(super) token: Expr,
    pub(super) tokens: Expr,
    pub(super) col: Expr,
    pub(super) cols: Expr,
}

impl Emission<'_> {
    /// Teams of cores, each of which shares the contraction of a tile.
    pub(super) fn teams(&self) -> i64 {
        *self.chip.cores.cube as i64 / self.blocking.splits
    }

    fn tile_count(&self) -> i64 {
        let (m, n) = self.blocking.tiles(&self.sizes);
        self.sizes.batch * m * n
    }

    /// Chunks of K of a part.
    pub(super) fn chunks(&self) -> i64 {
        ceil(self.blocking.part(&self.sizes), self.blocking.k_l1)
    }

    /// Chunks of a tile, of all terms.
    pub(super) fn chunks_of_tile(&self) -> i64 {
        self.chunks() * self.stage.terms.len() as i64
    }

    /// Cores that share a part of K, this one's place among them, and its part.
    pub(super) fn place(&self, b: &mut Builder) -> (Expr, Expr) {
        match self.blocking.splits {
            1 => (Builder::core(), Expr::from(0)),
            splits => (b.bind("team", Builder::core() / splits), b.bind("part", Builder::core() % splits)),
        }
    }

    /// Tiles of this core.
    pub(super) fn own_tiles(&self, b: &mut Builder, team: &Expr) -> Expr {
        let teams = self.teams();
        let count = self.tile_count();
        if count % teams == 0 {
            return Expr::from(count / teams);
        }
        b.bind("tiles", (Expr::from(count + teams - 1) - team.clone()) / teams)
    }

    /// Where a tile starts and how much of it there is.
    pub(super) fn tile(&self, b: &mut Builder, index: Expr) -> Tile {
        let Blocking { tokens, cols, .. } = self.blocking;
        let Sizes { tokens: all_tokens, cols: all_cols, .. } = self.sizes;
        let (tiles_m, tiles_n) = self.blocking.tiles(&self.sizes);
        let rank = self.stage.shape.len();
        let bind = |b: &mut Builder, name: &str, value: Expr| b.bind(name, value);
        let token = if tiles_m == 1 { Expr::from(0) } else { bind(b, "m0", index.clone() % tiles_m * tokens) };
        let in_row = index.clone() / tiles_m;
        let wrapped = if self.sizes.batch == 1 { in_row } else { in_row % tiles_n };
        let col = if tiles_n == 1 { Expr::from(0) } else { bind(b, "n0", wrapped * cols) };
        let m = b.rest("m", &token, tokens, &Expr::from(all_tokens));
        let n = b.rest("n", &col, cols, &Expr::from(all_cols));
        let outer = outer_place(b, index / (tiles_m * tiles_n), &self.stage.shape[..rank - 2]);
        Tile { outer, token, tokens: m, col, cols: n }
    }

    /// Rows of a tile from digit to digit, and all of them.
    pub(super) fn rows(&self, tile: &Tile) -> (Expr, Expr) {
        let digits = self.sizes.digits;
        if self.blocking.is_stacked(&self.sizes) {
            return (Expr::from(self.sizes.tokens), Expr::from(digits * self.sizes.tokens));
        }
        let apart = tile.tokens.clone().round_up(FRACTAL);
        (apart.clone(), apart * (digits - 1) + tile.tokens.clone())
    }

    /// Rows of the left operand in L1, in whole fractals.
    pub(super) fn height(&self, tile: &Tile) -> Expr {
        self.rows(tile).1.round_up(FRACTAL)
    }

    pub(super) fn bytes(&self, elements: Expr) -> Expr {
        match self.sizes.bits {
            4 => elements / 2,
            bits => elements * (bits / 8),
        }
    }

    pub(super) fn byte_count(&self, elements: i64) -> i64 {
        elements * self.sizes.bits / 8
    }

    /// Bytes of L1: the left operand or nothing, then buffers of the right, of the left, and of their scales.
    pub(super) fn l1(&self) -> L1 {
        let Blocking { cols, k_l1, ring, is_resident, .. } = self.blocking;
        let rows = self.blocking.rows(&self.sizes);
        let per_block = BLOCK * 8 / self.sizes.bits;
        let part = round_up(self.blocking.part(&self.sizes), per_block);
        let resident = if is_resident { self.byte_count(rows * part) } else { 0 };
        let right = self.byte_count(round_up(cols, self.sizes.columns) * k_l1);
        let left = if is_resident { 0 } else { self.byte_count(rows * k_l1) };
        let scale_row = if self.sizes.is_scaled { round_up(k_l1 / 32, BLOCK) } else { 0 };
        let lefts = resident + ring * right;
        let right_scales = lefts + ring * left;
        let left_scales = right_scales + ring * cols * scale_row;
        L1 { rights: resident, right, lefts, left, right_scales, left_scales, scale_row }
    }

    /// The cube cores' part.
    pub(crate) fn cube(&self, b: &mut Builder, phases: &mut Phases) {
        let Blocking { ring, splits, accumulators, is_resident, .. } = self.blocking;
        b.on(Core::Cube);
        let (team, part) = self.place(b);
        let tiles = self.own_tiles(b, &team);
        let chunks = b.bind("chunks", tiles.clone() * self.chunks_of_tile());
        let begin = b.bind("k_begin", part.clone() * self.blocking.part(&self.sizes));
        let length = match self.sizes.k % self.blocking.part(&self.sizes) {
            0 => Expr::from(self.blocking.part(&self.sizes)),
            _ if splits == 1 => Expr::from(self.sizes.k),
            _ => b.bind("k_length", (Expr::from(self.sizes.k) - begin.clone()).min(self.blocking.part(&self.sizes))),
        };
        let core = CoreState { team, part, begin, length, q: b.cell("q", 0) };
        if self.streams() {
            (0..ring).for_each(|slot| b.set_flag(Pipe::Mte1, Pipe::Mte2, slot));
        }
        if self.sizes.right == Right::MadeInL1 {
            (0..ring).for_each(|_| b.cross_set(Pipe::Mte1, Counter::ChunkFree.id()));
        }
        (0..2).for_each(|half| b.set_flag(Pipe::M, Pipe::Mte1, half));
        (0..accumulators).for_each(|slot| b.set_flag(Pipe::Fix, Pipe::M, slot));
        if !self.sizes.is_made() {
            phases.before_cube(b, self.stage.terms.iter().map(|term| &term.b));
        }
        // What stays in L1 is made meanwhile, and needed as soon as it is there.
        // Vector cores make the left one before the right one.
        let early = match self.blocking.early(&self.sizes, self.chip, self.ahead) {
            _ if is_resident && self.sizes.is_made() => Expr::from(0),
            (least, 0) => Expr::from(least),
            (least, more) => b.bind("early", Builder::core() % (more + 1) + least),
        };
        // Sums that are added to have to be 0 by then.
        let sums = match &self.target {
            Target::Parts(parts) => Some(parts),
            _ => None,
        };
        let lefts = || self.stage.terms.iter().map(|term| &term.a).chain(sums);
        // Chunks of a left operand that is not there yet come behind as many of the right one as there is room for.
        let is_late = !is_resident && self.ahead > 0.0 && !self.sizes.is_made();
        if !is_resident && !is_late {
            phases.before_cube(b, lefts());
        }
        let next = if is_resident && self.staggers() { Load::Staggered } else { Load::Both };
        let first = if is_late { Load::Right } else { next };
        self.load_chunks(b, &core, (Expr::from(0), chunks.clone().min(early.clone())), first);
        if is_late {
            phases.before_cube(b, lefts());
            self.load_chunks(b, &core, (Expr::from(0), chunks.clone().min(ring)), Load::Left);
        }
        if is_resident {
            phases.before_cube(b, lefts());
            b.when(Expr::from(0).lt(chunks.clone()), |b| self.load_left(b, &core));
            self.load_chunks(b, &core, (early, chunks.clone().min(ring)), Load::Both);
        }
        b.repeat("c", (Expr::from(0), chunks.clone(), 1), |b, c| {
            self.multiply(b, &core, &c);
            if self.streams() {
                b.when((c.clone() + ring).lt(chunks.clone()), |b| self.load(b, &core, c + ring, next));
            }
        });
        if self.streams() {
            (0..ring).for_each(|slot| b.wait_flag(Pipe::Mte1, Pipe::Mte2, slot));
        }
        (0..2).for_each(|half| b.wait_flag(Pipe::M, Pipe::Mte1, half));
        (0..accumulators).for_each(|slot| b.wait_flag(Pipe::Fix, Pipe::M, slot));
        if matches!(self.target, Target::Tiles(_)) {
            let turns = tiles * (self.sizes.groups / self.blocking.batch);
            let places = self.blocking.turns;
            b.repeat("t", (Expr::from(0), turns.min(places), 1), |b, _| b.cross_wait(Pipe::Fix, Counter::Taken.id()));
        }
        b.barrier_all();
    }

    /// Chunk `c`: its tile's number, term and place along K.
    pub(super) fn chunk(&self, b: &mut Builder, core: &CoreState, c: &Expr) -> (Tile, Expr, Expr, Expr) {
        let terms = self.stage.terms.len() as i64;
        let chunks = self.chunks();
        let index = core.team.clone() + c.clone() / (terms * chunks) * self.teams();
        let tile = self.tile(b, index);
        let term = if terms == 1 { Expr::from(0) } else { b.bind("term", c.clone() / chunks % terms) };
        let k1 = if chunks == 1 { Expr::from(0) } else { b.bind("k1", c.clone() % chunks * self.blocking.k_l1) };
        let k = b.rest("k", &k1, self.blocking.k_l1, &core.length);
        (tile, term, k1, k)
    }

    /// What depends on the term, for each of them.
    pub(super) fn of_term(&self, b: &mut Builder, term: &Expr, what: impl Fn(&mut Builder, &Term)) {
        let terms = &self.stage.terms;
        match terms.as_slice() {
            [only] => what(b, only),
            [first, second] => {
                b.either(term.clone().equals(0), |b| what(b, first), |b| what(b, second));
            }
            many => {
                for (index, each) in many.iter().enumerate() {
                    b.when(term.clone().equals(index as i64), |b| what(b, each));
                }
            }
        }
    }

    /// Whether anything of a chunk comes through MTE2.
    pub(super) fn streams(&self) -> bool {
        self.sizes.right != Right::MadeInL1 || !self.blocking.is_resident
    }

    fn load_chunks(&self, b: &mut Builder, core: &CoreState, (from, to): (Expr, Expr), what: Load) {
        let is_empty = to.number().is_some_and(|to| to <= 0);
        if self.streams() && !is_empty {
            let operand = match (what, self.blocking.is_resident) {
                _ if self.sizes.right == Right::MadeInL1 => "left operand",
                (Load::Left, _) => "left operand",
                (Load::Right, _) | (_, true) => "right operand",
                (Load::Both | Load::Staggered, false) => "operands",
            };
            b.note(format!("{}: chunks of the {operand}, ahead", self.stage.note));
            b.repeat("c", (from, to, 1), |b, c| self.load(b, core, c, what));
        }
    }

    fn load(&self, b: &mut Builder, core: &CoreState, c: Expr, what: Load) {
        let (tile, term, k1, k) = self.chunk(b, core, &c);
        let slot = b.bind("slot", c.clone() % self.blocking.ring);
        let ordinal = c.clone() / self.chunks_of_tile();
        let made = (Builder::core() * 2 + ordinal % 2) * self.blocking.cols;
        let k = (core.begin.clone() + k1.clone(), k);
        let at = ChunkAt {
            slot: slot.clone(),
            tile: &tile,
            term: &term,
            made,
            from: Expr::from(0),
            cols: tile.cols.clone(),
            k,
        };
        if what != Load::Left {
            b.wait_flag(Pipe::Mte1, Pipe::Mte2, slot.clone());
            if matches!(self.sizes.right, Right::Made | Right::MadeAgain) {
                let in_tile = self.chunks_of_tile();
                let is_first = if in_tile == 1 { Expr::from(1) } else { (c.clone() % in_tile).equals(0) };
                b.when(is_first, |b| b.cross_wait(Pipe::Mte2, Counter::Made.id()));
            }
        }
        match (what, self.blocking.is_resident) {
            (Load::Right, _) => return self.load_right(b, &at),
            (Load::Left, _) => self.load_left_chunk(b, &at),
            (_, false) if self.sizes.right == Right::MadeInL1 => self.load_left_chunk(b, &at),
            (Load::Both, true) => self.load_right(b, &at),
            // All cores may have waited for their left operands with all buffers full, and go on at the same time.
            (Load::Staggered, _) => b.either(
                (Builder::core() % 2) * (c.clone() % self.blocking.ring).equals(0),
                |b| self.load_right_in_halves(b, &at),
                |b| self.load_right(b, &at),
            ),
            // Half of the cores the other way round, so that HBM is busy while some read what L2 holds.
            (Load::Both, false) => b.either(
                (Builder::core() % 2).equals(0),
                |b| {
                    self.load_right(b, &at);
                    self.load_left_chunk(b, &at);
                },
                |b| {
                    self.load_left_chunk(b, &at);
                    self.load_right(b, &at);
                },
            ),
        }
        b.set_flag(Pipe::Mte2, Pipe::Mte1, slot);
        if self.sizes.right == Right::MadeAgain {
            let in_tile = self.chunks_of_tile();
            let is_last = if in_tile == 1 { Expr::from(1) } else { (c % in_tile).equals(in_tile - 1) };
            b.when(is_last, |b| b.cross_set(Pipe::Mte2, Counter::Reused.id()));
        }
    }

    /// Whether any chunk may come in two transfers: of columns, so that no line of L2 is read twice.
    fn staggers(&self) -> bool {
        let last = self.sizes.cols % self.blocking.cols;
        let is_plain = |term: &Term| term.b.is_by_columns() && term.scales.is_none();
        let is_wide = |cols: i64| cols > self.half();
        is_wide(self.blocking.cols) && (last == 0 || is_wide(last)) && self.stage.terms.iter().all(is_plain)
    }

    /// About half of the columns of a tile.
    fn half(&self) -> i64 {
        round_up(self.blocking.cols / 2, FRACTAL)
    }

    fn load_right_in_halves(&self, b: &mut Builder, at: &ChunkAt<'_>) {
        let (half, all) = (Expr::from(self.half()), at.tile.cols.clone());
        for (from, cols) in [(Expr::from(0), half.clone()), (half.clone(), all - half.clone())] {
            let (slot, made, k) = (at.slot.clone(), at.made.clone(), at.k.clone());
            self.load_right(b, &ChunkAt { slot, made, from, cols, k, ..*at });
        }
    }

    fn load_right(&self, b: &mut Builder, at: &ChunkAt<'_>) {
        let (l1, ChunkAt { slot, tile, term, made: col, from, cols, k: (at_k, k) }) = (self.l1(), at);
        self.of_term(b, term, |b, term| {
            let dtype = term.b.dtype;
            let col = if self.sizes.right == Right::MadeAgain { col.clone() } else { tile.col.clone() };
            let place: Vec<Expr> = tile.outer.iter().cloned().chain([at_k.clone(), col + from.clone()]).collect();
            let (rows, cols, ld, height) = match term.b.is_by_columns() {
                true => (cols.clone(), k.clone(), term.b.apart(1), tile.cols.clone().round_up(FRACTAL)),
                false => (k.clone(), cols.clone(), term.b.apart(2), k.clone().round_up(FRACTAL)),
            };
            let below = from.clone() * BLOCK;
            let dst = Local::new(Space::L1, slot.clone() * l1.right + l1.rights + below);
            let source = global(term.b.tensor, term.b.at_expr(&place));
            let cols = if dtype.bits() == 4 { cols.round_up(2) } else { cols };
            let others = vec![int("rows", rows), int("cols", cols), int("ld", ld), int("height", height)];
            b.emit(Op::Nd2nz, &[dtype], vec![dst.into(), source], others);
            if let Some((_, scales)) = &term.scales {
                let place: Vec<Expr> =
                    tile.outer.iter().cloned().chain([tile.col.clone(), at_k.clone() / 32]).collect();
                let dst = slot.clone() * (self.blocking.cols * l1.scale_row) + l1.right_scales;
                self.load_scales(b, scales, &place, (tile.cols.clone(), k.clone()), Local::new(Space::L1, dst));
            }
        });
    }

    fn load_left_chunk(&self, b: &mut Builder, at: &ChunkAt<'_>) {
        let (l1, ChunkAt { slot, tile, k: (at_k, k), .. }) = (self.l1(), at);
        let term = &self.stage.terms[0];
        let dst = slot.clone() * l1.left + l1.lefts;
        self.load_rows(b, term, tile, (at_k, k), dst);
        if let Some((scales, _)) = &term.scales {
            let place: Vec<Expr> = tile.outer.iter().cloned().chain([tile.token.clone(), at_k.clone() / 32]).collect();
            let rows = self.blocking.rows(&self.sizes);
            let dst = slot.clone() * (rows * l1.scale_row) + l1.left_scales;
            self.load_scales(b, scales, &place, (tile.tokens.clone(), k.clone()), Local::new(Space::L1, dst));
        }
    }

    fn load_scales(&self, b: &mut Builder, scales: &View, place: &[Expr], (rows, k): (Expr, Expr), dst: Local) {
        let source = global(scales.tensor, scales.at_expr(place));
        let others = vec![int("rows", rows), int("cols", (k + 31) / 32), int("ld", scales.apart(2))];
        b.emit(Op::Load, &[scales.dtype], vec![dst.into(), source], others);
    }

    /// Rows of the left operand: digits of the tile's tokens below each other.
    fn load_rows(&self, b: &mut Builder, term: &Term, tile: &Tile, (at_k, k): (&Expr, &Expr), dst: Expr) {
        let (apart, rows) = self.rows(tile);
        let height = rows.clone().round_up(FRACTAL);
        let dtype = term.a.dtype;
        let cols = if dtype.bits() == 4 { k.clone().round_up(2) } else { k.clone() };
        let ld = term.a.apart(2);
        let loads: Vec<(Expr, Expr, Expr)> = match self.blocking.is_stacked(&self.sizes) {
            true => vec![(Expr::from(0), rows, Expr::from(0))],
            false => (0..self.sizes.digits)
                .map(|d| {
                    let row = tile.token.clone() + d * self.sizes.tokens;
                    (row, tile.tokens.clone(), apart.clone() * (d * BLOCK))
                })
                .collect(),
        };
        for (row, count, below) in loads {
            let place: Vec<Expr> = tile.outer.iter().cloned().chain([row, at_k.clone()]).collect();
            let source = global(term.a.tensor, term.a.at_expr(&place));
            let dst = Local::new(Space::L1, dst.clone() + below);
            let others =
                vec![int("rows", count), int("cols", cols.clone()), int("ld", ld), int("height", height.clone())];
            b.emit(Op::Nd2nz, &[dtype], vec![dst.into(), source], others);
        }
    }

    /// The left operand of all tiles of a core.
    fn load_left(&self, b: &mut Builder, core: &CoreState) {
        let tile = self.tile(b, core.team.clone());
        b.note(format!("{}: the left operand", self.stage.note));
        self.load_rows(b, &self.stage.terms[0], &tile, (&core.begin, &core.length), Expr::from(0));
        b.flag(Pipe::Mte2, Pipe::Mte1, self.blocking.ring);
    }
}

/// Which operands' chunk is loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    Right,
    Left,
    Both,
    /// As both, but that half of the cores take the first behind a full ring in two transfers, so that not all cores
    /// start their transfers at the same time, while HBM has nothing to do.
    Staggered,
}

/// A chunk of K on its way to L1.
struct ChunkAt<'t> {
    slot: Expr,
    tile: &'t Tile,
    term: &'t Expr,
    /// The first column of the tile where vector cores made it, if they use places again.
    made: Expr,
    /// Columns of the tile: from where, and how many.
    from: Expr,
    cols: Expr,
    /// From where, and how much.
    k: (Expr, Expr),
}

/// What a cube core keeps while it multiplies.
pub(super) struct CoreState {
    pub(super) team: Expr,
    pub(super) part: Expr,
    pub(super) begin: Expr,
    pub(super) length: Expr,
    /// Which half of L0.
    pub(super) q: Slot,
}

/// Places in L1.
pub(super) struct L1 {
    pub(super) rights: i64,
    pub(super) right: i64,
    pub(super) lefts: i64,
    pub(super) left: i64,
    pub(super) right_scales: i64,
    pub(super) left_scales: i64,
    pub(super) scale_row: i64,
}
