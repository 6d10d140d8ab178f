//! The innermost loops: over the units of panels and rows, with what is fetched ahead.

use iced_x86::{Code, Instruction, Register};
use msd_ir::dtype::DType;

use super::assembler::*;
use super::{AHEAD, AHEAD_STEP, COUNT, Emitter, Place, SCRATCH, W, X};
use crate::tile::{Call, Element, LINE, Operands, SHARING, Stream};

/// How far ahead of its loads a panel is fetched into the first-level cache. Of 512 to 4096 the best at four tokens and
/// two threads, by a few percent; at one token 1024 to 2048 are alike.
pub(super) const NEAR: i64 = 2048;

// Registers of a tile that reads alone, which needs no step of `AHEAD`.
const NEXT: Register = AHEAD_STEP;
const END: Register = SCRATCH;

/// Groups of at most so many units are written out.
const UNROLLED_GROUP: u32 = 8;

impl Emitter<'_> {
    /// The loop over units: as many as `COUNT` says, or a number that is known.
    pub(super) fn units(&mut self, known: Option<u32>) -> Emitted {
        let step = self.unroll();
        if let Some(units) = known.filter(|n| *n <= UNROLLED_GROUP) {
            for unit in 0..units as usize {
                // No line more than the units take.
                if unit + self.lines_per_fetch() <= units as usize {
                    self.prefetch(unit)?;
                }
                self.unit(unit)?;
            }
            return self.advance(units as usize);
        }
        if let Some(units) = known {
            self.asm.emit(Instruction::with2(Code::Mov_r32_imm32, Register::ECX, units)?)?;
        }
        let (main, tail) = (self.asm.label(), self.asm.label());
        let (single, done) = (self.asm.label(), self.asm.label());
        self.asm.add_immediate(COUNT, -(step as i32))?;
        self.asm.jump(Code::Jl_rel32_64, tail)?;
        // Of groups the end of K is seldom the end of what is read.
        let has_end = self.tile.stream == Stream::Alone && known.is_none();
        if has_end {
            self.find_end()?;
        }
        self.asm.bind(main);
        for unit in 0..step {
            self.prefetch(unit)?;
            self.unit(unit)?;
        }
        self.advance(step)?;
        self.asm.add_immediate(COUNT, -(step as i32))?;
        if has_end {
            self.asm.jump(Code::Jl_rel32_64, tail)?;
            self.asm.emit(Instruction::with2(Code::Cmp_r64_rm64, COUNT, END)?)?;
            self.asm.jump(Code::Jg_rel32_64, main)?;
            self.asm.emit(Instruction::with2(Code::Mov_r64_rm64, AHEAD, NEXT)?)?;
            self.asm.add_immediate(NEXT, (step * self.tile.operands.unit_bytes()) as i32)?;
            self.asm.jump(Code::Jmp_rel32_64, main)?;
        } else {
            self.asm.jump(Code::Jge_rel32_64, main)?;
        }
        self.asm.bind(tail);
        self.asm.add_immediate(COUNT, step as i32)?;
        self.asm.jump(Code::Je_rel32_64, done)?;
        self.asm.bind(single);
        self.unit(0)?;
        self.advance(1)?;
        self.asm.emit(Instruction::with1(Code::Dec_rm64, COUNT)?)?;
        self.asm.jump(Code::Jne_rel32_64, single)?;
        self.asm.bind(done);
        Ok(())
    }

    /// Where a tile fetches from: if it alone reads panels, [`NEAR`] ahead of them.
    pub(super) fn load_ahead(&mut self) -> Emitted {
        if self.tile.stream != Stream::Alone {
            self.load_field(AHEAD, Call::Ahead)?;
            self.load_field(AHEAD_STEP, Call::AheadStep)?;
            return self.asm.shift_left(AHEAD_STEP, self.lines_per_fetch().trailing_zeros());
        }
        self.load_field(NEXT, Call::Ahead)?;
        self.asm.emit(Instruction::with2(Code::Lea_r64_m, AHEAD, at(W, NEAR).operand())?)
    }

    /// When `COUNT` is down to `END`, nothing of these panels is that far ahead: at the end of K it fetches the
    /// beginning of the `NEXT`.
    fn find_end(&mut self) -> Emitted {
        let ready = self.asm.label();
        self.asm.emit(Instruction::with2(Code::Mov_rm64_imm32, END, -1)?)?;
        self.test_field(Call::Last)?;
        self.asm.jump(Code::Je_rel32_64, ready)?;
        let near = NEAR as usize / self.tile.operands.unit_bytes() - self.unroll();
        self.asm.emit(Instruction::with2(Code::Mov_r32_imm32, Register::EAX, near as u32)?)?;
        self.asm.bind(ready);
        Ok(())
    }

    /// Units per round: whole cache lines of a panel.
    fn unroll(&self) -> usize {
        // Many rows make a round long enough.
        let least = if self.tile.stream == Stream::Shared && self.tile.rows() < 16 { 4 } else { 2 };
        (LINE / self.tile.operands.unit_bytes()).max(least).max(self.row_units)
    }

    fn advance(&mut self, units: usize) -> Emitted {
        let (rows, operands) = (self.tile.rows(), self.tile.operands);
        self.asm.add_immediate(W, (units * operands.unit_bytes()) as i32)?;
        if self.tile.stream == Stream::Alone {
            self.asm.add_immediate(AHEAD, (units * operands.unit_bytes()) as i32)?;
        }
        // Fewer units are the last.
        let apart = if units.is_multiple_of(self.row_units) { rows } else { 1 };
        self.asm.add_immediate(X, (units * apart * operands.x_bytes()) as i32)
    }

    /// At a unit that begins a line, or a few: fetches as much of each panel, of what comes from memory [`NEAR`] ahead,
    /// and of what several tiles read what lies `AHEAD`, of which for a shared block one line in a few is enough. Where
    /// one tile alone reads, fetching both would take a tenth longer.
    fn prefetch(&mut self, unit: usize) -> Emitted {
        let offset = unit * self.tile.operands.unit_bytes();
        if !offset.is_multiple_of(LINE * self.lines_per_fetch()) {
            return Ok(());
        }
        for panel in 0..self.tile.panels {
            let near = match self.tile.stream {
                Stream::Alone => Some(self.panel_at(AHEAD, panel, offset as i64)),
                Stream::Direct => Some(self.panel_at(W, panel, NEAR + offset as i64)),
                Stream::Shared => None,
            };
            if let Some(near) = near {
                self.asm.emit(Instruction::with1(Code::Prefetcht0_m8, near.operand())?)?;
            }
            if self.tile.stream != Stream::Alone {
                let ahead = self.panel_at(AHEAD, panel, 0).operand();
                self.asm.emit(Instruction::with1(Code::Prefetcht1_m8, ahead)?)?;
            }
        }
        if self.tile.stream != Stream::Alone {
            self.asm.emit(Instruction::with2(Code::Add_r64_rm64, AHEAD, AHEAD_STEP)?)?;
        }
        Ok(())
    }

    /// Lines of a panel for each that is fetched of the next block. At least four tiles share a block, but for
    /// the last turn.
    fn lines_per_fetch(&self) -> usize {
        match self.tile.stream {
            Stream::Alone | Stream::Direct => 1,
            Stream::Shared => (self.unroll() * self.tile.operands.unit_bytes() / LINE).clamp(1, SHARING),
        }
    }

    /// Every accumulator's products of unit number `unit` from the pointers.
    fn unit(&mut self, unit: usize) -> Emitted {
        if self.is_pairs() {
            return self.unit_of_pairs(unit);
        }
        let (rows, parts) = (self.tile.rows(), self.per_panel());
        let vectors = self.tile.panels * parts;
        let first = self.temporary(0);
        let free = self.asm.registers() - first;
        let place = |row: usize, v: usize| Place { row, panel: v / parts, part: v % parts };
        // The fewer of the two kinds of operands stay in registers, the others take turns.
        if vectors <= rows {
            for v in 0..vectors {
                self.load_w(first + v, place(0, v), unit)?;
            }
            for row in 0..rows {
                if self.is_x_embedded(vectors) {
                    self.accumulate_from(self.acc(place(row, 0)), first, self.x_at(row, unit))?;
                    continue;
                }
                let x = first + vectors + row % (free - vectors);
                self.asm.broadcast_i32(x, self.x_at(row, unit))?;
                for v in 0..vectors {
                    self.accumulate(self.acc(place(row, v)), first + v, x)?;
                }
            }
        } else {
            for row in 0..rows {
                self.asm.broadcast_i32(first + row, self.x_at(row, unit))?;
            }
            for v in 0..vectors {
                let w = first + rows + v % (free - rows);
                self.load_w(w, place(0, v), unit)?;
                for row in 0..rows {
                    self.accumulate(self.acc(place(row, v)), w, first + row)?;
                }
            }
        }
        Ok(())
    }

    /// Words of a unit: 4 channels of the panel at a time, widened, whose products leave two lanes for
    /// each channel.
    fn unit_of_pairs(&mut self, unit: usize) -> Emitted {
        let Operands::Quads(form) = self.tile.operands else { return Ok(()) };
        let widen = match form.w {
            Element::Unsigned => Code::VEX_Vpmovzxbw_ymm_xmmm128,
            Element::Signed | Element::Word => Code::VEX_Vpmovsxbw_ymm_xmmm128,
        };
        let (w, turns) = (self.temporary(0), self.asm.registers() - self.temporary(1));
        let mut turn = 0;
        for panel in 0..self.tile.panels {
            for part in 0..self.accumulators() {
                let offset = unit * self.tile.operands.unit_bytes() + part * LINE / 4;
                let (to, from) = (self.asm.vector(w), self.panel_at(W, panel, offset as i64));
                self.asm.load([widen; 2], to, from)?;
                for row in 0..self.tile.rows() {
                    let product = self.temporary(1 + turn % turns);
                    turn += 1;
                    let (v, from) = (self.asm.vector(product), self.x_at(row, unit));
                    self.asm.load([Code::VEX_Vpbroadcastq_ymm_xmmm64; 2], v, from)?;
                    self.asm.op3([Code::VEX_Vpmaddwd_ymm_ymm_ymmm256; 2], v, v, to)?;
                    let acc = self.acc(Place { row, panel, part });
                    self.asm.add_i32(acc, acc, product)?;
                }
            }
        }
        Ok(())
    }

    /// A vector of a panel's unit, as floats where it is of floats.
    fn load_w(&mut self, to: usize, Place { panel, part, .. }: Place, unit: usize) -> Emitted {
        let operands = self.tile.operands;
        let bytes = operands.unit_bytes();
        let from = self.panel_at(W, panel, (unit * bytes + part * bytes / self.per_panel()) as i64);
        let to = self.asm.vector(to);
        let Operands::Floats { panel: dtype, .. } = operands else { return self.asm.load(MOVE, to, from) };
        match dtype {
            DType::BF16 => {
                self.asm.load(WIDEN_U16, to, from)?;
                self.asm.shift(SHIFT_LEFT, to, 16)
            }
            DType::F16 => self.asm.load(F16_TO_F32, to, from),
            DType::I8 | DType::I4 => {
                self.asm.load([Code::VEX_Vpmovsxbd_ymm_xmmm64, Code::EVEX_Vpmovsxbd_zmm_k1z_xmmm128], to, from)?;
                self.asm.op2(I32_TO_F32, to, to)
            }
            DType::U8 | DType::U4 => {
                self.asm.load([Code::VEX_Vpmovzxbd_ymm_xmmm64, Code::EVEX_Vpmovzxbd_zmm_k1z_xmmm128], to, from)?;
                self.asm.op2(I32_TO_F32, to, to)
            }
            _ => self.asm.load(MOVE, to, from),
        }
    }

    /// Adds the products of a vector of a panel with one of a row.
    fn accumulate(&mut self, acc: usize, w: usize, x: usize) -> Emitted {
        let [acc, w, x] = [acc, w, x].map(|n| self.asm.vector(n));
        match self.tile.operands {
            Operands::Floats { .. } => self.asm.op3(FUSED_231, acc, w, x),
            Operands::Quads(form) => {
                // The unsigned operand is the first.
                let (unsigned, signed) = if form.x == Element::Unsigned { (x, w) } else { (w, x) };
                self.asm.op3(DOT_BYTES, acc, unsigned, signed)
            }
        }
    }

    /// Whether rows are read by the instructions that multiply, which a single vector of channels alone makes worth
    /// while. Of the operands the one in memory is signed.
    fn is_x_embedded(&self, vectors: usize) -> bool {
        let is_second = match self.tile.operands {
            Operands::Floats { .. } => true,
            Operands::Quads(form) => form.x == Element::Signed,
        };
        self.asm.width == Width::Zmm && vectors == 1 && is_second
    }

    /// Adds the products of a vector of a panel with a row's unit in memory.
    fn accumulate_from(&mut self, acc: usize, w: usize, x: At) -> Emitted {
        let [acc, w] = [acc, w].map(|n| self.asm.vector(n));
        let codes = match self.tile.operands {
            Operands::Floats { .. } => FUSED_231,
            Operands::Quads(_) => DOT_BYTES,
        };
        self.asm.op3_broadcast(self.asm.code(codes), acc, w, x)
    }

    /// Adds up the two lanes of each channel: the accumulators of a panel become its sums, in the lower
    /// half of their numbers.
    pub(super) fn reduce_pairs(&mut self) -> Emitted {
        if !self.is_pairs() {
            return Ok(());
        }
        self.each(self.tile.rows(), |e, place| {
            let [to, a, b] = [place.part, 2 * place.part, 2 * place.part + 1]
                .map(|part| e.asm.vector(e.acc(Place { part, ..place })));
            e.asm.op3([Code::VEX_Vphaddd_ymm_ymm_ymmm256; 2], to, a, b)?;
            // Halves of the operands alternate within the two halves of the result.
            let code = Code::VEX_Vpermq_ymm_ymmm256_imm8;
            e.asm.emit(Instruction::with3(code, to, to, 0b11_01_10_00u32)?)
        })
    }

    /// Sums in memory as accumulators of pairs: each in the first of its two lanes.
    pub(super) fn spread_pairs(&mut self, place: Place, from: At) -> Emitted {
        for half in 0..2 {
            let to = self.asm.vector(self.acc(Place { part: 2 * place.part + half, ..place }));
            self.asm.load([Code::VEX_Vpmovzxdq_ymm_xmmm128; 2], to, from.plus(half as i64 * 16))?;
        }
        Ok(())
    }
}
