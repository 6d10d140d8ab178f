//! One tile on a vector core: loads, what is computed, stores. Owns the instructions of a [`Code`] and the flags that
//! order them; which tiles there are is the business of whoever loops over them.

use msd_ir::dtype::DType;

use super::builder::{Builder, Local, global, int};
use super::code::{Code, Extent, Reg, Value, What};
use super::phases::Awaited;
use super::slots::{Slots, TileSize};
use super::vector::Pass;
use super::view::View;
use crate::expr::{Expr, Slot as Variable};
use crate::isa::memory::{Pipe, Space};
use crate::isa::{Kind, MOST_EXTENT, Op};
use crate::program::Arg;

/// What becomes of a column of one pass in the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fold {
    Max,
    Add,
}

impl Fold {
    pub(crate) fn op(self) -> Op {
        match self {
            Fold::Max => Op::Vmax,
            Fold::Add => Op::Vadd,
        }
    }

    /// What there is before the first.
    pub(crate) fn start(self) -> f32 {
        match self {
            Fold::Max => f32::NEG_INFINITY,
            Fold::Add => 0.0,
        }
    }
}

/// Where a tile is stored.
#[derive(Clone)]
pub(crate) enum To {
    /// At a place of GM.
    Place(Vec<Expr>),
    /// In L1 of the cube core: from which byte on, in how many rows of it.
    L1 { first: Expr, height: Expr },
}

/// Where a tile stands in its region.
pub(crate) struct At<'a> {
    /// Its first element: along the outer axes, rows and columns.
    pub(crate) place: Vec<Expr>,
    pub(crate) rows: Expr,
    pub(crate) cols: Expr,
    /// Where what is stored goes, if that is another place.
    pub(crate) to: Option<To>,
    /// Which columns are computed once all were reduced: from where, and how many. All, if nothing is said.
    pub(crate) part: Option<(Expr, Expr)>,
    /// The first of its rows among those that are kept.
    pub(crate) kept: Expr,
    /// What is waited for before it is loaded, behind everything else.
    pub(crate) awaited: Option<&'a Awaited>,
    /// Where sums of a product's digit are: element of GM, and elements from row to row.
    pub(crate) sums: Option<&'a dyn Fn(usize, usize) -> (Arg, i64)>,
}

impl At<'_> {
    /// As much of a tile, wherever it stands.
    pub(crate) fn sized(rows: Expr, cols: Expr) -> At<'static> {
        At { place: Vec::new(), rows, cols, to: None, part: None, kept: Expr::from(0), awaited: None, sums: None }
    }
}

/// What is done with a tile.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) code: Code,
    pub(crate) outputs: Vec<(Reg, View)>,
    /// Columns that are kept, where, and how.
    pub(crate) folds: Vec<(Reg, Fold, i64)>,
    pub(crate) tile: TileSize,
    slots: Slots,
    /// Of each value, whether it has columns that no reduction needs: a part of them may be computed alone.
    is_late: Vec<bool>,
    /// First of its flags between each pair of pipes.
    flags: i64,
    /// Tiles that are loaded ahead, with a flag each.
    depth: i64,
    /// Whether the rows of a tile are added up before they are added to what is kept, a row.
    pub(crate) sums_rows: bool,
}

impl Body {
    /// Values lie from `base` on, `depth` tiles of them that are loaded.
    pub(crate) fn new(pass: Pass, kept: &[i64], tile: TileSize, base: i64, (flags, depth): (i64, i64)) -> Body {
        let slots = pass.slots(kept, tile, (base, depth));
        let is_late = pass.code.late();
        let Pass { code, outputs, .. } = pass;
        Body { code, outputs, folds: Vec::new(), tile, slots, is_late, flags, depth, sums_rows: false }
    }

    /// One past the last byte of UB.
    pub(crate) fn end(&self) -> i64 {
        self.slots.end
    }

    pub(crate) fn has_loads(&self) -> bool {
        self.code.values.iter().any(|v| matches!(v.what, What::Load(_) | What::Sums { .. }))
    }

    /// Before the first tile of several that take turns: constants, and that all places are free.
    pub(crate) fn open_all<'a>(bodies: impl Iterator<Item = &'a Body> + Clone, b: &mut Builder) {
        bodies.clone().for_each(|body| body.open_constants(b));
        all_flags(bodies).into_iter().for_each(|(from, to, id)| b.set_flag(from, to, id));
    }

    /// Behind the last tile.
    pub(crate) fn close_all<'a>(bodies: impl Iterator<Item = &'a Body>, b: &mut Builder) {
        all_flags(bodies).into_iter().for_each(|(from, to, id)| b.wait_flag(from, to, id));
    }

    /// Flags that say which places are free.
    fn of_places(&self) -> impl Iterator<Item = (Pipe, Pipe, i64)> + '_ {
        let pipes = [(self.has_loads(), Pipe::V, Pipe::Mte2), (!self.outputs.is_empty(), Pipe::Mte3, Pipe::V)];
        (self.flags..self.flags + self.depth)
            .flat_map(move |id| pipes.into_iter().filter(|(is_used, ..)| *is_used).map(move |(_, a, b)| (a, b, id)))
    }

    fn open_constants(&self, b: &mut Builder) {
        let constants: Vec<usize> = (0..self.code.values.len()).filter(|i| self.code.is_constant(Reg(*i))).collect();
        let at = At::sized(Expr::from(1), Expr::from(1));
        self.compute(b, &at, &Expr::from(0), &constants);
        // Casts to 4 bits read pairs, and words more elements than one: what lies behind the last ones is something.
        for value in &self.code.values {
            let What::Op { op, types, args, .. } = &value.what else { continue };
            let are_words = *op != Op::Vcast && types[0] == Some(DType::I16) && value.dtype.bits() < 16;
            let Some(first) = args.first().filter(|_| value.dtype.bits() == 4 && *op == Op::Vcast || are_words) else {
                continue;
            };
            let (from, slot) = (self.code.value(*first), self.slots.places[first.0]);
            let places = if slot.twin > 0 { self.depth } else { 1 };
            let words = int("cols", from.bytes(self.tile) / 2);
            b.repeat("slot", (Expr::from(0), Expr::from(places), 1), |b, which| {
                let place = Local::new(Space::Ub, which * slot.twin + slot.offset);
                b.emit(Op::Vdup, &[DType::I16], vec![place.into()], vec![int("rows", 1), words.clone()]);
            });
        }
        if !constants.is_empty() {
            b.barrier(Pipe::V);
        }
    }

    /// One tile; `parity` says which of its places are its, and is changed for the next.
    pub(crate) fn emit(&self, b: &mut Builder, at: &At<'_>, parity: Variable) {
        let which = Expr::variable(parity);
        let flag = || Expr::variable(parity) + self.flags;

        if self.has_loads() {
            b.wait_flag(Pipe::V, Pipe::Mte2, flag());
            let is_awaited = |value: &Value| match (&value.what, at.awaited) {
                (What::Load(view), Some(awaited)) => awaited.has(view),
                _ => false,
            };
            let values = || self.code.values.iter().enumerate();
            values().filter(|(_, v)| !is_awaited(v)).for_each(|(i, v)| self.load(b, Reg(i), v, at, &which));
            at.awaited.inspect(|awaited| awaited.wait(b));
            values().filter(|(_, v)| is_awaited(v)).for_each(|(i, v)| self.load(b, Reg(i), v, at, &which));
            b.flag(Pipe::Mte2, Pipe::V, flag());
        }
        if !self.outputs.is_empty() {
            b.wait_flag(Pipe::Mte3, Pipe::V, flag());
        }
        let varying: Vec<usize> = (0..self.code.values.len()).filter(|i| !self.code.is_constant(Reg(*i))).collect();
        self.compute(b, at, &which, &varying);
        for (reg, fold, kept) in &self.folds {
            b.barrier(Pipe::V);
            if self.sums_rows {
                self.add_rows(b, *reg, *fold, at, &which);
            }
            let one = At { kept: at.kept.clone(), ..At::sized(Expr::from(1), at.cols.clone()) };
            let at = if self.sums_rows { &one } else { at };
            let (place, extents) = self.kept(*reg, *kept, at);
            let extent = self.code.value(*reg).extent;
            let added = self.operand(*reg, extent, at, &which);
            let dtype = self.code.value(*reg).dtype;
            b.emit(fold.op(), &[dtype], vec![place.clone().into(), place.into(), added.into()], extents);
        }
        if self.has_loads() {
            b.set_flag(Pipe::V, Pipe::Mte2, flag());
        }
        if !self.outputs.is_empty() {
            b.flag(Pipe::V, Pipe::Mte3, flag());
            for (reg, view) in &self.outputs {
                self.store(b, *reg, view, at, &which);
            }
            b.set_flag(Pipe::Mte3, Pipe::V, flag());
        }
        match self.depth {
            1 => {}
            2 => b.set(parity, Expr::from(1) - which),
            depth => b.set(parity, (which + 1) % depth),
        }
    }

    /// Adds up the rows of a tile in its first: the last half to those before, until one is left.
    fn add_rows(&self, b: &mut Builder, reg: Reg, fold: Fold, at: &At<'_>, which: &Expr) {
        let value = self.code.value(reg);
        let (pitch, offset) = (value.pitch(self.tile), self.offset(reg, at, which));
        let rows = |from: i64| Local::new(Space::Ub, offset.clone() + from * pitch).rows(pitch);
        let mut left = self.tile.rows;
        while left > 1 {
            let half = left / 2;
            let extents = vec![int("rows", half), int("cols", at.cols.clone())];
            let places = vec![rows(0).into(), rows(0).into(), rows(left - half).into()];
            b.emit(fold.op(), &[value.dtype], places, extents);
            b.barrier(Pipe::V);
            left -= half;
        }
    }

    /// Where something is kept, and how much of it there is.
    fn kept(&self, reg: Reg, kept: i64, at: &At<'_>) -> (Local, Vec<(&'static str, Arg)>) {
        let value = self.code.value(reg);
        let cols = if value.extent.has_cols() { at.cols.clone() } else { Expr::from(8) };
        let pitch = value.pitch(self.tile);
        let local = Local::new(Space::Ub, at.kept.clone() * pitch + kept).rows(pitch);
        (local, vec![int("rows", at.rows.clone()), int("cols", cols)])
    }

    /// What is kept before the first tile of a pass.
    pub(crate) fn start_folds(&self, b: &mut Builder, at: &At<'_>) {
        for (reg, fold, kept) in &self.folds {
            let (place, extents) = self.kept(*reg, *kept, at);
            // Minus infinity by its bits: numbers of a stream are finite.
            let (dtype, value) = match fold.start() {
                finite if finite.is_finite() => (DType::F32, finite),
                infinite => (DType::I32, infinite.to_bits() as i32 as f32),
            };
            let value = ("value", Arg::Float(value));
            b.emit(Op::Vdup, &[dtype], vec![place.into()], [extents, vec![value]].concat());
        }
        if !self.folds.is_empty() {
            b.barrier(Pipe::V);
        }
    }

    fn offset(&self, reg: Reg, at: &At<'_>, parity: &Expr) -> Expr {
        let slot = self.slots.places[reg.0];
        let value = self.code.value(reg);
        if matches!(value.what, What::Kept(_)) && value.extent.has_rows() {
            return at.kept.clone() * value.pitch(self.tile) + slot.offset;
        }
        match slot.twin {
            0 => Expr::from(slot.offset),
            twin => parity.clone() * twin + slot.offset,
        }
    }

    fn load(&self, b: &mut Builder, reg: Reg, value: &Value, at: &At<'_>, parity: &Expr) {
        let (source, ld) = match &value.what {
            What::Load(view) => {
                let ld = view.apart(2);
                (global(view.tensor, view.at_expr(&at.place)), ld)
            }
            What::Sums { term, digit } => match at.sums {
                Some(sums) => sums(*term, *digit),
                None => return,
            },
            _ => return,
        };
        let (rows, cols) = match value.extent {
            Extent::Tile => (at.rows.clone(), at.cols.clone()),
            Extent::Row => (Expr::from(1), at.cols.clone()),
            Extent::Packed => (Expr::from(1), at.rows.clone()),
            Extent::Column | Extent::One | Extent::Single => (Expr::from(1), Expr::from(1)),
        };
        // A byte's worth of 4-bit elements at least.
        let cols = if value.dtype.bits() == 4 { cols.round_up(2) } else { cols };
        let mut dst = Local::new(Space::Ub, self.offset(reg, at, parity));
        let mut others = vec![int("rows", rows), int("cols", cols)];
        if value.extent == Extent::Tile {
            dst = dst.rows(value.pitch(self.tile));
            others.push(int("ld", ld));
        }
        b.emit(Op::Load, &[value.dtype], vec![dst.into(), source], others);
    }

    fn store(&self, b: &mut Builder, reg: Reg, view: &View, at: &At<'_>, parity: &Expr) {
        let value = self.code.value(reg);
        let ld = view.apart(2);
        let src = Local::new(Space::Ub, self.offset(reg, at, parity)).rows(value.pitch(self.tile));
        let (rows, cols) = match value.extent {
            Extent::Packed => (Expr::from(1), at.rows.clone()),
            Extent::Column => (at.rows.clone(), Expr::from(1)),
            _ => (at.rows.clone(), self.cols(reg, at)),
        };
        let cols = if view.dtype.bits() == 4 { cols.round_up(2) } else { cols };
        let src = if matches!(value.extent, Extent::Packed) { Local { row: None, ..src } } else { src };
        let mut place = match &at.to {
            Some(To::L1 { first, height }) => {
                let others = vec![int("rows", rows), int("cols", cols), int("height", height.clone())];
                let dst = Local::new(Space::L1, first.clone());
                return b.emit(Op::StoreNz, &[view.dtype], vec![dst.into(), src.into()], others);
            }
            Some(To::Place(place)) => place.clone(),
            None => at.place.clone(),
        };
        let others = |cols: Expr| vec![int("rows", rows.clone()), int("cols", cols), int("ld", ld)];
        let Some((begin, _)) = at.part.clone() else {
            let dst = global(view.tensor, view.at_expr(&place));
            return b.emit(Op::Store, &[view.dtype], vec![dst, src.into()], others(cols));
        };
        if self.is_late[reg.0] {
            let src = Local { offset: src.offset.clone() + within(value, &begin), ..src };
            if let Some(col) = place.last_mut() {
                *col = col.clone() + begin;
            }
            let dst = global(view.tensor, view.at_expr(&place));
            b.emit(Op::Store, &[view.dtype], vec![dst, src.into()], others(cols));
        } else {
            // What is the same for all parts is stored by one.
            let dst = global(view.tensor, view.at_expr(&place));
            b.when(begin.equals(0), |b| b.emit(Op::Store, &[view.dtype], vec![dst, src.into()], others(cols)));
        }
    }

    /// The instructions of these values, with barriers before those that read what is not through.
    fn compute(&self, b: &mut Builder, at: &At<'_>, parity: &Expr, indexes: &[usize]) {
        let mut pending: Vec<Reg> = Vec::new();
        for index in indexes {
            let value = &self.code.values[*index];
            let What::Op { op, types, args, extra } = &value.what else { continue };
            if args.iter().any(|a| pending.contains(a)) {
                b.barrier(Pipe::V);
                pending.clear();
            }
            let reg = Reg(*index);
            let types: Vec<DType> = types.iter().flatten().copied().collect();
            let flat = self.flat(reg, at);
            let at = flat.as_ref().unwrap_or(at);
            let extents = self.extents(reg, at);
            let begin = at.part.as_ref().filter(|_| self.is_late[*index]).map(|(begin, _)| begin);
            let place = |reg: Reg| {
                let local = match op {
                    // Dense on both sides.
                    Op::Vbrcb => Local::new(Space::Ub, self.offset(reg, at, parity)),
                    _ => self.operand(reg, value.extent, at, parity),
                };
                let of = self.code.value(reg);
                match begin.filter(|_| of.extent.has_cols()) {
                    Some(begin) => Local { offset: local.offset.clone() + within(of, begin), ..local },
                    None => local,
                }
            };
            let dst = place(reg);
            let mut places: Vec<Arg> = vec![dst.clone().into()];
            let mut read = args.as_slice();
            if *op == Op::Vmla {
                read = &args[..2];
                if self.slots.places[args[2].0] != self.slots.places[*index] {
                    let sum = place(args[2]);
                    b.emit(Op::Vcopy, &types, vec![dst.into(), sum.into()], extents.clone());
                    b.barrier(Pipe::V);
                    pending.clear();
                }
            }
            places.extend(read.iter().map(|a| Arg::from(place(*a))));
            let mut others = extents;
            others.extend(self.extra(*op, *extra));
            b.emit(*op, &types, places, others);
            pending.push(reg);
        }
    }

    /// The tile as one row, for what is computed alike for each element, of values whose rows lie without gaps.
    fn flat(&self, reg: Reg, at: &At<'_>) -> Option<At<'static>> {
        let What::Op { op, args, .. } = &self.code.value(reg).what else { return None };
        let TileSize { rows, cols } = self.tile;
        let is_whole = at.part.is_none() && at.cols.number() == Some(cols) && rows * cols <= MOST_EXTENT;
        let is_flat = |reg: &Reg| {
            let value = self.code.value(*reg);
            let is_dense = !value.is_mask && value.pitch(self.tile) * 8 == cols * i64::from(value.dtype.bits());
            matches!(value.what, What::Op { .. } | What::Load(_) | What::Sums { .. })
                && (value.extent == Extent::One || value.extent == Extent::Tile && is_dense)
        };
        let is_elementwise = self.code.value(reg).extent == Extent::Tile && !matches!(op, Op::Vrsum | Op::Vrmax);
        (rows > 1 && is_whole && is_elementwise && args.iter().chain([&reg]).all(is_flat))
            .then(|| At::sized(Expr::from(1), at.rows.clone() * cols))
    }

    /// Columns of a value that has any.
    fn cols(&self, reg: Reg, at: &At<'_>) -> Expr {
        match &at.part {
            Some((_, cols)) if self.is_late[reg.0] => cols.clone(),
            _ => at.cols.clone(),
        }
    }

    /// Rows and columns of the instruction that makes a value.
    fn extents(&self, reg: Reg, at: &At<'_>) -> Vec<(&'static str, Arg)> {
        let value = self.code.value(reg);
        let What::Op { op, types, args, .. } = &value.what else { return Vec::new() };
        let widest = types.iter().flatten().map(|t| t.bits()).max().unwrap_or(32);
        let lanes = 32 * 8 / i64::from(widest.max(16));
        let (rows, cols) = match (op, value.extent) {
            (Op::Vbrcb, Extent::One) => return vec![int("rows", 1)],
            (Op::Vbrcb, _) => return vec![int("rows", at.rows.clone())],
            (Op::Vrsum | Op::Vrmax, _) => (at.rows.clone(), at.cols.clone()),
            (_, Extent::Tile) => (at.rows.clone(), self.cols(reg, at)),
            (_, Extent::Row) => (Expr::from(1), self.cols(reg, at)),
            (_, Extent::Column) => (at.rows.clone(), Expr::from(lanes)),
            (_, Extent::One) => (Expr::from(1), Expr::from(lanes)),
            (_, Extent::Packed) => (Expr::from(1), at.rows.clone()),
            (_, Extent::Single) => (Expr::from(1), Expr::from(1)),
        };
        // Bits of any type are moved as 16 at a time; those of 4 come in pairs.
        let from = args.first().map_or(value.dtype, |a| self.code.value(*a).dtype);
        let are_words = types[1].is_none() && !value.is_mask && value.dtype.bits() < 16;
        let cols = match (*op, value.extent.has_cols()) {
            (_, true) if are_words && from.bits() < 16 => (cols * i64::from(from.bits())).round_up(16) / 16,
            (Op::Vcast, true) if from.bits() == 4 || value.dtype.bits() == 4 => cols.round_up(2),
            _ => cols,
        };
        vec![int("rows", rows), int("cols", cols)]
    }

    /// An operand of an instruction over `extent`: what varies along fewer axes is read again and again.
    fn operand(&self, reg: Reg, extent: Extent, at: &At<'_>, parity: &Expr) -> Local {
        let value = self.code.value(reg);
        let local = Local::new(Space::Ub, self.offset(reg, at, parity));
        match (extent, value.extent) {
            // What a reduction reads.
            (Extent::Packed, Extent::Tile) => return local.rows(value.pitch(self.tile)),
            (Extent::Packed | Extent::Single, Extent::One) => return Local { block: Some(0), ..local },
            (Extent::Packed | Extent::Single, _) => return local,
            _ => {}
        }
        let is_one_row = at.rows.number() == Some(1);
        let row = match (extent.has_rows() && !is_one_row, value.extent.has_rows()) {
            (false, _) => None,
            (true, true) => Some(value.pitch(self.tile)),
            (true, false) => Some(0),
        };
        let block = (extent.has_cols() && !value.extent.has_cols()).then_some(0);
        Local { row, block, ..local }
    }

    fn extra(&self, op: Op, extra: Option<i64>) -> Option<(&'static str, Arg)> {
        let extra = extra?;
        let operand = op.spec().operands.last()?;
        Some(match operand.kind {
            Kind::Float(_) => (operand.name, Arg::Float(f32::from_bits(extra as u32))),
            Kind::Word(_) => (operand.name, Arg::Word(extra as u8)),
            _ => int(operand.name, extra),
        })
    }
}

/// Bytes from a value's first column to another.
fn within(value: &Value, col: &Expr) -> Expr {
    let bits = if value.is_mask { 1 } else { i64::from(value.dtype.bits()) };
    col.clone() * bits / 8
}

/// Flags of several bodies, those that they share once.
fn all_flags<'a>(bodies: impl Iterator<Item = &'a Body>) -> Vec<(Pipe, Pipe, i64)> {
    let mut all = Vec::new();
    for flag in bodies.flat_map(Body::of_places) {
        if !all.contains(&flag) {
            all.push(flag);
        }
    }
    all
}
