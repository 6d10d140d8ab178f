//! Tiles by matrix registers (AMX), for sums of bytes over the whole of K. A register holds 16 rows of 64 bytes, and
//! one instruction multiplies 16 rows by 16 channels and 64 neighbours along K. Rows lie as one register wants them,
//! row after row ([`super::super::Emitter::row_depth`]), and 16 units of a panel as the other does, so that both are
//! loaded as they are; sums go through `C`, where vectors let them begin and turn them into results.
//!
//! One matrix of rows is multiplied with up to four panels, which stay in the first-level cache for the next rows: for
//! each product less is read from farther away than with two matrices of rows and two panels.

use iced_x86::{Code, Instruction, Register};

use super::assembler::*;
use super::units::NEAR;
use super::{COUNT, Emitter, SCRATCH, TABLE, X};
use crate::micro::Machine;
use crate::tile::{C_ROW, Call, Element, LINE, MATRIX_BYTES, MATRIX_ROWS, MergeForm, Operands, PANEL, QUAD, SHARING};
use crate::tile::{Stream, Tile};

/// Matrix registers: the sums of each panel, then the rows, then those that panels take turns in.
const REGISTERS: usize = 8;

/// Units of a panel that a register holds, and their bytes.
const UNITS: i32 = (MATRIX_BYTES / QUAD) as i32;
const CHUNK: i32 = MATRIX_ROWS as i32 * MATRIX_BYTES as i32;

// General registers of the loop, beside those of all tiles: where each panel is read, ...
const PANELS: [Register; 4] = [Register::RSI, Register::RDX, Register::R8, Register::RBX];
// ... bytes from row to row of an operand, and ...
const STRIDE: Register = Register::R10;
// ... how far the next block of the weights lies from this one.
const AHEAD: Register = Register::R9;

/// Where `C` is, before and after the loop; no later products fetch what is ahead.
const C: Register = AHEAD;

// A table of shapes, as the processor reads it: its size, and where it has the bytes of a row of each register, and
// the rows.
const SHAPES: usize = 64;
const ROW_BYTES: usize = 16;
const ROWS: usize = 48;

/// The machine code of `tile`, whose sums are over the whole of K.
pub(crate) fn emit(tile: &Tile, (has_start, merge): (bool, Option<MergeForm>), is_listed: bool) -> Emitted<Machine> {
    let mut e = Emitter {
        asm: Assembler::new(Width::Zmm, is_listed),
        tile,
        row_units: MATRIX_BYTES / QUAD,
        tokens: 1,
        held: None,
    };
    e.matrices(has_start, merge)?;
    e.asm.finish()
}

/// The function that gives the registers back, so that nobody keeps them for this thread.
pub(crate) fn emit_release(is_listed: bool) -> Emitted<Machine> {
    let mut asm = Assembler::new(Width::Zmm, is_listed);
    asm.emit(Instruction::with(Code::VEX_Tilerelease))?;
    asm.finish()
}

impl Emitter<'_> {
    fn sums(&self, panel: usize) -> Register {
        Register::TMM0 + panel as u32
    }

    fn rows(&self) -> Register {
        Register::TMM0 + self.tile.panels as u32
    }

    fn panel(&self, panel: usize) -> Register {
        let first = self.tile.panels + 1;
        Register::TMM0 + (first + panel % (REGISTERS - first)) as u32
    }

    fn panels_at(&self) -> &'static [Register] {
        &PANELS[..self.tile.panels]
    }

    /// The shapes of all registers.
    fn shapes(&self) -> [u8; SHAPES] {
        let mut shapes = [0; SHAPES];
        // The only palette there is.
        shapes[0] = 1;
        for n in 0..REGISTERS {
            shapes[ROW_BYTES + 2 * n] = MATRIX_BYTES as u8;
            let is_panel = n > self.tile.panels;
            shapes[ROWS + n] = if is_panel { MATRIX_ROWS } else { self.tile.rows() } as u8;
        }
        shapes
    }

    fn load_matrix(&mut self, to: Register, base: Register) -> Emitted {
        let from = At { index: STRIDE, ..at(base, 0) }.operand();
        self.asm.emit(Instruction::with2(Code::VEX_Tileloadd_tmm_sibmem, to, from)?)
    }

    /// Where a panel's sums lie in `C`, whose rows are four times as far apart as those of operands.
    fn sums_at(&self, panel: usize) -> At {
        const { assert!(C_ROW * 4 == 4 * MATRIX_BYTES) };
        At { index: STRIDE, scale: 4, ..at(C, (panel * PANEL * 4) as i64) }
    }

    fn load_sums(&mut self) -> Emitted {
        (0..self.tile.panels).try_for_each(|panel| {
            let from = self.sums_at(panel).operand();
            self.asm.emit(Instruction::with2(Code::VEX_Tileloadd_tmm_sibmem, self.sums(panel), from)?)
        })
    }

    fn store_sums(&mut self) -> Emitted {
        (0..self.tile.panels).try_for_each(|panel| {
            let to = self.sums_at(panel).operand();
            self.asm.emit(Instruction::with2(Code::VEX_Tilestored_sibmem_tmm, to, self.sums(panel))?)
        })
    }

    fn matrices(&mut self, has_start: bool, merge: Option<MergeForm>) -> Emitted {
        let shapes = self.shapes();
        let table = self.asm.constant(&shapes);
        self.shape(table)?;
        self.asm.emit(Instruction::with1(Code::Push_r64, Register::RBX)?)?;
        self.asm.emit(Instruction::with2(Code::Mov_r32_imm32, Register::R10D, MATRIX_BYTES as u32)?)?;
        self.begin_matrices(has_start)?;
        self.load_pointers()?;
        self.over_k(table)?;
        self.load_field(C, Call::C)?;
        self.store_sums()?;
        self.asm.emit(Instruction::with1(Code::Pop_r64, Register::RBX)?)?;
        if merge.is_some() || self.tile.finish.is_some() { self.results_at_last(merge) } else { Ok(()) }
    }

    /// Gives the registers their shapes, unless they have them from the tile before: that takes as long as ten
    /// products.
    fn shape(&mut self, table: Label) -> Emitted {
        let ready = self.asm.label();
        let known = at(TABLE, Call::Shapes.offset().into()).operand();
        // All that shapes depend on.
        let number = (self.tile.rows() * (REGISTERS + 1) + self.tile.panels) as i32;
        self.asm.emit(Instruction::with2(Code::Cmp_rm64_imm32, known, number)?)?;
        self.asm.jump(Code::Je_rel32_64, ready)?;
        self.asm.emit(Instruction::with2(Code::Mov_rm64_imm32, known, number)?)?;
        self.asm.emit_at(|from| Instruction::with1(Code::VEX_Ldtilecfg_m512, from), table)?;
        self.asm.bind(ready);
        Ok(())
    }

    /// What sums begin with: what C holds, or at first 0 or what `START` holds.
    fn begin_matrices(&mut self, has_start: bool) -> Emitted {
        let (load, ready) = (self.asm.label(), self.asm.label());
        self.load_field(C, Call::C)?;
        self.test_field(Call::First)?;
        self.asm.jump(Code::Je_rel32_64, load)?;
        if has_start {
            self.starts()?;
        } else {
            for panel in 0..self.tile.panels {
                self.asm.emit(Instruction::with1(Code::VEX_Tilezero_tmm, self.sums(panel))?)?;
            }
            self.asm.jump(Code::Jmp_rel32_64, ready)?;
        }
        self.asm.bind(load);
        self.load_sums()?;
        self.asm.bind(ready);
        Ok(())
    }

    /// Fills C with what `START` holds for each row.
    fn starts(&mut self) -> Emitted {
        self.each_start(|e, row, from| {
            e.asm.broadcast_i32(row, from)?;
            let start = e.asm.vector(row);
            (0..e.tile.panels).try_for_each(|panel| {
                let to = at(C, ((row * C_ROW + panel * PANEL) * 4) as i64);
                e.asm.store(STORE, to, start)
            })
        })
    }

    fn load_pointers(&mut self) -> Emitted {
        self.load_field(X, Call::X)?;
        self.load_field(COUNT, Call::K)?;
        self.load_field(PANELS[0], Call::W)?;
        self.load_field(SCRATCH, Call::WPanel)?;
        for panel in 1..self.tile.panels {
            self.asm.lea(PANELS[panel], PANELS[panel - 1], SCRATCH, 1)?;
        }
        if self.tile.stream == Stream::Alone {
            return self.load_distances();
        }
        self.load_field(AHEAD, Call::Ahead)?;
        self.asm.emit(Instruction::with2(Code::Sub_r64_rm64, AHEAD, PANELS[0])?)?;
        self.load_field(SCRATCH, Call::AheadStep)?;
        self.asm.shift_left(SCRATCH, self.lines_per_prefetch().trailing_zeros())
    }

    /// How far ahead a tile fetches that alone reads its panels: [`NEAR`] in `AHEAD` and, for what is at the end of K
    /// no farther from it, the distance to the next panels in `SCRATCH`.
    fn load_distances(&mut self) -> Emitted {
        let ready = self.asm.label();
        self.asm.emit(Instruction::with2(Code::Mov_rm64_imm32, AHEAD, NEAR as i32)?)?;
        self.asm.emit(Instruction::with2(Code::Mov_r64_rm64, SCRATCH, AHEAD)?)?;
        self.test_field(Call::Last)?;
        self.asm.jump(Code::Je_rel32_64, ready)?;
        // Whole registers of the panel, but for the last that are so near to the end.
        self.asm.emit(Instruction::with2(Code::Mov_r64_rm64, SCRATCH, COUNT)?)?;
        self.asm.emit(Instruction::with2(Code::And_rm64_imm8, SCRATCH, -UNITS)?)?;
        self.asm.shift_left(SCRATCH, LINE.trailing_zeros())?;
        self.asm.emit(Instruction::with2(Code::Add_r64_rm64, SCRATCH, PANELS[0])?)?;
        self.asm.add_immediate(SCRATCH, -(NEAR as i32))?;
        self.asm.emit(Instruction::with1(Code::Neg_rm64, SCRATCH)?)?;
        let next = at(TABLE, Call::Ahead.offset().into()).operand();
        self.asm.emit(Instruction::with2(Code::Add_r64_rm64, SCRATCH, next)?)?;
        self.asm.bind(ready);
        Ok(())
    }

    /// The loop over K, of as many units as a register holds, and what is left of them.
    fn over_k(&mut self, table: Label) -> Emitted {
        let (main, tail, done) = (self.asm.label(), self.asm.label(), self.asm.label());
        self.asm.add_immediate(COUNT, -UNITS)?;
        self.asm.jump(Code::Jl_rel32_64, tail)?;
        self.asm.bind(main);
        self.multiply(true)?;
        self.asm.add_immediate(X, (self.tile.rows() * MATRIX_BYTES) as i32)?;
        for panel in self.panels_at() {
            self.asm.add_immediate(*panel, CHUNK)?;
        }
        self.asm.add_immediate(COUNT, -UNITS)?;
        if self.tile.stream == Stream::Alone {
            const { assert!(NEAR == 2 * CHUNK as i64) };
            self.asm.jump(Code::Jl_rel32_64, tail)?;
            self.asm.emit(Instruction::with2(Code::Cmp_rm64_imm32, COUNT, 2 * UNITS)?)?;
            self.asm.jump(Code::Jge_rel32_64, main)?;
            self.asm.emit(Instruction::with2(Code::Mov_r64_rm64, AHEAD, SCRATCH)?)?;
            self.asm.jump(Code::Jmp_rel32_64, main)?;
        } else {
            self.asm.jump(Code::Jge_rel32_64, main)?;
        }
        self.asm.bind(tail);
        self.asm.add_immediate(COUNT, UNITS)?;
        self.asm.jump(Code::Je_rel32_64, done)?;
        self.reshape(table)?;
        self.multiply(false)?;
        self.asm.bind(done);
        Ok(())
    }

    /// Shapes for the `COUNT` units that are left, so that nothing behind them is read.
    fn reshape(&mut self, table: Label) -> Emitted {
        let known = at(TABLE, Call::Shapes.offset().into()).operand();
        self.asm.emit(Instruction::with2(Code::Mov_rm64_imm32, known, 0)?)?;
        self.load_field(C, Call::C)?;
        self.store_sums()?;
        // Below the stack pointer, where nobody else writes.
        let below = |offset: usize| at(Register::RSP, offset as i64 - SHAPES as i64).operand();
        let v = self.asm.vector(0);
        self.asm.emit_at(|from| Instruction::with2(MOVE[1], v, from), table)?;
        self.asm.emit(Instruction::with2(STORE[1], below(0), v)?)?;
        for panel in self.tile.panels + 1..REGISTERS {
            self.asm.emit(Instruction::with2(Code::Mov_rm8_r8, below(ROWS + panel), Register::CL)?)?;
        }
        self.asm.shift_left(COUNT, QUAD.trailing_zeros())?;
        let bytes = below(ROW_BYTES + 2 * self.tile.panels);
        self.asm.emit(Instruction::with2(Code::Mov_rm8_r8, bytes, Register::CL)?)?;
        self.asm.emit(Instruction::with1(Code::VEX_Ldtilecfg_m512, below(0))?)?;
        self.load_sums()
    }

    /// Adds the products of the rows with each panel to the sums.
    fn multiply(&mut self, has_prefetch: bool) -> Emitted {
        let rows = self.rows();
        self.load_matrix(rows, X)?;
        for (panel, from) in self.panels_at().iter().enumerate() {
            let (sums, w) = (self.sums(panel), self.panel(panel));
            self.load_matrix(w, *from)?;
            self.asm.emit(Instruction::with3(self.dot(), sums, rows, w)?)?;
            if has_prefetch {
                self.prefetch_near(panel)?;
                self.prefetch_ahead(panel)?;
            }
        }
        Ok(())
    }

    /// The product of rows with panels, whichever of them is signed.
    fn dot(&self) -> Code {
        match self.tile.operands {
            Operands::Quads(form) if form.x == Element::Unsigned => Code::VEX_Tdpbusd_tmm_tmm_tmm,
            _ => Code::VEX_Tdpbsud_tmm_tmm_tmm,
        }
    }

    /// Fetches, between the products with two panels, a part of the next rows, and of a panel that comes from memory
    /// lines [`NEAR`] ahead.
    fn prefetch_near(&mut self, panel: usize) -> Emitted {
        let (rows, panels) = (self.tile.rows(), self.tile.panels);
        for row in rows * panel / panels..rows * (panel + 1) / panels {
            let next = at(X, ((rows + row) * MATRIX_BYTES) as i64).operand();
            self.asm.emit(Instruction::with1(Code::Prefetcht0_m8, next)?)?;
        }
        for line in 0..CHUNK as usize / LINE {
            let line = at(PANELS[panel], (line * LINE) as i64);
            let near = match self.tile.stream {
                Stream::Alone => At { index: AHEAD, ..line },
                Stream::Direct => line.plus(NEAR),
                Stream::Shared => return Ok(()),
            };
            self.asm.emit(Instruction::with1(Code::Prefetcht0_m8, near.operand())?)?;
        }
        Ok(())
    }

    /// Lines of a panel for each that is fetched of the next block.
    fn lines_per_prefetch(&self) -> usize {
        if self.tile.stream == Stream::Shared { SHARING } else { 1 }
    }

    /// Fetches, for as much as a register takes of each panel, its share of the next block: a part of that between the
    /// products with two panels. `AHEAD` is how far it lies from the panels, which move on themselves.
    fn prefetch_ahead(&mut self, part: usize) -> Emitted {
        if self.tile.stream == Stream::Alone {
            return Ok(());
        }
        let (lines, parts) = (CHUNK as usize / LINE / self.lines_per_prefetch(), self.tile.panels);
        for _ in lines * part / parts..lines * (part + 1) / parts {
            for panel in self.panels_at() {
                let ahead = At { index: AHEAD, ..at(*panel, 0) }.operand();
                self.asm.emit(Instruction::with1(Code::Prefetcht1_m8, ahead)?)?;
            }
            self.asm.emit(Instruction::with2(Code::Add_r64_rm64, AHEAD, SCRATCH)?)?;
        }
        if part + 1 == parts { self.asm.add_immediate(AHEAD, -CHUNK) } else { Ok(()) }
    }
}
