//! The x86-64 tile emitter: machine code with vectors Cranelift does not have. 256-bit AVX2, with or
//! without AVX-VNNI, and 512-bit AVX-512 with VNNI; System V convention. See [`crate::tile`] for the
//! contract. Owns the plan of registers; which rows and panels fit it, [`super::Emitter`] says.

mod assembler;
mod merge;
pub(super) mod split;
mod units;

pub(crate) use assembler::Width;
use iced_x86::code_asm::gpr64;
use iced_x86::{Code, Instruction, Register};

use super::Machine;
use crate::isa::DotForm;
use crate::tile::{Call, MergeForm, Operands, PANEL, Sum, Tile};
use assembler::*;

// Registers, by what they hold all the while.
const TABLE: Register = Register::RDI;
const W: Register = Register::RSI;
const W_PANEL: Register = Register::RDX;
const W_PANEL_3: Register = Register::R8;
const COUNT: Register = Register::RCX;
const AHEAD: Register = Register::R9;
const AHEAD_STEP: Register = Register::R10;
const SCRATCH: Register = Register::RAX;
const X_TOKEN: Register = Register::R13;
const X_TOKEN_3: Register = Register::R14;
const GROUPS: Register = Register::R15;
/// Rows of a digit in fours: each base reaches the next three.
const X: [Register; 4] = [Register::R11, Register::RBX, Register::RBP, Register::R12];
const SAVED: [Register; 6] = [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];

/// Emission of one tile.
struct Emitter<'t> {
    asm: Assembler,
    tile: &'t Tile,
    /// The constant that lies where merging has its factors, if it is known.
    held: Option<f64>,
}

/// The machine code of `tile`.
pub(super) fn emit(tile: &Tile, width: Width, is_listed: bool) -> Emitted<Machine> {
    let mut e = Emitter { asm: Assembler::new(width)?, tile, held: None };
    e.prologue()?;
    match tile.sum {
        Sum::Whole { has_start, merge } => e.whole(has_start, merge)?,
        Sum::Wide => e.wide()?,
        Sum::Groups(group) => e.groups(group)?,
    }
    e.epilogue()?;
    let text = if is_listed { listing(e.asm.a.instructions()) } else { String::new() };
    Ok(Machine { bytes: e.asm.a.assemble(0)?, text })
}

impl Emitter<'_> {
    /// Vectors of a panel's sums.
    fn per_panel(&self) -> usize {
        PANEL / self.asm.lanes()
    }

    fn is_pairs(&self) -> bool {
        matches!(self.tile.operands, Operands::Quads(form) if form.dot == DotForm::Pairs)
    }

    /// Accumulators of a panel: pairs have two lanes for each sum.
    fn accumulators(&self) -> usize {
        if self.is_pairs() { 2 * self.per_panel() } else { self.per_panel() }
    }

    fn acc(&self, row: usize, panel: usize, part: usize) -> usize {
        (row * self.tile.panels + panel) * self.accumulators() + part
    }

    fn acc_count(&self) -> usize {
        self.tile.rows() * self.tile.panels * self.accumulators()
    }

    fn temporary(&self, n: usize) -> usize {
        self.acc_count() + n
    }

    fn load_field(&mut self, to: Register, field: Call) -> Emitted {
        let from = at(TABLE, field.offset().into()).operand();
        self.asm.a.add_instruction(Instruction::with2(Code::Mov_r64_rm64, to, from)?)
    }

    /// Moves a pointer in the table on by a distance that is there too, or is known.
    fn advance_field(&mut self, field: Call, by: Result<Call, i32>) -> Emitted {
        let to = at(TABLE, field.offset().into()).operand();
        match by {
            Ok(distance) => {
                self.load_field(SCRATCH, distance)?;
                self.asm.a.add_instruction(Instruction::with2(Code::Add_rm64_r64, to, SCRATCH)?)
            }
            Err(bytes) => self.asm.a.add_instruction(Instruction::with2(Code::Add_rm64_imm32, to, bytes)?),
        }
    }

    fn prologue(&mut self) -> Emitted {
        for register in SAVED {
            self.asm.a.add_instruction(Instruction::with1(Code::Push_r64, register)?)?;
        }
        for (to, field) in [
            (W, Call::W),
            (W_PANEL, Call::WPanel),
            (X_TOKEN, Call::XToken),
            (COUNT, Call::K),
            (AHEAD, Call::Ahead),
            (AHEAD_STEP, Call::AheadStep),
        ] {
            self.load_field(to, field)?;
        }
        self.asm.shift_left(AHEAD_STEP, self.lines_per_fetch().trailing_zeros())?;
        self.asm.lea(W_PANEL_3, W_PANEL, W_PANEL, 2)?;
        self.asm.lea(X_TOKEN_3, X_TOKEN, X_TOKEN, 2)?;
        self.load_field(X[0], Call::X)?;
        self.load_field(SCRATCH, Call::XDigit)?;
        let per_digit = self.bases_per_digit();
        for base in 1..self.bases() {
            let (before, fours) = (X[base - 1], base % per_digit);
            if fours > 0 {
                self.asm.lea(X[base], before, X_TOKEN, 4)?;
            } else {
                self.asm.lea(X[base], X[base - per_digit], SCRATCH, 1)?;
            }
        }
        Ok(())
    }

    fn epilogue(&mut self) -> Emitted {
        // Upper halves left dirty would slow down what follows in SSE code.
        self.asm.a.vzeroupper()?;
        for register in SAVED.into_iter().rev() {
            self.asm.a.add_instruction(Instruction::with1(Code::Pop_r64, register)?)?;
        }
        self.asm.a.ret()
    }

    fn bases_per_digit(&self) -> usize {
        self.tile.tokens.div_ceil(4)
    }

    fn bases(&self) -> usize {
        self.tile.digits * self.bases_per_digit()
    }

    /// Where a row's unit number `unit` from the pointers lies.
    fn x_at(&self, row: usize, unit: usize) -> At {
        let (digit, token) = (row / self.tile.tokens, row % self.tile.tokens);
        let base = X[digit * self.bases_per_digit() + token / 4];
        let offset = (unit * self.tile.operands.x_bytes()) as i64;
        let (index, scale) = match token % 4 {
            0 => (Register::None, 1),
            1 => (X_TOKEN, 1),
            2 => (X_TOKEN, 2),
            _ => (X_TOKEN_3, 1),
        };
        At { base, index, scale, offset }
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

    /// Where a vector of `C[d][j][p]` lies, of elements of so many bytes; `SCRATCH` holds `C`.
    fn c_at(&self, row: usize, panel: usize, part: usize, bytes: usize) -> At {
        let element = (row * self.tile.panels + panel) * PANEL + part * self.asm.lanes();
        at(SCRATCH, (element * bytes) as i64)
    }

    fn whole(&mut self, has_start: bool, merge: Option<MergeForm>) -> Emitted {
        let (mut load, mut ready) = (self.asm.a.create_label(), self.asm.a.create_label());
        self.load_field(SCRATCH, Call::First)?;
        self.asm.a.test(gpr64::rax, gpr64::rax)?;
        self.asm.a.je(load)?;
        self.begin(has_start)?;
        self.asm.a.jmp(ready)?;
        self.asm.bind(&mut load)?;
        self.load_field(SCRATCH, Call::C)?;
        for row in 0..self.tile.rows() {
            for panel in 0..self.tile.panels {
                for part in 0..self.per_panel() {
                    let (acc, from) = (self.acc(row, panel, part), self.c_at(row, panel, part, 4));
                    if self.is_pairs() {
                        self.spread_pairs(row, panel, part, from)?;
                    } else {
                        let acc = self.asm.vector(acc);
                        self.asm.load(MOVE, acc, from)?;
                    }
                }
            }
        }
        self.asm.bind(&mut ready)?;
        self.units(None)?;
        self.reduce_pairs()?;
        let (mut merging, mut done) = (self.asm.a.create_label(), self.asm.a.create_label());
        if merge.is_some() {
            self.load_field(SCRATCH, Call::Last)?;
            self.asm.a.test(gpr64::rax, gpr64::rax)?;
            self.asm.a.jne(merging)?;
        }
        self.load_field(SCRATCH, Call::C)?;
        self.each_sum(|e, row, panel, part| {
            let from = e.asm.vector(e.acc(row, panel, part));
            let to = e.c_at(row, panel, part, 4);
            e.asm.store(STORE, to, from)
        })?;
        let Some(merge) = merge else { return Ok(()) };
        self.asm.a.jmp(done)?;
        self.asm.bind(&mut merging)?;
        for token in 0..self.tile.tokens {
            for panel in 0..self.tile.panels {
                for part in 0..self.per_panel() {
                    let merged = self.merged(merge, None, token, panel, part)?;
                    // Merging in F64 takes its constants through the scratch register.
                    self.load_field(SCRATCH, Call::C)?;
                    let (from, to) = (self.asm.vector(merged), self.c_at(token, panel, part, 4));
                    self.asm.store(STORE, to, from)?;
                }
            }
        }
        self.asm.bind(&mut done)?;
        self.asm.a.nop()
    }

    /// Adds sums to I64 ones in memory.
    fn wide(&mut self) -> Emitted {
        let mut filled = self.asm.a.create_label();
        self.load_field(SCRATCH, Call::First)?;
        self.asm.a.test(gpr64::rax, gpr64::rax)?;
        self.asm.a.je(filled)?;
        self.clear_c(8)?;
        self.asm.bind(&mut filled)?;
        self.begin(false)?;
        self.units(None)?;
        self.reduce_pairs()?;
        self.load_field(SCRATCH, Call::C)?;
        self.each_sum(|e, row, panel, part| {
            let (acc, t) = (e.acc(row, panel, part), e.temporary(0));
            for half in 0..2 {
                let to = e.c_at(row, panel, part, 8).plus((half * e.asm.lanes() * 4) as i64);
                let source = if half == 0 { e.asm.half(acc) } else { e.asm.upper_half(e.temporary(1), acc)? };
                let wide = e.asm.vector(t);
                e.asm.op2([Code::VEX_Vpmovsxdq_ymm_xmmm128, Code::EVEX_Vpmovsxdq_zmm_k1z_ymmm256], wide, source)?;
                e.asm.op3_memory(
                    [Code::VEX_Vpaddq_ymm_ymm_ymmm256, Code::EVEX_Vpaddq_zmm_k1z_zmm_zmmm512b64],
                    wide,
                    wide,
                    to,
                )?;
                e.asm.store(STORE, to, wide)?;
            }
            Ok(())
        })
    }

    fn each_sum(&mut self, mut body: impl FnMut(&mut Self, usize, usize, usize) -> Emitted) -> Emitted {
        for row in 0..self.tile.rows() {
            for panel in 0..self.tile.panels {
                for part in 0..self.per_panel() {
                    body(self, row, panel, part)?;
                }
            }
        }
        Ok(())
    }

    /// Zeros in C, of elements of so many bytes; of groups there is one row for each token.
    fn clear_c(&mut self, bytes: usize) -> Emitted {
        let rows = if matches!(self.tile.sum, Sum::Groups(_)) { self.tile.tokens } else { self.tile.rows() };
        self.load_field(SCRATCH, Call::C)?;
        self.asm.zero(0)?;
        let (zero, size) = (self.asm.vector(0), self.asm.lanes() * 4);
        for offset in (0..rows * self.tile.panels * PANEL * bytes).step_by(size) {
            self.asm.store(STORE, at(SCRATCH, offset as i64), zero)?;
        }
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
        self.load_field(SCRATCH, Call::Start)?;
        for digit in 0..self.tile.digits {
            if digit > 0 {
                let step = at(TABLE, Call::StartDigit.offset().into()).operand();
                self.asm.a.add_instruction(Instruction::with2(Code::Add_r64_rm64, SCRATCH, step)?)?;
            }
            for token in 0..self.tile.tokens {
                let row = digit * self.tile.tokens + token;
                let (first, count) = (self.acc(row, 0, 0), self.tile.panels * self.accumulators());
                self.asm.broadcast_i32(first, at(SCRATCH, token as i64 * 4))?;
                for other in first + 1..first + count {
                    let (to, from) = (self.asm.vector(other), self.asm.vector(first));
                    self.asm.op2(MOVE, to, from)?;
                }
            }
        }
        Ok(())
    }
}
