//! Stages of the vector cores: a region element by element, or row by row in as many passes as it has statistics of
//! a row. Owns how a region is cut into tiles and who does which.

use super::builder::{Builder, outer_place};
use super::code::{Code, Reg};
use super::phases::Awaited;
use super::slots::{Slots, TileSize};
use super::tiles::{At, Body, Fold};
use super::view::View;
use crate::chip::Chip;
use crate::expr::Expr;
use crate::isa::memory::Pipe;
use crate::isa::region::{bytes, ceil, round_up};

/// What is loaded, computed and stored for each tile of a region.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pass {
    pub(crate) code: Code,
    pub(crate) outputs: Vec<(Reg, View)>,
    /// What later passes need of this one: the n-th of these is what [`What::Kept`] n means.
    pub(crate) kept: Vec<(Reg, Fold)>,
    /// How often it is done for each tile, along an axis that its windows have before rows and columns.
    pub(crate) groups: Option<i64>,
}

/// Work over a region of rows and columns, with outer axes before them.
#[derive(Clone, Debug)]
pub(crate) struct VectorStage {
    pub(crate) shape: Vec<i64>,
    /// Each over the whole region, one after the other.
    pub(crate) passes: Vec<Pass>,
    /// Whether a tile holds whole rows, or has all of their chunks one after the other.
    pub(crate) is_rowwise: bool,
    /// Whether it makes a right operand of one product, whose cores may do it tile by tile.
    pub(crate) is_conversion: bool,
    /// What it is for.
    pub(crate) note: String,
}

impl Pass {
    /// Where its values lie, for tiles of a size.
    pub(crate) fn slots(&self, kept: &[i64], tile: TileSize, place: (i64, i64)) -> Slots {
        let stored: Vec<Reg> = self.outputs.iter().map(|(reg, _)| *reg).collect();
        Slots::new(&self.code, &stored, kept, tile, place)
    }

    /// Whether it computes the same, of what lies elsewhere perhaps.
    pub(crate) fn is_like(&self, other: &Pass) -> bool {
        let outputs = |pass: &Pass| pass.outputs.iter().map(|(reg, view)| (*reg, view.dtype)).collect::<Vec<_>>();
        self.code.is_like(&other.code) && outputs(self) == outputs(other)
    }

    /// Drops values that nothing depends on.
    pub(crate) fn clean(mut self) -> Pass {
        let kept = self.kept.iter_mut().map(|(reg, _)| reg);
        let mut wanted: Vec<&mut Reg> = self.outputs.iter_mut().map(|(reg, _)| reg).chain(kept).collect();
        let code = std::mem::take(&mut self.code).without_idle(&mut wanted);
        Pass { code, ..self }
    }
}

impl VectorStage {
    /// Emits the stage for the vector cores, which wait for what it reads.
    pub(crate) fn emit(self, b: &mut Builder, chip: &Chip, awaited: &Awaited) {
        let rank = self.shape.len();
        let (rows, cols) = (self.shape[rank - 2], self.shape[rank - 1]);
        let batch: i64 = self.shape[..rank - 2].iter().product();
        if batch * rows * cols == 0 {
            return awaited.wait(b);
        }
        let per_cube = *chip.cores.vectors_per_cube as i64;
        let cores = *chip.cores.cube as i64 * per_cube;
        let (tile, depth) = self.tile(chip, rows, cols, batch, cores);
        let share = self.share(chip);
        let shares = ceil(cols, share);
        let is_rowwise = self.is_rowwise;
        b.note(self.note.clone());
        // What is kept lies before everything else. Passes have places of their own, so that one loads while another
        // computes.
        let (kept, mut base) = self.kept_places(tile);
        let mut first = 0;
        let mut bodies = Vec::new();
        for pass in self.passes {
            let folds = pass.kept.iter().zip(first..).map(|((reg, fold), i)| (*reg, *fold, kept[i])).collect();
            first += pass.kept.len();
            let groups = pass.groups;
            let mut body = Body::new(pass, &kept, tile, base, (0, depth));
            base = body.end();
            body.folds = folds;
            bodies.push((body, groups));
        }
        let (row_tiles, col_tiles) = (ceil(rows, tile.rows), if is_rowwise { 1 } else { ceil(cols, tile.cols) });
        let parity = b.cell("p", 0);
        let unit = Builder::core() * per_cube + Builder::sub();
        let several = bodies.len() > 1;
        Body::open_all(bodies.iter().map(|(body, _)| body), b);
        let count = batch * row_tiles * col_tiles * shares;
        // Who has one tile at most loads what is there before it waits for the rest.
        let is_whole = !is_rowwise || cols <= tile.cols;
        let is_lone = count <= cores && !several && is_whole && bodies[0].0.has_loads() && !awaited.is_empty();
        if !is_lone {
            awaited.wait(b);
        }
        let behind = is_lone.then_some(awaited);
        let tile_of = |b: &mut Builder, u: Expr| {
            let part = (shares > 1).then(|| {
                let begin = b.bind("begin", u.clone() % shares * share);
                let cols = b.bind("part", (Expr::from(cols) - begin.clone()).min(share));
                (begin, cols)
            });
            let u = u / shares;
            let row = b.bind("r", u.clone() / col_tiles % row_tiles * tile.rows);
            let col = u.clone() % col_tiles * tile.cols;
            let col = if is_rowwise { Expr::from(0) } else { b.bind("c", col) };
            let mut place = outer_place(b, u / (col_tiles * row_tiles), &self.shape[..rank - 2]);
            let height = b.rest("rows", &row, tile.rows, &Expr::from(rows));
            place.push(row);
            for (body, groups) in &bodies {
                let chunk = |b: &mut Builder, col: Expr| {
                    let width = b.rest("cols", &col, tile.cols, &Expr::from(cols));
                    let at = |group: Option<Expr>| {
                        let (outer, row) = place.split_at(place.len() - 1);
                        let place = outer.iter().chain(&group).chain(row).chain([&col]).cloned().collect();
                        At { place, part: part.clone(), awaited: behind, ..At::sized(height.clone(), width.clone()) }
                    };
                    match groups {
                        Some(groups) => {
                            body.start_folds(b, &at(None));
                            b.repeat("g", (Expr::from(0), Expr::from(*groups), 1), |b, g| {
                                body.emit(b, &at(Some(g)), parity);
                            });
                        }
                        None => body.emit(b, &at(None), parity),
                    }
                };
                match is_rowwise {
                    true => {
                        body.start_folds(b, &At::sized(height.clone(), Expr::from(0)));
                        b.repeat("c", (Expr::from(0), Expr::from(cols), tile.cols), chunk);
                    }
                    false => chunk(b, col.clone()),
                }
                if several {
                    // What is kept is there, and was read.
                    b.barrier(Pipe::V);
                }
            }
        };
        match is_lone {
            true => b.either(unit.clone().lt(count), |b| tile_of(b, unit), |b| awaited.wait(b)),
            false => b.repeat("u", (unit, Expr::from(count), cores), tile_of),
        }
        Body::close_all(bodies.iter().map(|(body, _)| body), b);
        b.barrier_all();
    }

    /// Where what is kept lies, and one past it.
    fn kept_places(&self, tile: TileSize) -> (Vec<i64>, i64) {
        let mut end = 0;
        let mut places = Vec::new();
        for (pass, (reg, _)) in self.passes.iter().flat_map(|pass| pass.kept.iter().map(move |kept| (pass, kept))) {
            places.push(end);
            end += pass.code.value(*reg).bytes(tile);
        }
        (places, end)
    }

    /// A tile that fits UB, and leaves work for all cores if there is enough of it.
    ///
    /// Where each core has one tile at most, nothing is loaded ahead.
    fn tile(&self, chip: &Chip, rows: i64, cols: i64, batch: i64, cores: i64) -> (TileSize, i64) {
        let budget = *chip.memory.ub as i64;
        let is_lone = self.passes.len() == 1 && self.is_rowwise && rows * batch <= cores;
        let depth = if is_lone { 1 } else { 2 };
        let bytes = |tile: TileSize| {
            let (kept, base) = self.kept_places(tile);
            self.passes.iter().fold(base, |base, pass| pass.slots(&kept, tile, (base, depth)).end)
        };
        let is_rowwise = self.is_rowwise;
        // What keeps nothing for its rows can be cut into columns for more cores.
        let shares = (cores / (rows * batch).max(1)).max(1);
        let shared = if is_rowwise || shares == 1 { cols } else { round_up(cols.div_euclid(shares) + 1, 64).min(cols) };
        let mut tile = fitting(bytes, budget, shared, rows);
        // As many for each core, as near as can be.
        let each = ceil(rows * batch, cores).max(1);
        tile.rows = ceil(each, ceil(each, tile.rows.max(1)));
        (tile, depth)
    }

    /// Columns of a row that one core finishes. Where there are more cores than rows, several reduce the same row, each
    /// for itself, and make a part of what comes of it.
    fn share(&self, chip: &Chip) -> i64 {
        let rank = self.shape.len();
        let cols = self.shape[rank - 1];
        let rows: i64 = self.shape[..rank - 1].iter().product();
        let cores = (*chip.cores.vectors_per_cube * *chip.cores.cube) as i64;
        let [pass] = self.passes.as_slice() else { return cols };
        let has_parts = || {
            let is_late = pass.code.late();
            pass.outputs.iter().any(|(reg, _)| is_late[reg.0]) && is_late.contains(&false)
        };
        if !self.is_rowwise || rows == 0 || 2 * rows > cores || !has_parts() {
            return cols;
        }
        // Masks have a bit for each element, and begin with whole blocks.
        round_up(ceil(cols, cores / rows), 256).max(MIN_SHARE).min(cols)
    }

    /// About how long the vector cores take: what is computed, and the latencies of a tile.
    pub(crate) fn cycles(&self, chip: &Chip) -> f64 {
        let (latency, vector) = (&chip.latency, *chip.cores.vectors_per_cube * *chip.cores.cube);
        let rank = self.shape.len();
        let cols = self.shape[rank - 1];
        let rows: i64 = self.shape[..rank - 1].iter().product();
        // What keeps nothing for its rows is cut into columns as well.
        let each = match self.is_rowwise {
            true => ceil(rows, vector as i64) as f64 * cols as f64,
            false => ceil(rows * cols, vector as i64) as f64,
        };
        let shares = ceil(cols.max(1), self.share(chip).max(1));
        // What is loaded ahead hides the latencies of GM behind the first tile, but not those of the unit.
        let batch: i64 = self.shape[..rank - 2].iter().product();
        let (tile, _) = self.tile(chip, self.shape[rank - 2], cols, batch, vector as i64);
        let (row_tiles, chunks) = (batch * ceil(self.shape[rank - 2], tile.rows), ceil(cols, tile.cols));
        let tiles = match self.is_rowwise {
            true => ceil(row_tiles, vector as i64) * chunks,
            false => ceil(row_tiles * chunks, vector as i64),
        };
        let first = (2 * *latency.gm + 2 * *latency.dma_issue) as f64;
        let depth = (*latency.vector_start + *latency.vector_tail) as f64;
        let of_pass = |pass: &Pass| {
            let groups = pass.groups.unwrap_or(1);
            let others = (tiles * groups - 1).max(0) as f64;
            let chains = pass.code.values.len() as f64 * depth + others * pass.code.chain(chip);
            let computed = each * groups as f64 * pass.code.cycles(shares, cols, chip);
            computed.max(self.moved(pass, chip)) + chains
        };
        first + self.passes.iter().map(of_pass).sum::<f64>()
    }

    /// Cycles in which what a pass loads and stores goes through the ports of the cores; what right operands are made
    /// of comes from HBM.
    fn moved(&self, pass: &Pass, chip: &Chip) -> f64 {
        let (rates, cores) = (&chip.rates, &chip.cores);
        let all = |per_vector: u64, per_cube: u64| {
            ((per_vector * *cores.vectors_per_cube).min(per_cube) * *cores.cube) as f64
        };
        let elements: i64 = self.shape.iter().chain(&pass.groups).product();
        let loaded = elements as f64 * pass.code.loaded_bytes();
        let stored: i64 = pass.outputs.iter().map(|(_, view)| bytes(view.count(), view.dtype)).sum();
        let from_hbm = if self.is_conversion { loaded / (*rates.hbm_per_core * *cores.cube) as f64 } else { 0.0 };
        let load = loaded / all(*rates.gm_to_ub, *rates.l2_read_per_core);
        load.max(stored as f64 / all(*rates.ub_to_gm, *rates.l2_write_per_core)).max(from_hbm)
    }
}

/// Fewer columns take no less time, as their instructions start one behind the other.
const MIN_SHARE: i64 = 1024;

/// More columns in a tile make no instruction cheaper.
pub(crate) const MAX_COLS: i64 = 16384;

/// The widest tile of at most `cols` columns, and as many rows of it as fit.
pub(crate) fn fitting(bytes: impl Fn(TileSize) -> i64, budget: i64, cols: i64, rows: i64) -> TileSize {
    let mut tile = TileSize { rows: 1, cols: cols.clamp(1, MAX_COLS) };
    while bytes(tile) > budget && tile.cols > 64 {
        tile.cols = round_up(tile.cols / 2, 64);
    }
    let one = bytes(tile);
    let each = (bytes(TileSize { rows: 9, ..tile }) - one).div_euclid(8) + 1;
    tile.rows = ((budget - one).max(0) / each + 1).clamp(1, rows.max(1));
    while tile.rows > 1 && bytes(tile) > budget {
        tile.rows -= 1;
    }
    tile
}
