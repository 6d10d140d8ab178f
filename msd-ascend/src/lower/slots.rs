//! Where the values of a tile lie in UB. Owns sizes and lifetimes; what is loaded and what is stored has several
//! places, so that some tiles move while one is computed.

use super::code::{Code, Extent, Reg, Value, What};
use crate::isa::Op;
use crate::isa::region::{BLOCK, bytes, round_up};

/// Most rows and columns of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TileSize {
    pub(crate) rows: i64,
    pub(crate) cols: i64,
}

/// A place in UB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) offset: i64,
    /// Bytes to the next of several; 0 if there is one.
    pub(crate) twin: i64,
}

/// Places of all values.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    pub(crate) places: Vec<Slot>,
    /// One past the last byte.
    pub(crate) end: i64,
}

impl Value {
    /// Bytes from row to row.
    pub(crate) fn pitch(&self, tile: TileSize) -> i64 {
        match self.extent {
            Extent::Column | Extent::One | Extent::Single => BLOCK,
            Extent::Packed => round_up(bytes(tile.rows, self.dtype), BLOCK),
            Extent::Tile | Extent::Row if self.is_mask => round_up(round_up(tile.cols, 8) / 8, BLOCK),
            Extent::Tile | Extent::Row => round_up(bytes(tile.cols, self.dtype), BLOCK),
        }
    }

    pub(crate) fn bytes(&self, tile: TileSize) -> i64 {
        let rows = if self.extent.has_rows() { tile.rows } else { 1 };
        rows * self.pitch(tile)
    }

    fn is_loaded(&self) -> bool {
        matches!(self.what, What::Load(_) | What::Sums { .. })
    }
}

impl Slots {
    /// Places of the values of `code` from `base` on; `kept` are where earlier passes put what they keep. What is
    /// loaded or stored has `depth` places.
    pub(crate) fn new(code: &Code, stored: &[Reg], kept: &[i64], tile: TileSize, (base, depth): (i64, i64)) -> Slots {
        let count = code.values.len();
        let mut last_use: Vec<usize> = (0..count).collect();
        for (index, value) in code.values.iter().enumerate() {
            if let What::Op { args, .. } = &value.what {
                args.iter().for_each(|a| last_use[a.0] = index);
            }
        }
        let mut slots = Slots { places: vec![Slot { offset: 0, twin: 0 }; count], end: base };
        // What is always there, and what has several places.
        let mut is_fixed = vec![false; count];
        for (index, value) in code.values.iter().enumerate() {
            let reg = Reg(index);
            let size = value.bytes(tile);
            let times = if value.is_loaded() || stored.contains(&reg) { depth } else { 1 };
            if let What::Kept(which) = value.what {
                slots.places[index] = Slot { offset: kept[which], twin: 0 };
            } else if value.is_loaded() || stored.contains(&reg) || code.is_constant(reg) {
                slots.places[index] = Slot { offset: slots.end, twin: if times > 1 { size } else { 0 } };
                slots.end += times * size;
            } else {
                continue;
            }
            is_fixed[index] = true;
        }
        slots.place_others(code, tile, &is_fixed, &last_use);
        slots
    }

    /// Values between: each where none lies that is still needed, or in the place of an operand that it replaces.
    fn place_others(&mut self, code: &Code, tile: TileSize, is_fixed: &[bool], last_use: &[usize]) {
        let base = self.end;
        let mut live: Vec<(usize, i64, i64)> = Vec::new();
        for (index, value) in code.values.iter().enumerate().filter(|(index, _)| !is_fixed[*index]) {
            let size = value.bytes(tile);
            live.retain(|(other, ..)| last_use[*other] >= index);
            let replaced = replaceable(value).filter(|a| {
                let other = &code.values[a.0];
                let alike = (other.extent, other.dtype, other.is_mask) == (value.extent, value.dtype, value.is_mask);
                alike && !is_fixed[a.0] && last_use[a.0] == index
            });
            let offset = match replaced.last() {
                Some(arg) => {
                    live.retain(|(other, ..)| *other != arg.0);
                    self.places[arg.0].offset
                }
                None => first_gap(&mut live, base, size),
            };
            self.places[index] = Slot { offset, twin: 0 };
            live.push((index, offset, size));
            self.end = self.end.max(offset + size);
        }
    }
}

/// Operands whose place the result may take: rows are read before they are written, but of other widths.
fn replaceable(value: &Value) -> impl Iterator<Item = Reg> + '_ {
    let (op, args) = match &value.what {
        What::Op { op, args, .. } => (Some(*op), args.as_slice()),
        _ => (None, [].as_slice()),
    };
    let args = match op {
        // The sum is what the instruction adds to.
        Some(Op::Vmla) => args.get(2..).unwrap_or_default(),
        Some(Op::Vrsum | Op::Vrmax | Op::Vbrcb | Op::Vcast | Op::Vcmp) => &[],
        _ => args,
    };
    args.iter().copied()
}

fn first_gap(live: &mut [(usize, i64, i64)], base: i64, size: i64) -> i64 {
    live.sort_by_key(|(_, offset, _)| *offset);
    let mut at = base;
    for (_, offset, length) in live.iter() {
        if *offset >= at + size {
            break;
        }
        at = at.max(offset + length);
    }
    at
}
