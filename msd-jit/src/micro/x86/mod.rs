//! The x86-64 tile emitter: machine code with registers Cranelift does not have. 256-bit AVX2, with or
//! without AVX-VNNI, 512-bit AVX-512 with VNNI, and on top of that AMX (`amx.rs`); System V
//! convention. See [`crate::tile`] for the contract. Owns the plan of registers; which rows and panels
//! fit it, [`super::Emitter`] says.

pub(super) mod amx;
mod assembler;
mod merge;
pub(super) mod split;
mod units;

pub(crate) use assembler::Width;
use iced_x86::{Code, Instruction, Register};

use super::Machine;
use crate::isa::DotForm;
use crate::tile::{C_ROW, Call, MergeForm, Operands, PANEL, Sum, Tile};
use assembler::*;

// Registers, by what they hold all the while. None of them is the caller's to find unchanged.
const TABLE: Register = Register::RDI;
const W: Register = Register::RSI;
const W_PANEL: Register = Register::RDX;
const W_PANEL_3: Register = Register::R8;
const X: Register = Register::R11;
const COUNT: Register = Register::RCX;
const AHEAD: Register = Register::R9;
const AHEAD_STEP: Register = Register::R10;
const SCRATCH: Register = Register::RAX;

/// Emission of one tile.
struct Emitter<'t> {
    asm: Assembler,
    tile: &'t Tile,
    /// Units of a row that lie side by side.
    row_units: usize,
    /// Tokens whose sums are in vector registers at once.
    tokens: usize,
    /// The constant that lies where merging has its factors, if it is known.
    held: Option<f64>,
}

/// A vector of channels: which part of which panel, and of which row. The rows of a tile are those of its first
/// digit, token by token, then those of the next.
#[derive(Clone, Copy)]
struct Place {
    row: usize,
    panel: usize,
    part: usize,
}

/// The machine code of `tile`, whose rows lie so many units side by side.
pub(super) fn emit(tile: &Tile, (width, row_units): (Width, usize), is_listed: bool) -> Emitted<Machine> {
    let mut e = Emitter { asm: Assembler::new(width, is_listed), tile, row_units, tokens: tile.tokens, held: None };
    e.prologue()?;
    match tile.sum {
        Sum::Whole { has_start, merge } => e.whole(has_start, merge)?,
        Sum::Wide => e.wide()?,
        Sum::Groups(group) => e.groups(group)?,
    }
    e.asm.finish()
}

impl Emitter<'_> {
    /// Vectors of a panel's sums.
    fn per_panel(&self) -> usize {
        PANEL / self.asm.lanes()
    }

    fn is_pairs(&self) -> bool {
        matches!(self.tile.operands, Operands::Quads(form) if form.dot == DotForm::Pairs)
    }

    fn is_float(&self) -> bool {
        matches!(self.tile.operands, Operands::Floats { .. })
    }

    /// Accumulators of a panel: pairs have two lanes for each sum.
    fn accumulators(&self) -> usize {
        if self.is_pairs() { 2 * self.per_panel() } else { self.per_panel() }
    }

    fn acc(&self, Place { row, panel, part }: Place) -> usize {
        let (digit, token) = (row / self.tile.tokens, row % self.tile.tokens);
        ((digit * self.tokens + token) * self.tile.panels + panel) * self.accumulators() + part
    }

    fn acc_count(&self) -> usize {
        self.tile.digits * self.tokens * self.tile.panels * self.accumulators()
    }

    fn temporary(&self, n: usize) -> usize {
        self.acc_count() + n
    }

    /// Every vector of so many rows, as sums and as what lies in C.
    fn each(&mut self, rows: usize, mut body: impl FnMut(&mut Self, Place) -> Emitted) -> Emitted {
        for row in 0..rows {
            for panel in 0..self.tile.panels {
                for part in 0..self.per_panel() {
                    body(self, Place { row, panel, part })?;
                }
            }
        }
        Ok(())
    }

    fn load_field(&mut self, to: Register, field: Call) -> Emitted {
        let from = at(TABLE, field.offset().into()).operand();
        self.asm.emit(Instruction::with2(Code::Mov_r64_rm64, to, from)?)
    }

    /// Whether a field is 0, for the jump that follows.
    fn test_field(&mut self, field: Call) -> Emitted {
        let field = at(TABLE, field.offset().into()).operand();
        self.asm.emit(Instruction::with2(Code::Cmp_rm64_imm8, field, 0)?)
    }

    /// Moves a pointer in the table on by a distance that is there too.
    fn advance_field(&mut self, field: Call, distance: Call) -> Emitted {
        self.load_field(SCRATCH, distance)?;
        let to = at(TABLE, field.offset().into()).operand();
        self.asm.emit(Instruction::with2(Code::Add_rm64_r64, to, SCRATCH)?)
    }

    /// Adds a number to a field.
    fn add_to_field(&mut self, field: Call, number: i32) -> Emitted {
        let to = at(TABLE, field.offset().into()).operand();
        self.asm.emit(Instruction::with2(Code::Add_rm64_imm32, to, number)?)
    }

    fn prologue(&mut self) -> Emitted {
        for (to, field) in [(W, Call::W), (W_PANEL, Call::WPanel), (X, Call::X), (COUNT, Call::K)] {
            self.load_field(to, field)?;
        }
        self.asm.lea(W_PANEL_3, W_PANEL, W_PANEL, 2)?;
        self.load_ahead()
    }

    /// Where a row's unit number `unit` from the pointer lies.
    fn x_at(&self, row: usize, unit: usize) -> At {
        let (rest, within) = (unit / self.row_units, unit % self.row_units);
        let unit = (rest * self.tile.rows() + row) * self.row_units + within;
        at(X, (unit * self.tile.operands.x_bytes()) as i64)
    }

    /// The place of a panel relative to `base`.
    fn panel_at(&self, base: Register, panel: usize, offset: i64) -> At {
        let (index, scale) = match panel {
            0 => (Register::None, 1),
            1 => (W_PANEL, 1),
            2 => (W_PANEL, 2),
            _ => (W_PANEL_3, 1),
        };
        At { base, index, scale, offset }
    }

    /// Where a vector of C lies, of elements of so many bytes; `SCRATCH` holds `C`.
    fn c_at(&self, Place { row, panel, part }: Place, bytes: usize) -> At {
        let element = row * C_ROW + panel * PANEL + part * self.asm.lanes();
        at(SCRATCH, (element * bytes) as i64)
    }

    fn whole(&mut self, has_start: bool, merge: Option<MergeForm>) -> Emitted {
        let rows = self.tile.rows();
        let (load, ready) = (self.asm.label(), self.asm.label());
        self.test_field(Call::First)?;
        self.asm.jump(Code::Je_rel32_64, load)?;
        self.begin(has_start)?;
        self.asm.jump(Code::Jmp_rel32_64, ready)?;
        self.asm.bind(load);
        self.load_field(SCRATCH, Call::C)?;
        self.each(rows, |e, place| {
            let from = e.c_at(place, 4);
            if e.is_pairs() {
                return e.spread_pairs(place, from);
            }
            let acc = e.asm.vector(e.acc(place));
            e.asm.load(MOVE, acc, from)
        })?;
        self.asm.bind(ready);
        self.units(None)?;
        self.reduce_pairs()?;
        self.load_field(SCRATCH, Call::C)?;
        self.each(rows, |e, place| {
            let (from, to) = (e.asm.vector(e.acc(place)), e.c_at(place, 4));
            e.asm.store(STORE, to, from)
        })?;
        if merge.is_some() || self.tile.finish.is_some() { self.results_at_last(merge) } else { Ok(()) }
    }

    /// Adds sums to I64 ones in memory.
    fn wide(&mut self) -> Emitted {
        self.clear_c_at_first(8)?;
        self.begin(false)?;
        self.units(None)?;
        self.reduce_pairs()?;
        self.load_field(SCRATCH, Call::C)?;
        self.each(self.tile.rows(), |e, place| {
            let (acc, wide) = (e.acc(place), e.asm.vector(e.temporary(0)));
            for half in 0..2 {
                let to = e.c_at(place, 8).plus((half * e.asm.lanes() * 4) as i64);
                let source = if half == 0 { e.asm.half(acc) } else { e.asm.upper_half(e.temporary(1), acc)? };
                e.asm.op2(WIDEN_I32, wide, source)?;
                e.asm.op3_memory(ADD_I64, wide, wide, to)?;
                e.asm.store(STORE, to, wide)?;
            }
            Ok(())
        })
    }

    /// Zeros in C, of elements of so many bytes, if nothing is added up so far.
    fn clear_c_at_first(&mut self, bytes: usize) -> Emitted {
        let filled = self.asm.label();
        self.test_field(Call::First)?;
        self.asm.jump(Code::Je_rel32_64, filled)?;
        self.load_field(SCRATCH, Call::C)?;
        self.asm.zero(0)?;
        let (zero, size) = (self.asm.vector(0), self.asm.lanes() * 4);
        for row in 0..self.tile.c_rows() {
            for offset in (0..self.tile.panels * PANEL * bytes).step_by(size) {
                self.asm.store(STORE, at(SCRATCH, (row * C_ROW * bytes + offset) as i64), zero)?;
            }
        }
        self.asm.bind(filled);
        Ok(())
    }

    /// What sums begin with: 0, or what `START` holds.
    fn begin(&mut self, has_start: bool) -> Emitted {
        if !has_start {
            for acc in 0..self.acc_count() {
                self.asm.zero(acc)?;
            }
            return Ok(());
        }
        debug_assert!(!self.is_pairs(), "words have both signs, and need no start");
        self.each_start(|e, row, from| {
            let first = e.acc(Place { row, panel: 0, part: 0 });
            e.asm.broadcast_i32(first, from)?;
            (1..e.tile.panels * e.accumulators()).try_for_each(|other| {
                let (to, from) = (e.asm.vector(first + other), e.asm.vector(first));
                e.asm.op2(MOVE, to, from)
            })
        })
    }

    /// Each row of the tile with where its start lies.
    fn each_start(&mut self, mut body: impl FnMut(&mut Self, usize, At) -> Emitted) -> Emitted {
        self.load_field(SCRATCH, Call::Start)?;
        for digit in 0..self.tile.digits {
            if digit > 0 {
                let step = at(TABLE, Call::StartDigit.offset().into()).operand();
                self.asm.emit(Instruction::with2(Code::Add_r64_rm64, SCRATCH, step)?)?;
            }
            for token in 0..self.tile.tokens {
                body(self, digit * self.tile.tokens + token, at(SCRATCH, token as i64 * 4))?;
            }
        }
        Ok(())
    }
}
