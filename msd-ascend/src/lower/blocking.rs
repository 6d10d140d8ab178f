//! How a product is cut for a chip's cube cores: tiles, chunks of K, buffers, and who does what. Owns the choice, made
//! by the cycles that each pipe would need.

use super::product::ProductStage;
use crate::chip::Chip;
use crate::isa::region::{BLOCK, FRACTAL, ceil, round_up};

/// How a product is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blocking {
    /// Tokens of a tile.
    pub(crate) tokens: i64,
    /// Columns of a tile.
    pub(crate) cols: i64,
    /// Elements of K that come to L1 at a time.
    pub(crate) k_l1: i64,
    /// Elements of K that come to L0 at a time.
    pub(crate) k_l0: i64,
    /// Buffers in L1 for what is streamed.
    pub(crate) ring: i64,
    /// Whether the left operand stays in L1.
    pub(crate) is_resident: bool,
    /// Parts of K that cores share between them.
    pub(crate) splits: i64,
    /// Tiles of sums in L0C.
    pub(crate) accumulators: i64,
    /// Groups whose sums vector cores take at a time.
    pub(crate) batch: i64,
    /// Batches of sums in GM, or tiles without groups, before the first place is used again.
    pub(crate) turns: i64,
}

/// What vector cores do beside a product.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Work {
    /// Cycles in which one makes an element of a right operand.
    pub(crate) convert: f64,
    /// Bytes that it reads for that.
    pub(crate) source: f64,
    /// Right operands that are made. Other figures of them are means over all terms.
    pub(crate) made: i64,
    /// Transfers for what is made at a time.
    pub(crate) loads: f64,
    /// Cycles in which it makes a result of its sums; 0 if those are the result. With groups, of all of them.
    pub(crate) merge: f64,
    /// Cycles in which instructions wait for each other on a tile, on the sums of a group, and on what is made at a
    /// time.
    pub(crate) chains: [f64; 3],
    /// Bytes of UB for each sum of a group, and for each element that is made.
    pub(crate) rooms: [f64; 2],
    /// Cycles until vector cores have made the left operand.
    pub(crate) ahead: f64,
}

/// Where the right operand of a product comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    /// It lies in GM before.
    Given,
    /// Vector cores make it meanwhile, tile by tile, in GM.
    Made,
    /// The same, in two places for each core, which take turns.
    MadeAgain,
    /// Vector cores make it meanwhile, chunk by chunk, in L1: once more for each tile of tokens.
    MadeInL1,
}

/// What is known of a product.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sizes {
    pub(crate) batch: i64,
    pub(crate) tokens: i64,
    pub(crate) digits: i64,
    pub(crate) cols: i64,
    pub(crate) k: i64,
    /// Groups of the contraction, each of which has sums of its own.
    pub(crate) groups: i64,
    pub(crate) terms: i64,
    pub(crate) bits: i64,
    /// Whether every tile of a batch has the same left operand.
    pub(crate) shares_left: bool,
    pub(crate) is_scaled: bool,
    /// What columns of a right operand in L1 come in whole multiples of.
    pub(crate) columns: i64,
    /// Whether sums are integers.
    pub(crate) is_int: bool,
    /// Whether digits are merged on their way out of L0C, so that each begins with whole fractals.
    pub(crate) is_merged: bool,
    /// Cube cores.
    pub(crate) cores: i64,
    /// Steps of the cube's own shape.
    pub(crate) cube: [i64; 3],
    /// What vector cores do meanwhile.
    pub(crate) work: Work,
    /// Whether sums of groups are rows of several groups.
    pub(crate) are_rows: bool,
    /// Whether the right operand is in L2, where cores put it.
    pub(crate) is_near: bool,
    /// Where it comes from.
    pub(crate) right: Right,
}

impl Sizes {
    pub(crate) fn of(stage: &ProductStage, (right, is_near): (Right, bool), work: Work, chip: &Chip) -> Option<Sizes> {
        let rank = stage.shape.len();
        let term = stage.terms.first()?;
        let shape = chip.multiplies(term.a.dtype)?;
        Some(Sizes {
            batch: stage.shape[..rank - 2].iter().product(),
            tokens: stage.shape[rank - 2],
            digits: term.digits,
            cols: stage.shape[rank - 1],
            k: term.k(),
            groups: stage.groups.as_ref().map_or(1, |groups| groups.count),
            are_rows: stage.groups.as_ref().is_some_and(|groups| groups.are_rows),
            terms: stage.terms.len() as i64,
            bits: i64::from(term.a.dtype.bits()),
            shares_left: term.a.strides[..rank - 2].iter().zip(&stage.shape).all(|(s, n)| *s == 0 || *n == 1),
            is_scaled: term.scales.is_some(),
            // One whose rows lie one element after the other has fractals of 32 bytes of them.
            columns: match stage.terms.iter().all(|term| term.b.is_by_columns()) {
                true => FRACTAL,
                false => BLOCK * 8 / i64::from(term.a.dtype.bits()),
            },
            is_int: term.a.dtype.is_int(),
            is_merged: stage.merged.is_some(),
            cores: *chip.cores.cube as i64,
            cube: shape.map(|n| n as i64),
            work,
            is_near,
            right,
        })
    }

    pub(crate) fn bytes(&self, elements: i64) -> i64 {
        elements * self.bits / 8
    }

    /// Bytes of right operands that vector cores make, of so many columns.
    pub(crate) fn made(&self, cols: i64) -> f64 {
        self.bytes(self.work.made * cols * self.k) as f64
    }

    /// Bytes of L2 that they and what they are made of take.
    pub(crate) fn made_in_l2(&self, cols: i64) -> f64 {
        (self.terms * cols * self.k) as f64 * self.work.source + self.made(cols)
    }

    /// Whether vector cores make the right operand meanwhile.
    pub(crate) fn is_made(&self) -> bool {
        self.right != Right::Given
    }

    /// Elements of a group.
    pub(crate) fn group(&self) -> i64 {
        self.k / self.groups
    }
}

/// Columns of a tile worth a thought: round ones, and those that leave each core a few tiles of the same size.
fn columns(sizes: &Sizes, chip: &Chip) -> Vec<i64> {
    let each = ceil(sizes.cols, *chip.cores.cube as i64);
    let mut all: Vec<i64> = (1..=4).map(|tiles| round_up(ceil(each, tiles), FRACTAL)).collect();
    all.extend([16, 32, 64, 96, 128, 192, 256, 384, 512]);
    all.sort_unstable();
    all.dedup();
    all.retain(|cols| *cols <= 1024);
    all
}

/// Most tiles that vector cores are ahead of the sums they ask for.
const LAG: i64 = 4;

/// Part of L2 that is sure to be there when it is read: what was read keeps its place for as long again.
const HELD_IN_L2: f64 = 0.65;

/// Bytes of a transfer to L1: long ones cost less, short ones fill more buffers.
const CHUNKS: [i64; 5] = [32 << 10, 48 << 10, 64 << 10, 96 << 10, 128 << 10];

/// What is chosen from.
struct Shape {
    tokens: i64,
    cols: i64,
    splits: i64,
    is_resident: bool,
    chunk: i64,
}

impl Blocking {
    /// Tiles along the tokens and along the columns.
    pub(crate) fn tiles(&self, sizes: &Sizes) -> (i64, i64) {
        (ceil(sizes.tokens, self.tokens), ceil(sizes.cols, self.cols))
    }

    /// Cores that have a tile at all.
    pub(crate) fn busy_cores(&self, sizes: &Sizes) -> i64 {
        let (m, n) = self.tiles(sizes);
        (sizes.batch * m * n * self.splits).min(sizes.cores)
    }

    /// Rows that a tile of the left operand has at most, in whole fractals.
    pub(crate) fn rows(&self, sizes: &Sizes) -> i64 {
        match self.is_stacked(sizes) {
            true => round_up(sizes.digits * sizes.tokens, FRACTAL),
            false => sizes.digits * round_up(self.tokens.min(sizes.tokens), FRACTAL),
        }
    }

    /// Whether digits of all tokens lie below each other as they do in GM.
    pub(crate) fn is_stacked(&self, sizes: &Sizes) -> bool {
        self.tokens >= sizes.tokens && !sizes.is_merged
    }

    /// Chunks of the right operand that come before the left one is made, on each core, and how many more on some: not
    /// the same number on all, so that HBM is busy while others read what L2 holds.
    pub(crate) fn early(&self, sizes: &Sizes, chip: &Chip, ahead: f64) -> (i64, i64) {
        if !self.is_resident {
            return (self.ring, 0);
        }
        let chunk = sizes.bytes(self.cols * self.k_l1) as f64 / *chip.rates.hbm_per_core as f64;
        let least = ((ahead / chunk).ceil() as i64).clamp(1, self.ring - 1);
        (least, (self.ring - least).min(2))
    }

    /// Tiles that vector cores make right operands of before they ask for the sums of the first: loads for those would
    /// wait behind them. Fewer, where L2 would not hold them until they are read.
    pub(crate) fn lag(&self, sizes: &Sizes, chip: &Chip) -> i64 {
        match sizes.right {
            Right::Given => 0,
            // One, or as many as L1 has room for: the cube makes room only as its sums are taken.
            Right::MadeInL1 => (self.ring / (ceil(self.part(sizes), self.k_l1) * sizes.terms)).clamp(1, 2),
            // Long enough by themselves.
            _ if sizes.groups > 1 => 1,
            Right::MadeAgain => LAG,
            Right::Made => {
                let room = *chip.memory.l2 as f64 * HELD_IN_L2;
                ((room / sizes.made_in_l2(self.busy_cores(sizes) * self.cols)) as i64 - 1).clamp(1, LAG)
            }
        }
    }

    /// Of right operands that vector cores make in GM, the part that L2 drives out to HBM in the end, and the part that
    /// it drives out before it is read.
    pub(crate) fn driven_out(&self, sizes: &Sizes, chip: &Chip) -> (f64, f64) {
        if sizes.right != Right::Made {
            return (0.0, 0.0);
        }
        let l2 = *chip.memory.l2 as f64;
        let of_tiles = sizes.made_in_l2(self.busy_cores(sizes) * self.cols);
        // A tile of each core is made while the one before is read. Beyond the limit most is lost within a few percent.
        let early = (4.0 * (of_tiles / (HELD_IN_L2 * l2) - 1.0)).clamp(0.0, 1.0);
        ((1.0 - l2 / sizes.made_in_l2(sizes.cols)).max(early), early)
    }

    /// Elements of K of a part.
    pub(crate) fn part(&self, sizes: &Sizes) -> i64 {
        // Whole lines of L2.
        let line = 512 * 8 / sizes.bits;
        round_up(ceil(sizes.k, self.splits), if self.splits == 1 { 1 } else { line })
    }

    /// The cheapest. Where vector cores make the right operand meanwhile, where there are groups, and where digits are
    /// merged on their way out, cores share no contraction.
    pub(crate) fn choose(sizes: &Sizes, chip: &Chip) -> Option<Blocking> {
        let mut best: Option<(f64, Blocking)> = None;
        let whole = match sizes.is_merged {
            true => sizes.digits * round_up(sizes.tokens, FRACTAL),
            false => round_up(sizes.digits * sizes.tokens, FRACTAL),
        };
        let mut tokens: Vec<i64> = [32, 64, 128, 256].into_iter().map(|rows| rows / sizes.digits / 16 * 16).collect();
        tokens.retain(|t| *t > 0 && *t < sizes.tokens);
        if whole <= 512 {
            tokens.push(sizes.tokens);
        }
        if tokens.is_empty() {
            tokens.push(16);
        }
        for tokens in tokens {
            for cols in columns(sizes, chip) {
                for splits in [1, 2, 3, 4, 6, 8, 12, 16, 24, 32] {
                    for (is_resident, chunk) in [true, false].into_iter().flat_map(|r| CHUNKS.map(|c| (r, c))) {
                        if (sizes.is_made() || sizes.groups > 1 || sizes.is_merged) && splits > 1 {
                            continue;
                        }
                        let shape = Shape { tokens, cols, splits, is_resident, chunk };
                        let Some(blocking) = Blocking::of(shape, sizes, chip) else { continue };
                        let cycles = blocking.estimate(sizes, chip).rank(sizes.right);
                        if best.is_none_or(|(least, _)| cycles < least) {
                            best = Some((cycles, blocking));
                        }
                    }
                }
            }
        }
        best.map(|(_, blocking)| blocking)
    }

    /// The blocking with these tiles, if its buffers fit.
    fn of(shape: Shape, sizes: &Sizes, chip: &Chip) -> Option<Blocking> {
        let Shape { tokens, cols, splits, is_resident, chunk } = shape;
        let blocks = *chip.cores.cube as i64;
        let per_block = BLOCK * 8 / sizes.bits;
        if blocks % splits != 0 || (cols > round_up(sizes.cols, FRACTAL) && cols > 16) {
            return None;
        }
        // Few enough that vector cores begin soon, many enough that they need not ask often.
        let batch = (1..=(sizes.groups / 4).clamp(1, 16)).rev().find(|n| sizes.groups % n == 0).unwrap_or(1);
        let start =
            Blocking { tokens, cols, k_l1: 0, k_l0: 0, ring: 2, is_resident, splits, accumulators: 2, batch, turns: 2 };
        let is_one_tile = tokens >= sizes.tokens;
        if (splits > 1 || is_resident) && !(is_one_tile && (sizes.shares_left || sizes.batch == 1)) {
            return None;
        }
        let rows = start.rows(sizes);
        let sums = rows * cols * 4;
        let l0c = *chip.memory.l0c as i64;
        if sums == 0 || sums > l0c || !start.fits_ub(sizes, chip) {
            return None;
        }
        // Sums of a tile's groups may all be there before vector cores take them, if L2 has the room.
        let turns = match sizes.groups {
            1 => 2,
            groups => (*chip.memory.l2 as i64 / 8 / (blocks * batch * sums)).min(groups / batch).max(2),
        };
        // Sums of groups leave soon: the more places, the more of their way out is hidden.
        let most = if sizes.groups > 1 { *chip.limits.flags as i64 } else { 2 };
        let accumulators = (l0c / round_up(sums, 1024)).clamp(1, most);
        let part = start.part(sizes);
        // Blocks of scales are never cut.
        let unit = if sizes.is_scaled { 64.max(per_block) } else { per_block };
        let l0 = (*chip.memory.l0a as i64).min(*chip.memory.l0b as i64) / 2;
        let most = l0 * 8 / sizes.bits / rows.max(cols) / unit * unit;
        let scales_limit = if sizes.is_scaled {
            *chip.memory.l0_scales as i64 / 2 / rows.max(cols) * BLOCK / unit * unit
        } else {
            4064
        };
        let most = most.min(scales_limit).min(4064 / unit * unit);
        if most <= 0 {
            return None;
        }
        let l1 = *chip.memory.l1 as i64;
        let resident = if is_resident { sizes.bytes(rows * round_up(part, per_block)) } else { 0 };
        let scale_row = |k: i64| if sizes.is_scaled { round_up(k / 32, BLOCK) } else { 0 };
        let slot = |k: i64| {
            let left = if is_resident { 0 } else { sizes.bytes(rows * k) + rows * scale_row(k) };
            left + sizes.bytes(round_up(cols, sizes.columns) * k) + cols * scale_row(k)
        };
        if is_resident && sizes.is_scaled {
            return None;
        }
        let free = l1 - resident;
        // Whole lines of L2, unless all of K is shorter.
        let line = round_up(*chip.memory.l2_line as i64 * 8 / sizes.bits, unit).min(round_up(part, unit));
        let group = sizes.group();
        let line = if sizes.groups > 1 { round_up(line, group) } else { line };
        let k_l1 = (1..=ceil(part, line)).map(|lines| lines * line).rev().find(|k| slot(*k) <= chunk).unwrap_or(line);
        let piece = if sizes.groups > 1 { group } else { k_l1 };
        let k_l0 = round_up(ceil(piece, ceil(piece, most)), unit);
        let ring = (free / slot(k_l1)).min(6);
        if ring < 2 {
            return None;
        }
        // Each part of K has as many chunks.
        let last = sizes.k - (splits - 1) * part;
        if last <= 0 || ceil(last, k_l1) != ceil(part, k_l1) {
            return None;
        }
        Some(Blocking { k_l1, k_l0, ring, accumulators, turns, ..start })
    }

    /// Whether what vector cores keep of groups leaves room for a few rows of what they compute.
    fn fits_ub(&self, sizes: &Sizes, chip: &Chip) -> bool {
        if sizes.groups == 1 {
            return true;
        }
        let all = *chip.memory.ub as i64;
        let free = if sizes.is_made() { all - all / 3 } else { all };
        let kept = ceil(self.tokens.min(sizes.tokens), *chip.cores.vectors_per_cube as i64) * self.cols * 4;
        (free - kept) as f64 / 4.0 >= self.cols as f64 * sizes.work.rooms[0]
    }
}
