//! Rows into digits, sixteen elements at a time: AVX-512. See [`crate::micro::split`] for the contract.

use iced_x86::{Code, Instruction, Register};
use msd_ir::dtype::DType;

use super::assembler::*;
use crate::micro::Machine;
use crate::micro::split::{CHUNK, Method, Slot, Split};
use crate::tile::QUAD;

const TABLE: Register = Register::RDI;
const X: Register = Register::RSI;
const COUNT: Register = Register::RCX;
/// Where digits go.
const DIGITS: [Register; 4] = [Register::R8, Register::R9, Register::R10, Register::R11];

/// From unit to unit of packed digits, and three times as much.
const STEP: Register = Register::RDX;
const STEP_3: Register = Register::RAX;

// Vectors, by number. Sums of digits come last.
const VALUE: usize = 0;
const REST: usize = 1;
const LOW: usize = 2;
const HALVES: [usize; 2] = [3, 4];
const QUOTIENTS: [usize; 2] = [5, 7];
const PACKED: usize = 6;
const KEEP: usize = 8;
const FACTORS: [usize; 2] = [9, 10];
const RECIPROCAL: usize = 11;
const LIMITS: [usize; 2] = [12, 13];
const SCALE: usize = 14;
const UNITS: usize = 15;
const SUMS: usize = 20;
const INVERSES: usize = 24;
const NEAR_TIE: usize = 28;
const ROUNDED: [usize; 2] = [29, 30];

/// The square of what a quotient may at most be off the nearest integer, so that its error cannot have changed which
/// that is: quotients are below 2^10, and their errors below 2^-40.
const TIE: f64 = (0.5 - 1.0 / 1024.0) * (0.5 - 1.0 / 1024.0);

/// The function for the largest magnitude of elements of a type.
pub(crate) fn emit_largest(source: DType, is_listed: bool) -> Emitted<Machine> {
    let mut asm = Assembler::new(Width::Zmm, is_listed);
    asm.splat_i32(KEEP, i32::MAX)?;
    asm.zero(SUMS)?;
    load_run(&mut asm)?;
    over_chunks(&mut asm, source, 1, |asm| {
        load(asm, source, VALUE, at(X, 0))?;
        let [value, mask, largest] = [VALUE, KEEP, SUMS].map(|n| asm.vector(n));
        asm.op3(AND, value, value, mask)?;
        asm.op3(MAX, largest, largest, value)
    })?;
    reduce(&mut asm, SUMS, [Code::VEX_Vpmaxsd_ymm_ymm_ymmm256, Code::VEX_Vpmaxsd_xmm_xmm_xmmm128], Slot::Largest)?;
    asm.finish()
}

/// The function that stores digits.
pub(crate) fn emit_digits(split: &Split, is_listed: bool) -> Emitted<Machine> {
    let mut asm = Assembler::new(Width::Zmm, is_listed);
    if split.method == Method::Greedy {
        // Constants come through the register of `STEP_3`.
        asm.splat_f64(NEAR_TIE, TIE)?;
    }
    if split.unit.is_some() {
        load_slot(&mut asm, STEP, Slot::UnitStep)?;
        asm.lea(STEP_3, STEP, STEP, 2)?;
    }
    for (digit, to) in DIGITS[..split.digits].iter().enumerate() {
        load_slot(&mut asm, *to, Slot::Digit(digit))?;
        asm.zero(SUMS + digit)?;
    }
    for (to, slot) in [
        (KEEP, Slot::Keep),
        (FACTORS[0], Slot::Factor(0)),
        (FACTORS[1], Slot::Factor(1)),
        (RECIPROCAL, Slot::Reciprocal),
        (LIMITS[0], Slot::Limit(0)),
        (LIMITS[1], Slot::Limit(1)),
    ] {
        asm.broadcast_i32(to, at(TABLE, slot.offset().into()))?;
    }
    if split.method == Method::Greedy {
        let units = (0..split.digits).map(|digit| (UNITS + digit, Slot::Unit(digit)));
        let inverses = (0..split.digits).map(|digit| (INVERSES + digit, Slot::Inverse(digit)));
        for (to, slot) in units.chain(inverses).chain([(SCALE, Slot::Scale)]) {
            let to = asm.vector(to);
            asm.load(BROADCAST_F64, to, at(TABLE, slot.offset().into()))?;
        }
    }
    load_run(&mut asm)?;
    let per_unit = split.unit.map_or(1, |unit| unit as i64 / CHUNK);
    if per_unit > 1 {
        over_chunks(&mut asm, split.source, per_unit, |asm| {
            for number in 0..per_unit {
                chunk(asm, split, number)?;
            }
            advance(asm, split, |asm, to| asm.lea(to, to, STEP, 1))
        })?;
    }
    // All of them, or those of the last unit.
    over_chunks(&mut asm, split.source, 1, |asm| {
        chunk(asm, split, 0)?;
        advance(asm, split, |asm, to| {
            if has_small_units(split) {
                return asm.lea(to, to, STEP, (CHUNK as usize / QUAD) as u32);
            }
            asm.add_immediate(to, (CHUNK as usize * split.stored.host_bytes()) as i32)
        })
    })?;
    for digit in 0..split.digits {
        let codes = [Code::VEX_Vpaddd_ymm_ymm_ymmm256, Code::VEX_Vpaddd_xmm_xmm_xmmm128];
        reduce(&mut asm, SUMS + digit, codes, Slot::Sum(digit))?;
    }
    asm.finish()
}

/// Whether a unit is a part of a chunk.
fn has_small_units(split: &Split) -> bool {
    split.unit.is_some_and(|unit| (unit as i64) < CHUNK)
}

/// The digits of the chunk `number` chunks on.
fn chunk(asm: &mut Assembler, split: &Split, number: i64) -> Emitted {
    load(asm, split.source, VALUE, at(X, number * CHUNK * split.source.host_bytes() as i64))?;
    match split.method {
        Method::Integer { bits, is_power, is_unsigned } => {
            integer(asm, is_power)?;
            integer_digits(asm, split, (bits, is_unsigned), number)
        }
        Method::Greedy => greedy(asm, split, number),
    }
}

/// Moves on where each digit goes.
fn advance(asm: &mut Assembler, split: &Split, by: impl Fn(&mut Assembler, Register) -> Emitted) -> Emitted {
    DIGITS[..split.digits].iter().try_for_each(|to| by(asm, *to))
}

/// What is gone through.
fn load_run(asm: &mut Assembler) -> Emitted {
    load_slot(asm, X, Slot::X)?;
    load_slot(asm, COUNT, Slot::Count)
}

/// The loop over the elements, so many chunks a round, until fewer are left.
fn over_chunks(
    asm: &mut Assembler,
    source: DType,
    chunks: i64,
    body: impl FnOnce(&mut Assembler) -> Emitted,
) -> Emitted {
    let (next, done) = (asm.label(), asm.label());
    let elements = (chunks * CHUNK) as i32;
    asm.add_immediate(COUNT, -elements)?;
    asm.jump(Code::Jl_rel32_64, done)?;
    asm.bind(next);
    body(asm)?;
    asm.add_immediate(X, elements * source.host_bytes() as i32)?;
    asm.add_immediate(COUNT, -elements)?;
    asm.jump(Code::Jge_rel32_64, next)?;
    asm.bind(done);
    asm.add_immediate(COUNT, elements)
}

fn load_slot(asm: &mut Assembler, to: Register, slot: Slot) -> Emitted {
    let from = at(TABLE, slot.offset().into()).operand();
    asm.emit(Instruction::with2(Code::Mov_r64_rm64, to, from)?)
}

/// Sixteen elements as F32.
fn load(asm: &mut Assembler, source: DType, to: usize, from: At) -> Emitted {
    let to = asm.vector(to);
    match source {
        DType::BF16 => {
            asm.load(WIDEN_U16, to, from)?;
            asm.shift(SHIFT_LEFT, to, 16)
        }
        DType::F16 => asm.load(F16_TO_F32, to, from),
        _ => asm.load(MOVE, to, from),
    }
}

/// `VALUE` as the integer that is split.
fn integer(asm: &mut Assembler, is_power: bool) -> Emitted {
    let [value, keep, reciprocal] = [VALUE, KEEP, RECIPROCAL].map(|n| asm.vector(n));
    for factor in FACTORS {
        let factor = asm.vector(factor);
        asm.op3(MULTIPLY_F32, value, value, factor)?;
    }
    if !is_power {
        asm.op3(MULTIPLY_F32, value, value, reciprocal)?;
    }
    // To nearest even, as the control register says everywhere.
    asm.op2(F32_TO_I32, value, value)?;
    if !is_power {
        let [low, high] = LIMITS.map(|n| asm.vector(n));
        asm.op3(MAX, value, value, low)?;
        asm.op3(MIN, value, value, high)?;
    }
    asm.op3(AND, value, value, keep)
}

/// The digits of `VALUE`, least significant first, each the low bits of what is left.
fn integer_digits(asm: &mut Assembler, split: &Split, (bits, is_unsigned): (u32, bool), chunk: i64) -> Emitted {
    let [value, low] = [VALUE, LOW].map(|n| asm.vector(n));
    for digit in (1..split.digits).rev() {
        asm.op2(MOVE, low, value)?;
        asm.shift(SHIFT_LEFT, low, 32 - bits)?;
        asm.shift(if is_unsigned { SHIFT_RIGHT_UNSIGNED } else { SHIFT_RIGHT }, low, 32 - bits)?;
        asm.op3(SUBTRACT_I32, value, value, low)?;
        asm.shift(SHIFT_RIGHT, value, bits)?;
        store_digits(asm, split, (digit, chunk), LOW)?;
    }
    store_digits(asm, split, (0, chunk), VALUE)
}

/// Stores a digit of the chunk `chunk` chunks on.
fn store_digits(asm: &mut Assembler, split: &Split, (digit, chunk): (usize, i64), from: usize) -> Emitted {
    asm.add_i32(SUMS + digit, SUMS + digit, from)?;
    let code = match split.stored.host_bytes() {
        1 => Code::EVEX_Vpmovdb_xmmm128_k1z_zmm,
        _ => Code::EVEX_Vpmovdw_ymmm256_k1z_zmm,
    };
    let to = at(DIGITS[digit], chunk * CHUNK * split.stored.host_bytes() as i64);
    let from = asm.vector(from);
    if !has_small_units(split) {
        return asm.emit(Instruction::with2(code, to.operand(), from)?);
    }
    if split.stored.host_bytes() == 1 {
        asm.emit(Instruction::with2(code, Register::XMM0 + PACKED as u32, from)?)?;
        return store_units(asm, to, PACKED, [Code::VEX_Vmovd_rm32_xmm, Code::VEX_Vpextrd_rm32_xmm_imm8], 4);
    }
    asm.emit(Instruction::with2(code, Register::YMM0 + PACKED as u32, from)?)?;
    let codes = [Code::VEX_Vmovq_rm64_xmm, Code::VEX_Vpextrq_rm64_xmm_imm8];
    store_units(asm, to, PACKED, codes, 2)?;
    let (upper, from) = (Register::XMM0 + PACKED as u32, Register::YMM0 + PACKED as u32);
    let code = Code::VEX_Vextracti128_xmmm128_ymm_imm8;
    asm.emit(Instruction::with3(code, upper, from, 1u32)?)?;
    store_units(asm, At { index: STEP, scale: 2, ..to }, PACKED, codes, 2)
}

/// Stores the units in the lower half of a vector, by codes for the first and for the others.
fn store_units(asm: &mut Assembler, to: At, from: usize, [first, other]: [Code; 2], count: usize) -> Emitted {
    let from = Register::XMM0 + from as u32;
    for unit in 0..count {
        let to = match (to.index, unit) {
            (_, 0) => to,
            (Register::None, 1) => At { index: STEP, ..to },
            (Register::None, 2) => At { index: STEP, scale: 2, ..to },
            // The last of four, from the first or from the third.
            _ => At { index: STEP_3, scale: 1, ..to },
        };
        asm.emit(match unit {
            0 => Instruction::with2(first, to.operand(), from)?,
            _ => Instruction::with3(other, to.operand(), from, unit as u32)?,
        })?;
    }
    Ok(())
}

/// Digits of `VALUE` in F64: each unit rounds what is left.
fn greedy(asm: &mut Assembler, split: &Split, chunk: i64) -> Emitted {
    let upper = asm.upper_half(REST, VALUE)?;
    let [low, high] = HALVES.map(|n| asm.vector(n));
    let (lower, scale) = (asm.half(VALUE), asm.vector(SCALE));
    for (to, from) in [(low, lower), (high, upper)] {
        asm.op2(F32_TO_F64, to, from)?;
        asm.op3(MULTIPLY_F64, to, to, scale)?;
    }
    for digit in 0..split.digits {
        round_quotients(asm, digit)?;
        for ((half, rounded), to) in HALVES.into_iter().zip(ROUNDED).zip([LOW, REST]) {
            let [half, rounded, unit] = [half, rounded, UNITS + digit].map(|n| asm.vector(n));
            let to = asm.half(to);
            asm.op2(F64_TO_I32, to, rounded)?;
            // Rounded on its own: what is left is the definition's.
            asm.op3(MULTIPLY_F64, rounded, rounded, unit)?;
            asm.op3(SUBTRACT_F64, half, half, rounded)?;
        }
        let code = Code::EVEX_Vinserti64x4_zmm_k1z_zmm_ymmm256_imm8;
        let (to, from) = (asm.vector(LOW), asm.half(REST));
        asm.emit(Instruction::with4(code, to, to, from, 1u32)?)?;
        let keep = asm.vector(KEEP);
        asm.op3(AND, to, to, keep)?;
        store_digits(asm, split, (digit, chunk), LOW)?;
    }
    Ok(())
}

/// The integers nearest to what is left over the unit of a digit. The product with one over the unit says which they
/// are unless it is near the middle of two; then dividing does, which takes four times as long.
fn round_quotients(asm: &mut Assembler, digit: usize) -> Emitted {
    const GREATER: u32 = 14;
    let round = Code::EVEX_Vrndscalepd_zmm_k1z_zmmm512b64_imm8_sae;
    let [unit, inverse, tie] = [UNITS + digit, INVERSES + digit, NEAR_TIE].map(|n| asm.vector(n));
    let masks = [Register::K1, Register::K2];
    let places = HALVES.into_iter().zip(QUOTIENTS).zip(ROUNDED);
    for (((half, quotient), rounded), mask) in places.clone().zip(masks) {
        let [half, quotient, rounded] = [half, quotient, rounded].map(|n| asm.vector(n));
        asm.op3(MULTIPLY_F64, quotient, half, inverse)?;
        asm.emit(Instruction::with3(round, rounded, quotient, 0u32)?)?;
        asm.op3(SUBTRACT_F64, quotient, quotient, rounded)?;
        asm.op3(MULTIPLY_F64, quotient, quotient, quotient)?;
        let code = Code::EVEX_Vcmppd_kr_k1_zmm_zmmm512b64_imm8_sae;
        asm.emit(Instruction::with4(code, mask, quotient, tie, GREATER)?)?;
    }
    let ready = asm.label();
    asm.emit(Instruction::with2(Code::VEX_Kortestw_kr_kr, masks[0], masks[1])?)?;
    asm.jump(Code::Je_rel32_64, ready)?;
    for ((half, quotient), rounded) in places {
        let [half, quotient, rounded] = [half, quotient, rounded].map(|n| asm.vector(n));
        asm.op3(DIVIDE_F64, quotient, half, unit)?;
        asm.emit(Instruction::with3(round, rounded, quotient, 0u32)?)?;
    }
    asm.bind(ready);
    Ok(())
}

/// Joins the lanes of a vector to one I32 in a slot.
fn reduce(asm: &mut Assembler, from: usize, [ymm, xmm]: [Code; 2], slot: Slot) -> Emitted {
    // Numbers below 16, which the shorter instructions reach.
    let [all, other] = [6u32, 7];
    let (wide, all_ymm, other_ymm) = (asm.vector(from), Register::YMM0 + all, Register::YMM0 + other);
    let (all_xmm, other_xmm) = (Register::XMM0 + all, Register::XMM0 + other);
    let zmm = asm.vector(all as usize);
    asm.op2(MOVE, zmm, wide)?;
    let code = Code::EVEX_Vextracti64x4_ymmm256_k1z_zmm_imm8;
    asm.emit(Instruction::with3(code, other_ymm, zmm, 1u32)?)?;
    asm.emit(Instruction::with3(ymm, all_ymm, all_ymm, other_ymm)?)?;
    let code = Code::VEX_Vextracti128_xmmm128_ymm_imm8;
    asm.emit(Instruction::with3(code, other_xmm, all_ymm, 1u32)?)?;
    asm.emit(Instruction::with3(xmm, all_xmm, all_xmm, other_xmm)?)?;
    for order in [0b01_00_11_10u32, 0b10_11_00_01] {
        let code = Code::VEX_Vpshufd_xmm_xmmm128_imm8;
        asm.emit(Instruction::with3(code, other_xmm, all_xmm, order)?)?;
        asm.emit(Instruction::with3(xmm, all_xmm, all_xmm, other_xmm)?)?;
    }
    let to = at(TABLE, slot.offset().into()).operand();
    asm.emit(Instruction::with2(Code::VEX_Vmovd_rm32_xmm, to, all_xmm)?)
}
