//! What a vector core computes with one tile: a list of values over rows and columns, each made by one
//! instruction from those before it. Owns these values and the arithmetic that chips lack an instruction for; where
//! they lie in UB is `slots.rs`'s, how tiles follow each other `vector.rs`'s.
//!
//! Numbers are F32 or I32 here; stored types are widened when they are loaded and narrowed when they are stored
//! (`numbers.rs`). A value that is the same along an axis is kept once for it: a bias is one row, a scale per token
//! eight equal lanes for each row.

use std::collections::HashMap;

use msd_ir::dtype::DType;
use msd_ir::math::Lanes;

use super::view::View;
use crate::chip::Chip;
use crate::isa::Op;
use crate::isa::region::{BLOCK, bytes};

/// A value: its place in [`Code::values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Reg(pub(crate) usize);

/// Along which axes of the tile a value varies, and so how much of it there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Extent {
    /// `rows` by `cols`.
    Tile,
    /// One row for all.
    Row,
    /// 32 bytes of equal lanes for each row.
    Column,
    /// 32 bytes of equal lanes.
    One,
    /// One element for each row, one after the other: on its way to [`Extent::Column`].
    Packed,
    /// One element, on its way to [`Extent::One`].
    Single,
}

impl Extent {
    pub(crate) fn has_rows(self) -> bool {
        matches!(self, Extent::Tile | Extent::Column)
    }

    pub(crate) fn has_cols(self) -> bool {
        matches!(self, Extent::Tile | Extent::Row)
    }

    fn join(self, other: Extent) -> Extent {
        match (self.has_rows() || other.has_rows(), self.has_cols() || other.has_cols()) {
            _ if [self, other].contains(&Extent::Packed) => Extent::Packed,
            _ if [self, other].contains(&Extent::Single) => Extent::Single,
            (true, true) => Extent::Tile,
            (false, true) => Extent::Row,
            (true, false) => Extent::Column,
            (false, false) => Extent::One,
        }
    }
}

/// How a value comes about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// Loaded from GM: a window over all of the region.
    Load(View),
    /// Loaded: row `digit` of the sums of each token that a cube core left.
    Sums {
        /// Which product of the region.
        term: usize,
        /// Which of its digits.
        digit: usize,
    },
    /// Kept from an earlier pass over the row.
    Kept(usize),
    /// An instruction on other values.
    Op {
        op: Op,
        /// Types as the instruction has them.
        types: [Option<DType>; 2],
        args: Vec<Reg>,
        /// Bits of `value`, or the number of `bits`, or the word of `cond` or `round`.
        extra: Option<i64>,
    },
}

/// A value of the tile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Value {
    pub(crate) what: What,
    /// Type of its elements; of masks U8, a bit for each element.
    pub(crate) dtype: DType,
    pub(crate) is_mask: bool,
    pub(crate) extent: Extent,
}

/// A comparison, which becomes a mask where it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mask {
    condition: i64,
    dtype: DType,
    a: Reg,
    b: Reg,
}

/// Conditions of `vcmp`, by their word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Lt = 0,
    Le = 1,
    Eq = 2,
    Ne = 3,
    Ge = 4,
    Gt = 5,
}

/// Values in the order in which they are made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Code {
    pub(crate) values: Vec<Value>,
    known: HashMap<Value, Reg>,
}

impl Code {
    pub(crate) fn value(&self, reg: Reg) -> &Value {
        &self.values[reg.0]
    }

    fn extent(&self, reg: Reg) -> Extent {
        self.value(reg).extent
    }

    fn push(&mut self, value: Value) -> Reg {
        if let Some(reg) = self.known.get(&value) {
            return *reg;
        }
        let reg = Reg(self.values.len());
        self.values.push(value.clone());
        self.known.insert(value, reg);
        reg
    }

    pub(crate) fn source(&mut self, what: What, dtype: DType, extent: Extent) -> Reg {
        self.push(Value { what, dtype, is_mask: false, extent })
    }

    fn op(&mut self, op: Op, types: [Option<DType>; 2], args: &[Reg], extra: Option<i64>, extent: Extent) -> Reg {
        let dtype = types[1].or(types[0]).unwrap_or(DType::F32);
        let what = What::Op { op, types, args: args.to_vec(), extra };
        self.push(Value { what, dtype, is_mask: false, extent })
    }

    /// An instruction on one value.
    pub(crate) fn unary(&mut self, op: Op, dtype: DType, a: Reg) -> Reg {
        self.op(op, [Some(dtype), None], &[a], None, self.extent(a))
    }

    /// The same with a number.
    pub(crate) fn with_number(&mut self, op: Op, dtype: DType, a: Reg, number: f32) -> Reg {
        self.op(op, [Some(dtype), None], &[a], Some(i64::from(number.to_bits())), self.extent(a))
    }

    pub(crate) fn shift(&mut self, op: Op, dtype: DType, a: Reg, bits: u8) -> Reg {
        self.op(op, [Some(dtype), None], &[a], Some(i64::from(bits)), self.extent(a))
    }

    /// An instruction on two values.
    pub(crate) fn binary(&mut self, op: Op, dtype: DType, a: Reg, b: Reg) -> Reg {
        let extent = self.extent(a).join(self.extent(b));
        self.op(op, [Some(dtype), None], &[a, b], None, extent)
    }

    /// `sum + a * b`, rounded once.
    pub(crate) fn fused(&mut self, a: Reg, b: Reg, sum: Reg) -> Reg {
        let extent = self.extent(a).join(self.extent(b)).join(self.extent(sum));
        // The instruction adds to its destination; `slots.rs` puts `sum` there.
        self.op(Op::Vmla, [Some(DType::F32), None], &[a, b, sum], None, extent)
    }

    pub(crate) fn cast(&mut self, from: DType, to: DType, a: Reg) -> Reg {
        self.op(Op::Vcast, [Some(from), Some(to)], &[a], None, self.extent(a))
    }

    /// Eight equal lanes for each element of a packed value, or for the one there is.
    pub(crate) fn spread(&mut self, a: Reg) -> Reg {
        let dtype = self.value(a).dtype;
        let extent = if self.extent(a) == Extent::Single { Extent::One } else { Extent::Column };
        self.op(Op::Vbrcb, [Some(dtype), None], &[a], None, extent)
    }

    /// One number for each row, and equal lanes of it.
    pub(crate) fn reduce(&mut self, op: Op, a: Reg) -> Reg {
        let whole = self.whole(a);
        let packed = self.op(op, [Some(DType::F32), None], &[whole], None, Extent::Packed);
        self.spread(packed)
    }

    /// The value for each element of the tile.
    pub(crate) fn whole(&mut self, a: Reg) -> Reg {
        if self.extent(a) == Extent::Tile {
            return a;
        }
        let dtype = self.value(a).dtype;
        // Bits are moved as they are, whatever they mean.
        let dtype = if dtype.bits() == 32 { dtype } else { DType::I16 };
        self.op(Op::Vcopy, [Some(dtype), None], &[a], None, Extent::Tile)
    }

    /// Equal lanes of a number for each row.
    pub(crate) fn column(&mut self, a: Reg) -> Reg {
        self.op(Op::Vcopy, [Some(self.value(a).dtype), None], &[a], None, Extent::Column)
    }

    /// The value in a place of its own, which an instruction of its tile writes.
    pub(crate) fn fresh(&mut self, a: Reg) -> Reg {
        match self.value(a).what {
            What::Op { .. } if !self.is_constant(a) => a,
            _ if self.value(a).dtype.bits() <= 16 => self.words(Op::Vcopy, &[a]),
            _ => self.unary(Op::Vcopy, self.value(a).dtype, a),
        }
    }

    /// An integer everywhere.
    pub(crate) fn int_number(&mut self, value: i32) -> Reg {
        let dup = |code: &mut Code, value: i32| {
            let bits = i64::from((value as f32).to_bits());
            code.op(Op::Vdup, [Some(DType::I32), None], &[], Some(bits), Extent::One)
        };
        if f64::from(value as f32) == f64::from(value) {
            return dup(self, value);
        }
        let high = dup(self, value >> 12);
        let high = self.shift(Op::Vshl, DType::I32, high, 12);
        self.with_number(Op::Vadds, DType::I32, high, (value & 4095) as f32)
    }

    /// A float everywhere.
    pub(crate) fn number(&mut self, value: f32) -> Reg {
        if !value.is_finite() {
            return self.int_number(value.to_bits() as i32);
        }
        self.op(Op::Vdup, [Some(DType::F32), None], &[], Some(i64::from(value.to_bits())), Extent::One)
    }

    /// 16 bits everywhere.
    pub(crate) fn word(&mut self, bits: u16) -> Reg {
        let value = i64::from(f32::from(bits as i16).to_bits());
        self.op(Op::Vdup, [Some(DType::I16), None], &[], Some(value), Extent::One)
    }

    /// A number everywhere that F16 holds.
    pub(crate) fn half_number(&mut self, value: f32) -> Reg {
        self.op(Op::Vdup, [Some(DType::F16), None], &[], Some(i64::from(value.to_bits())), Extent::One)
    }

    /// An instruction on elements of fewer bits, as many at a time as have 16.
    pub(crate) fn words(&mut self, op: Op, args: &[Reg]) -> Reg {
        let (dtype, extent) = (self.value(args[0]).dtype, self.extent(args[0]));
        let what = What::Op { op, types: [Some(DType::I16), None], args: args.to_vec(), extra: None };
        self.push(Value { what, dtype, is_mask: false, extent })
    }

    /// The number that a value is everywhere, if it is finite.
    pub(crate) fn as_number(&self, reg: Reg) -> Option<f32> {
        match &self.value(reg).what {
            What::Op { op: Op::Vdup, types: [Some(DType::F32), None], extra: Some(bits), .. } => {
                Some(f32::from_bits(*bits as u32))
            }
            _ => None,
        }
    }

    /// Drops what nothing stored or kept depends on.
    pub(crate) fn without_idle(self, wanted: &mut [&mut Reg]) -> Code {
        let mut needed = vec![false; self.values.len()];
        wanted.iter().for_each(|reg| needed[reg.0] = true);
        for index in (0..self.values.len()).rev() {
            if let (true, What::Op { args, .. }) = (needed[index], &self.values[index].what) {
                args.iter().for_each(|a| needed[a.0] = true);
            }
        }
        let mut places = vec![Reg(0); self.values.len()];
        let mut kept = Code::default();
        for (index, mut value) in self.values.into_iter().enumerate().filter(|(index, _)| needed[*index]) {
            if let What::Op { args, .. } = &mut value.what {
                args.iter_mut().for_each(|a| *a = places[a.0]);
            }
            places[index] = kept.push(value);
        }
        wanted.iter_mut().for_each(|reg| **reg = places[reg.0]);
        kept
    }

    /// Of each value, whether it is computed, has columns, and no reduction needs it.
    pub(crate) fn late(&self) -> Vec<bool> {
        let mut is_reduced = vec![false; self.values.len()];
        for (index, value) in self.values.iter().enumerate().rev() {
            let What::Op { op, args, .. } = &value.what else { continue };
            if is_reduced[index] || matches!(op, Op::Vrsum | Op::Vrmax) {
                args.iter().for_each(|arg| is_reduced[arg.0] = true);
            }
        }
        let is_late = |(value, is_reduced): (&Value, bool)| {
            !is_reduced && value.extent.has_cols() && matches!(value.what, What::Op { .. })
        };
        self.values.iter().zip(is_reduced).map(is_late).collect()
    }

    /// Cycles of the vector unit for each element of a tile with rows of `cols`; of what no reduction needs, for one
    /// part of `shares`.
    pub(crate) fn cycles(&self, shares: i64, cols: i64, chip: &Chip) -> f64 {
        let vector = &chip.vector;
        let of = |value: &Value| {
            let What::Op { op, types, args, .. } = &value.what else { return 0.0 };
            if value.extent != Extent::Tile && !matches!(op, Op::Vrsum | Op::Vrmax) {
                return 0.0;
            }
            let factor = match op {
                Op::Vcast => *vector.cast,
                Op::Vdiv => *vector.divide,
                Op::Vexp | Op::Vln | Op::Vsqrt => *vector.exp,
                Op::Vrsum | Op::Vrmax => *vector.reduce,
                _ if op.spec().operands.iter().filter(|o| o.is_place()).count() > 2 => *vector.two_sources,
                _ => *vector.one_source,
            };
            let bits = types.iter().flatten().map(|t| t.bits()).max().unwrap_or(32);
            let (row, width) = (bytes(cols, DType::I8) as u64 * u64::from(bits) / 8, *vector.bytes);
            // Rows begin with a step of the unit each, unless they follow each other without gaps.
            let gapless = |reg: &Reg| {
                let value = self.value(*reg);
                value.extent == Extent::Tile && !value.is_mask && bytes(cols, value.dtype) % BLOCK == 0
            };
            let is_dense = args.iter().all(gapless) && bytes(cols, value.dtype) % BLOCK == 0;
            let steps = if is_dense || row == 0 { row } else { row.div_ceil(width) * width };
            factor as f64 * steps as f64 / cols.max(1) as f64 / width as f64
        };
        let part = |is_late: bool| if is_late { 1.0 / shares as f64 } else { 1.0 };
        self.values.iter().zip(self.late()).map(|(value, is_late)| of(value) * part(is_late)).sum()
    }

    /// Whether it is the same but for where what it loads lies.
    pub(crate) fn is_like(&self, other: &Code) -> bool {
        let like = |(a, b): (&Value, &Value)| {
            let what = match (&a.what, &b.what) {
                (What::Load(_), What::Load(_)) => true,
                (a, b) => a == b,
            };
            what && (a.dtype, a.is_mask, a.extent) == (b.dtype, b.is_mask, b.extent)
        };
        self.values.len() == other.values.len() && self.values.iter().zip(&other.values).all(like)
    }

    /// Bytes that are loaded for each element.
    pub(crate) fn loaded_bytes(&self) -> f64 {
        let is_loaded = |value: &&Value| matches!(value.what, What::Load(_)) && value.extent == Extent::Tile;
        self.values.iter().filter(is_loaded).map(|value| f64::from(value.dtype.bits()) / 8.0).sum()
    }

    /// Cycles for each element of adding it to what is kept.
    pub(crate) fn added(&self, chip: &Chip) -> f64 {
        *chip.vector.two_sources as f64 * 4.0 / *chip.vector.bytes as f64
    }

    /// Cycles in which its instructions wait for each other's results, and for what is loaded.
    pub(crate) fn chain(&self, chip: &Chip) -> f64 {
        let latency = &chip.latency;
        let mut depths: Vec<u64> = Vec::new();
        for (index, value) in self.values.iter().enumerate() {
            depths.push(match &value.what {
                What::Op { args, .. } if !self.is_constant(Reg(index)) => {
                    1 + args.iter().map(|a| depths[a.0]).max().unwrap_or(0)
                }
                _ => 0,
            });
        }
        let deepest = depths.into_iter().max().unwrap_or(0);
        let loads = self.values.iter().filter(|v| matches!(v.what, What::Load(_) | What::Sums { .. })).count();
        let waits = (deepest + 1) * (*latency.vector_start + *latency.vector_tail);
        waits.max(loads as u64 * *latency.dma_issue) as f64
    }

    /// Whether it is the same in every tile: what depends on nothing that is loaded.
    pub(crate) fn is_constant(&self, reg: Reg) -> bool {
        let value = self.value(reg);
        match &value.what {
            What::Op { args, .. } => value.extent == Extent::One && args.iter().all(|a| self.is_constant(*a)),
            _ => false,
        }
    }

    /// Whether `a cond b`.
    pub(crate) fn compare(&mut self, condition: Condition, dtype: DType, a: Reg, b: Reg) -> Mask {
        Mask { condition: condition as i64, dtype, a, b }
    }

    /// `a` where the mask holds, else `b`, as 32 bits each.
    pub(crate) fn choose(&mut self, mask: Mask, a: Reg, b: Reg) -> Reg {
        let extents = [mask.a, mask.b, a, b].map(|r| self.extent(r));
        let extent = extents.into_iter().fold(Extent::One, Extent::join);
        let what = What::Op {
            op: Op::Vcmp,
            types: [Some(mask.dtype), None],
            args: vec![mask.a, mask.b],
            extra: Some(mask.condition),
        };
        // A bit for each element of the result, so that none has to be repeated.
        let held = self.push(Value { what, dtype: DType::U8, is_mask: true, extent });
        let dtype = self.value(a).dtype;
        self.op(Op::Vsel, [Some(dtype), None], &[held, a, b], None, extent)
    }
}

/// The instructions of the transcendental functions: the same polynomials as everywhere else.
impl Lanes for Code {
    type F = Reg;
    type I = Reg;
    type Mask = Mask;

    fn float(&mut self, value: f32) -> Reg {
        self.number(value)
    }
    fn int(&mut self, value: i32) -> Reg {
        self.int_number(value)
    }
    fn add(&mut self, a: Reg, b: Reg) -> Reg {
        match (self.as_number(a), self.as_number(b)) {
            (_, Some(number)) => self.with_number(Op::Vadds, DType::F32, a, number),
            (Some(number), _) => self.with_number(Op::Vadds, DType::F32, b, number),
            _ => self.binary(Op::Vadd, DType::F32, a, b),
        }
    }
    fn sub(&mut self, a: Reg, b: Reg) -> Reg {
        match self.as_number(b) {
            Some(number) => self.with_number(Op::Vadds, DType::F32, a, -number),
            None => self.binary(Op::Vsub, DType::F32, a, b),
        }
    }
    fn mul(&mut self, a: Reg, b: Reg) -> Reg {
        match (self.as_number(a), self.as_number(b)) {
            (_, Some(number)) => self.with_number(Op::Vmuls, DType::F32, a, number),
            (Some(number), _) => self.with_number(Op::Vmuls, DType::F32, b, number),
            _ => self.binary(Op::Vmul, DType::F32, a, b),
        }
    }
    fn div(&mut self, a: Reg, b: Reg) -> Reg {
        self.binary(Op::Vdiv, DType::F32, a, b)
    }
    fn fma(&mut self, a: Reg, b: Reg, c: Reg) -> Reg {
        self.fused(a, b, c)
    }
    fn lt(&mut self, a: Reg, b: Reg) -> Mask {
        self.compare(Condition::Lt, DType::F32, a, b)
    }
    fn eq(&mut self, a: Reg, b: Reg) -> Mask {
        self.compare(Condition::Eq, DType::F32, a, b)
    }
    fn select(&mut self, mask: Mask, a: Reg, b: Reg) -> Reg {
        self.choose(mask, a, b)
    }
    fn bits(&mut self, a: Reg) -> Reg {
        a
    }
    fn from_bits(&mut self, a: Reg) -> Reg {
        a
    }
    fn to_float(&mut self, a: Reg) -> Reg {
        self.cast(DType::I32, DType::F32, a)
    }
    fn iadd(&mut self, a: Reg, b: Reg) -> Reg {
        self.binary(Op::Vadd, DType::I32, a, b)
    }
    fn isub(&mut self, a: Reg, b: Reg) -> Reg {
        self.binary(Op::Vsub, DType::I32, a, b)
    }
    fn and(&mut self, a: Reg, b: Reg) -> Reg {
        self.binary(Op::Vand, DType::I32, a, b)
    }
    fn or(&mut self, a: Reg, b: Reg) -> Reg {
        self.binary(Op::Vor, DType::I32, a, b)
    }
    fn shl(&mut self, a: Reg, by: u8) -> Reg {
        self.shift(Op::Vshl, DType::I32, a, by)
    }
    fn sar(&mut self, a: Reg, by: u8) -> Reg {
        self.shift(Op::Vshr, DType::I32, a, by)
    }
}
