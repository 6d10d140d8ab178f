//! What a product would cost: cycles of each pipe, by formulas. Owns the closed form of a product; which blocking is
//! the cheapest is `blocking.rs`'s business, how stages add up `model.rs`'s.

use super::blocking::{Blocking, Right, Sizes};
use crate::chip::Chip;
use crate::isa::region::{FRACTAL, ceil, round_up};

/// Cycles of a blocking's pipes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) hbm: f64,
    pub(crate) mte2: f64,
    /// What L2 gives a cube core and its vector cores.
    pub(crate) port: f64,
    pub(crate) mte1: f64,
    pub(crate) cube: f64,
    pub(crate) fix: f64,
    /// What a ring of buffers lets through.
    pub(crate) stream: f64,
    /// What accumulators let through.
    pub(crate) drain: f64,
    /// Of the vector cores, on what leaves L0C.
    pub(crate) merge: f64,
    /// Of the vector cores, on everything, and of the cube core on the last of what they make. 0 if they make nothing.
    pub(crate) make: f64,
    /// For which nothing is loaded, as the left operand is not made yet.
    pub(crate) stall: f64,
    /// For which cube cores load nothing, as the first tile of the right operand is not made yet.
    pub(crate) first_made: f64,
    /// Until the first chunk is there, with the left operand.
    pub(crate) enter: f64,
    /// From a chunk's last byte to the end of its products.
    pub(crate) chunk: f64,
    /// From the last product to the last result.
    pub(crate) leave: f64,
    /// The part of the time in which L2 is full, and what HBM alone would need for all if it were so from the start.
    pub(crate) full: (f64, f64),
}

impl Estimate {
    /// By what blockings are chosen. Where a right operand is made meanwhile, those who read and those who make it
    /// wait for each other: of two that vector cores bind, the one that reads less is faster by a part of the
    /// difference, most of it if what is made is read from GM.
    pub(crate) fn rank(&self, right: Right) -> f64 {
        let part = match right {
            Right::Given => 0.0,
            Right::Made | Right::MadeAgain => 0.6,
            Right::MadeInL1 => 0.3,
        };
        self.cycles() + part * self.mte2.max(self.port)
    }

    /// Cycles of the whole product.
    pub(crate) fn cycles(&self) -> f64 {
        // What loads begins at once; what multiplies waits for the first chunk, but not for the last.
        let by_cube = self.mte2.max(self.stream) + self.first_made;
        let loads = self.hbm.max(self.port).max(by_cube) + self.chunk;
        let others = [self.mte1, self.cube, self.fix, self.drain, self.merge].into_iter().fold(0.0, f64::max);
        let all = (loads + self.stall).max(others + self.enter).max(self.make);
        // Then each line that comes to L2 drives one out.
        let (part, hbm) = self.full;
        all + part * (hbm - all).max(0.0) + self.leave
    }
}

impl Blocking {
    /// What its pipes would need.
    pub(crate) fn estimate(&self, sizes: &Sizes, chip: &Chip) -> Estimate {
        let costs = Costs::new(self, sizes, chip);
        let (mte1, cube, fix) = (costs.mte1(), costs.cube(), costs.fix());
        let (merge, parts) = match self.splits {
            1 => (costs.merge(), 0.0),
            _ => (0.0, costs.merge_of_parts() + 3.0 * costs.gm),
        };
        let convert = costs.convert();
        Estimate {
            hbm: costs.hbm(),
            mte2: costs.mte2(),
            port: costs.port(),
            mte1,
            cube,
            fix,
            stream: costs.stream(mte1, cube, convert),
            drain: costs.drain(cube, fix),
            merge,
            make: if sizes.is_made() { costs.make(merge + convert, cube.max(mte1)) } else { 0.0 },
            stall: costs.stall(mte1.max(cube)),
            first_made: if sizes.is_made() && !costs.is_in_l1() { costs.of_tile(convert) } else { 0.0 },
            enter: costs.enter(convert),
            chunk: costs.gm + costs.of_chunk(mte1 + cube),
            leave: costs.leave(fix, merge) + parts,
            full: costs.full(),
        }
    }
}

/// A blocking of a product on a chip.
struct Costs<'a> {
    blocking: &'a Blocking,
    sizes: &'a Sizes,
    chip: &'a Chip,
    /// Tiles along the tokens.
    tiles_m: i64,
    /// Tiles of a core, once for each term.
    items: f64,
    /// Those of them whose weights come at the rate of HBM, or of the port: others find them in L2.
    first_items: f64,
    /// Rows of the left operand, and of K, in a tile.
    rows: i64,
    part: i64,
    /// Chunks of K in a tile.
    chunks: f64,
    /// Most that a cube core reads in a cycle, and latencies of GM and of a flag.
    read: f64,
    gm: f64,
    flag: f64,
}

impl<'a> Costs<'a> {
    fn new(blocking: &'a Blocking, sizes: &'a Sizes, chip: &'a Chip) -> Costs<'a> {
        let teams = (*chip.cores.cube as i64 / blocking.splits).max(1);
        let (tiles_m, tiles_n) = blocking.tiles(sizes);
        let part = blocking.part(sizes);
        let of_terms = |tiles: i64| ceil(sizes.batch * tiles, teams) as f64 * sizes.terms as f64;
        let items = of_terms(tiles_m * tiles_n);
        Costs {
            blocking,
            sizes,
            chip,
            tiles_m,
            items,
            // Cores that share a tile's columns read them at the same time.
            first_items: if tiles_m <= teams { items } else { items.min(of_terms(tiles_n)) },
            rows: blocking.rows(sizes),
            part,
            chunks: ceil(part, blocking.k_l1) as f64,
            read: *chip.rates.l2_read_per_core as f64,
            gm: *chip.latency.gm as f64,
            flag: *chip.latency.flag as f64,
        }
    }

    fn is_made(&self) -> bool {
        self.sizes.is_made()
    }

    fn is_in_l1(&self) -> bool {
        self.sizes.right == Right::MadeInL1
    }

    /// Whether the right operand is in L2; what is made tile by tile comes from HBM as it is made.
    fn is_near(&self) -> bool {
        self.sizes.is_near && (!self.is_made() || self.tiles_m > 1 && !self.is_in_l1())
    }

    fn cores(&self) -> f64 {
        *self.chip.cores.cube as f64
    }

    fn vector_cores(&self) -> f64 {
        *self.chip.cores.vectors_per_cube as f64
    }

    fn hbm_rate(&self) -> f64 {
        *self.chip.rates.hbm_per_core as f64 * self.cores()
    }

    /// Bytes of a tile's operands.
    fn left(&self) -> f64 {
        self.sizes.bytes(self.rows * self.part) as f64
    }

    fn right(&self) -> f64 {
        self.sizes.bytes(self.blocking.cols * self.part) as f64
    }

    /// Bytes that a tile's right operand is made of.
    fn right_source(&self) -> f64 {
        (self.blocking.cols * self.part) as f64 * self.sizes.work.source
    }

    fn tokens(&self) -> f64 {
        self.blocking.tokens.min(self.sizes.tokens) as f64
    }

    /// Digits of a tile's sums that leave L0C for themselves.
    fn digits(&self) -> i64 {
        if self.sizes.is_merged { 1 } else { self.sizes.digits }
    }

    fn groups(&self) -> f64 {
        self.sizes.groups as f64
    }

    /// Bytes of HBM that all weights are.
    fn weight(&self) -> f64 {
        let Sizes { batch, terms, cols, k, work, .. } = self.sizes;
        match (self.is_near(), self.is_made()) {
            (true, _) => 0.0,
            (false, true) => (batch * terms * cols * k) as f64 * work.source,
            (false, false) => self.sizes.bytes(batch * terms * cols * k) as f64,
        }
    }

    fn hbm(&self) -> f64 {
        let Sizes { batch, tokens, digits, cols, k, .. } = self.sizes;
        let left = self.sizes.bytes(batch * digits * tokens * k) as f64;
        let results = (batch * tokens * cols * 4) as f64;
        (self.weight() + left + results) / self.hbm_rate()
    }

    /// The part of the time in which L2 is full of right operands that are made, and what HBM would need if that were
    /// all of it: what is made goes out, and what goes out too early comes in again, and out once more.
    fn full(&self) -> (f64, f64) {
        let (out, early) = self.blocking.driven_out(self.sizes, self.chip);
        (out, self.hbm() + self.sizes.made(self.sizes.cols) * (1.0 + 2.0 * early) / self.hbm_rate())
    }

    /// Of the weights, at the rate of the port.
    fn own(&self) -> f64 {
        if self.is_in_l1() { 0.0 } else { self.first_items * self.right() / self.read }
    }

    /// Of what is in L2 by then: the weight for another tile of tokens, and the left operand.
    fn held(&self) -> f64 {
        let of_left = self.left() / self.read;
        // All cores read their weights at the same time, and all of them what is in L2 then. With buffers enough, they
        // read the left operand one after the other.
        let shared = if self.blocking.ring > 4 { 0.2 } else { 1.0 };
        let (each, once) = if self.blocking.is_resident { (0.0, of_left * shared) } else { (of_left, 0.0) };
        let again = if self.is_in_l1() { 0.0 } else { (self.items - self.first_items) * self.right() / self.read };
        again + self.items * each + once
    }

    fn mte2(&self) -> f64 {
        let loads = f64::from(!self.is_in_l1()) + f64::from(!self.blocking.is_resident);
        let transfers = loads * self.chunks * *self.chip.latency.dma_issue as f64;
        // Cores with less to do leave their part of HBM to the others.
        let Sizes { batch, digits, tokens, k, work, .. } = self.sizes;
        let left = if work.ahead > 0.0 { 0.0 } else { self.sizes.bytes(batch * digits * tokens * k) as f64 };
        let even = if self.is_made() { 0.0 } else { (self.weight() + left) / self.hbm_rate() };
        even.max(self.own()) + self.held() + self.items * transfers
    }

    /// Vector cores read sums and what they convert beside.
    fn port(&self) -> f64 {
        let cols = self.blocking.cols as f64;
        let of_sums = match self.sizes.work.merge > 0.0 {
            true => self.tokens() * cols * (self.digits() * 4) as f64 * self.groups(),
            false => 0.0,
        };
        let of_made = if self.is_made() { self.right_source() } else { 0.0 };
        self.own() + self.held() + self.items * (of_sums + of_made) / self.read
    }

    /// Elements of K that are added up, and pieces of those that go through L0.
    fn piece(&self) -> i64 {
        if self.sizes.groups > 1 { self.sizes.group() } else { self.part }
    }

    fn steps(&self) -> f64 {
        self.groups() * ceil(self.piece(), self.blocking.k_l0) as f64
    }

    fn mte1(&self) -> f64 {
        let moved = self.left() / *self.chip.rates.l1_to_l0a as f64 + self.right() / *self.chip.rates.l1_to_l0b as f64;
        self.items * (moved + 2.0 * self.steps() * *self.chip.latency.mte1 as f64)
    }

    fn cube(&self) -> f64 {
        let [m0, k0, n0] = self.sizes.cube;
        let of_piece = ceil(self.rows, m0) * ceil(self.blocking.cols, n0) * ceil(self.piece(), k0);
        let products = (of_piece * self.sizes.groups) as f64;
        self.items * (products + self.steps() * *self.chip.latency.mmad as f64)
    }

    fn fix(&self) -> f64 {
        let drained = (self.rows.min(self.sizes.digits * self.sizes.tokens) * self.blocking.cols * 4) as f64;
        let rate = (*self.chip.rates.l0c_out).min(*self.chip.rates.l2_write_per_core) as f64;
        self.items * self.groups() * (*self.chip.latency.l0c_out as f64 + drained / rate)
    }

    /// A tile's part of something, with all of its terms.
    fn of_tile(&self, all: f64) -> f64 {
        all * self.sizes.terms as f64 / self.items.max(1.0)
    }

    /// A chunk's part of something.
    fn of_chunk(&self, all: f64) -> f64 {
        all / (self.items * self.chunks).max(1.0)
    }

    fn stream(&self, mte1: f64, cube: f64, convert: f64) -> f64 {
        let Blocking { cols, k_l1, k_l0, ring, is_resident, .. } = *self.blocking;
        // Buffers are free again once what they held is through: a few of them hide that much of the latency.
        let left = if is_resident { 0 } else { self.sizes.bytes(self.rows * k_l1) };
        let right = if self.is_in_l1() { 0 } else { self.sizes.bytes(cols * k_l1) };
        let chunk = (right + left) as f64 / self.read;
        // A buffer in L1 is free once its last piece is in L0, while the cube still works on it and the one before.
        let pieces = ceil(k_l1, k_l0) as f64;
        let in_l1 = self.of_chunk(mte1.max(cube * (1.0 - 1.0 / pieces)));
        // What comes from HBM comes in turn with what other cores ask for: as if nothing in this core overlapped.
        let in_place = if is_resident || self.is_near() { in_l1 } else { self.of_chunk(mte1 + cube) };
        let by_mte2 = self.gm + chunk + in_place + 2.0 * self.flag;
        // Vector cores are told that it is free, fill it, and say so.
        let by_vector_cores = self.of_chunk(convert) + in_l1 + 2.0 * *self.chip.latency.cross_core as f64;
        let of_buffer = match (self.is_in_l1(), is_resident) {
            (true, true) => by_vector_cores,
            (true, false) => by_vector_cores.max(by_mte2),
            (false, _) => by_mte2,
        };
        self.items * self.chunks * of_buffer / ring as f64
    }

    /// Sums that leave L0C together.
    fn drains(&self) -> f64 {
        self.items * self.groups()
    }

    fn drain(&self, cube: f64, fix: f64) -> f64 {
        let drains = self.drains();
        let of_tile = (cube + fix) / drains.max(1.0) + self.gm + 3.0 * self.flag;
        drains * of_tile / self.blocking.accumulators as f64
    }

    /// Of a vector core, on its part of the sums of its tiles.
    fn merge(&self) -> f64 {
        let Sizes { terms, work, are_rows, .. } = self.sizes;
        let moved = *self.chip.rates.gm_to_ub as f64;
        let of_sum = work.merge.max(self.groups() * (self.digits() * terms * 4) as f64 / moved);
        let sums = self.tokens() * self.blocking.cols as f64 / self.vector_cores();
        let room = *self.chip.memory.ub as f64 * if self.is_made() { 0.5 } else { 0.75 };
        let times = match are_rows {
            _ if self.sizes.groups == 1 => 0.0,
            false => self.groups() * (sums * work.rooms[0] / room).ceil(),
            true => {
                let batch = self.blocking.cols as f64 * self.blocking.batch as f64;
                let pieces = (batch * work.rooms[0] / room).ceil() * self.groups() / self.blocking.batch as f64;
                (self.tokens() / self.vector_cores()).ceil() * pieces
            }
        };
        let [of_tile, of_group, _] = work.chains;
        self.items / *terms as f64 * (sums * of_sum + of_tile + times * of_group)
    }

    /// The same where cores share the contraction: behind everything else, and every part is read: the more of them,
    /// the shorter each transfer.
    fn merge_of_parts(&self) -> f64 {
        let Sizes { batch, tokens, digits, cols, terms, is_int, work, .. } = self.sizes;
        // Integers are added up on their way out of L0C.
        let splits = if *is_int { 1 } else { self.blocking.splits };
        let all = (batch * tokens * cols) as f64 / self.cores() / self.vector_cores();
        let loads = (splits * digits * terms) as f64;
        let in_tile = *self.chip.memory.ub as f64 * 0.8 / (loads * 8.0);
        let rate = (*self.chip.rates.gm_to_ub as f64).min(self.read / self.vector_cores());
        let each = 4.0 / rate + (*self.chip.latency.dma_issue as f64) / in_tile;
        all * (loads * each).max(work.merge + loads * 4.0 / 64.0)
    }

    /// Of a vector core, on its part of the right operand.
    fn convert(&self) -> f64 {
        if !self.is_made() {
            return 0.0;
        }
        let work = &self.sizes.work;
        let own = match self.is_in_l1() {
            // Whole fractals of columns.
            true => round_up(ceil(self.blocking.cols, *self.chip.cores.vectors_per_cube as i64), FRACTAL) as f64,
            false => self.blocking.cols as f64 / self.vector_cores(),
        } * self.part as f64;
        let pieces = |own: f64| (own * work.rooms[1] / (*self.chip.memory.ub as f64 * 0.75)).ceil();
        let pieces = match self.is_in_l1() {
            true => pieces(own / self.chunks) * self.chunks,
            false => pieces(own),
        };
        let computed = own * work.convert + pieces * work.chains[2];
        self.items * computed.max(self.loaded(own) + pieces * work.loads * *self.chip.latency.dma_issue as f64)
    }

    /// What a vector core loads of codes, and what that takes: all cores read from HBM at the same time, and then at
    /// the same time what L2 has by then of lines that chunks cut.
    fn loaded(&self, own: f64) -> f64 {
        let bytes = own * self.sizes.work.source;
        let lines = self.blocking.k_l1 as f64 * self.sizes.work.source / *self.chip.memory.l2_line as f64;
        let again = if self.is_in_l1() && self.chunks > 1.0 { bytes * (1.0 - lines).max(0.0) } else { 0.0 };
        let port = bytes * self.vector_cores() / self.read;
        let from_hbm = self.weight() / self.hbm_rate() / self.items.max(1.0);
        // HBM has nothing to do then, and what is computed waits for long loads and short ones in turn: about as long
        // again.
        port.max(from_hbm) + 2.0 * again * self.vector_cores() / self.read
    }

    /// Until vector cores have made the left operand, and zeros that parts are added to.
    fn ahead(&self) -> f64 {
        let Sizes { batch, tokens, digits, cols, terms, is_int, work, .. } = self.sizes;
        if !is_int || self.blocking.splits == 1 {
            return work.ahead;
        }
        let bytes = (batch * tokens * digits * cols * terms * 4) as f64;
        let stored = bytes / (*self.chip.rates.ub_to_gm as f64 * self.cores() * self.vector_cores());
        work.ahead + stored + self.gm + *self.chip.latency.cross_core as f64
    }

    /// Until the left operand is there, if vector cores make it, and the right one lies in GM.
    fn enter_left(&self) -> f64 {
        let ahead = self.ahead();
        let bytes = match self.blocking.is_resident {
            true => self.left(),
            false => self.sizes.bytes(self.rows * self.blocking.k_l1) as f64,
        };
        if ahead == 0.0 {
            return 0.0;
        }
        // Behind chunks of the right operand that come meanwhile.
        let (least, more) = self.blocking.early(self.sizes, self.chip, ahead);
        let early = (least + more) as f64 * self.of_chunk(self.weight() / self.hbm_rate());
        ahead.max(early) + self.gm + bytes / self.read
    }

    /// What vector cores do one after the other, and the cube with the last that they make.
    fn make(&self, vector: f64, multiplied: f64) -> f64 {
        let last = match self.is_in_l1() {
            true => self.of_chunk(multiplied),
            false => self.of_tile(multiplied.max(self.mte2())),
        };
        self.ahead() + self.gm + vector + last
    }

    /// Until the cube may begin.
    fn enter(&self, convert: f64) -> f64 {
        // Vector cores make the left operand before the right one.
        let made = self.ahead() + self.gm;
        match (self.is_made(), self.is_in_l1()) {
            (false, _) => (self.first() + self.gm).max(self.enter_left()),
            (true, true) => made + self.of_chunk(convert) + *self.chip.latency.cross_core as f64,
            // A tile is read once all of it is there.
            (true, false) => made + self.of_tile(convert) + self.gm + self.right() / self.read,
        }
    }

    /// The first chunk of the right operand, from HBM.
    fn first(&self) -> f64 {
        self.sizes.bytes(self.blocking.cols * self.blocking.k_l1) as f64 / *self.chip.rates.hbm_per_core as f64
    }

    /// While all buffers are full, and the left operand is not there to be multiplied by the first.
    fn stall(&self, products: f64) -> f64 {
        let ahead = self.ahead();
        if ahead == 0.0 || self.is_made() {
            // Vector cores make it before the right one.
            return ahead;
        }
        let early = self.blocking.ring as f64 * self.of_chunk(self.weight() / self.hbm_rate());
        (ahead + self.gm + self.of_chunk(products) - early).max(0.0)
    }

    fn leave(&self, fix: f64, merge: f64) -> f64 {
        let drains = self.drains().max(1.0);
        // What leaves L0C is merged a load and a store later.
        let merged = match self.sizes.work.merge > 0.0 || self.blocking.splits > 1 {
            true => *self.chip.latency.cross_core as f64 + 2.0 * self.gm + merge / drains,
            false => 0.0,
        };
        fix / drains + self.gm + merged
    }
}
