//! From sums to results, in registers: digits weighted and added, zero points taken off, one rounding,
//! scales of groups.

use iced_x86::{Code, Instruction, Register};
use msd_ir::dtype::DType;

use super::assembler::*;
use super::{COUNT, Emitter, Place, SCRATCH, TABLE};
use crate::tile::{Along, C_ROW, Call, Finish, GroupForm, MergeForm, PANEL, StepOp};

/// What each digit's weight is of the next one's, if that is the same for all and the last is 1.
fn common_ratio(weights: &[i64]) -> Option<i64> {
    let [.., before, 1] = *weights else { return (weights == [1]).then_some(1) };
    weights.windows(2).all(|pair| pair[0] == pair[1] * before).then_some(before)
}

// Which temporaries merging uses.
const SUMS: [usize; 2] = [0, 1];
const SPARE: usize = 2;
const FACTOR: usize = 3;

impl Emitter<'_> {
    pub(super) fn groups(&mut self, group: GroupForm) -> Emitted {
        let (next, done) = (self.asm.label(), self.asm.label());
        self.clear_c_at_first(group.total.host_bytes())?;
        self.test_field(Call::K)?;
        self.asm.jump(Code::Je_rel32_64, done)?;
        self.asm.bind(next);
        self.begin(group.has_start)?;
        self.units(Some(group.units))?;
        self.reduce_pairs()?;
        self.held = None;
        self.each(self.tile.tokens, |e, place| e.add_group(group, place))?;
        let step = (PANEL * 4) as i32;
        self.add_to_field(Call::Scale, step)?;
        if group.has_start {
            self.advance_field(Call::Start, Call::StartGroup)?;
        }
        if group.has_unit {
            self.advance_field(Call::Unit, Call::UnitGroup)?;
        }
        if group.zero.is_some() {
            self.add_to_field(Call::Zero, step)?;
            self.advance_field(Call::Rows, Call::RowsGroup)?;
        }
        self.add_to_field(Call::K, -1)?;
        self.asm.jump(Code::Jne_rel32_64, next)?;
        self.asm.bind(done);
        if self.tile.finish.is_some() { self.results_at_last(None) } else { Ok(()) }
    }

    /// If nothing will be added any more: what C holds, merged, in place of it or as elements of the result. A loop
    /// over the tokens, as code for each would be most of the tile's.
    pub(super) fn results_at_last(&mut self, merge: Option<MergeForm>) -> Emitted {
        let (next, done) = (self.asm.label(), self.asm.label());
        self.test_field(Call::Last)?;
        self.asm.jump(Code::Je_rel32_64, done)?;
        let tokens = self.tile.tokens as u32;
        self.asm.emit(Instruction::with2(Code::Mov_r32_imm32, Register::ECX, tokens)?)?;
        self.asm.bind(next);
        self.held = None;
        self.each(1, |e, place| {
            e.load_field(SCRATCH, Call::C)?;
            for digit in 0..merge.map_or(1, |merge| merge.weights.len()) {
                let place = Place { row: digit * e.tile.tokens, ..place };
                let (to, from) = (e.asm.vector(e.acc(place)), e.c_at(place, 4));
                e.asm.load(MOVE, to, from)?;
            }
            let value = match merge {
                Some(merge) => e.merged(merge, None, place)?,
                None => e.acc(place),
            };
            if let Some(finish) = e.tile.finish {
                return e.finish(finish, value, place);
            }
            // Merging in F64 takes its constants through the scratch register.
            e.load_field(SCRATCH, Call::C)?;
            let (from, to) = (e.asm.vector(value), e.c_at(place, 4));
            e.asm.store(STORE, to, from)
        })?;
        self.add_to_field(Call::C, (C_ROW * 4) as i32)?;
        if let Some(finish) = self.tile.finish {
            self.advance_field(Call::Out, Call::OutToken)?;
            for step in finish.steps.into_iter().flatten().filter(|step| step.along != Along::Channels) {
                let (leaf, token) = Call::LEAVES[step.leaf];
                self.advance_field(leaf, token)?;
            }
        }
        self.asm.emit(Instruction::with1(Code::Dec_rm64, COUNT)?)?;
        self.asm.jump(Code::Jne_rel32_64, next)?;
        self.asm.bind(done);
        Ok(())
    }

    /// Stores F32 of a token as elements of the result, after some steps. The register with merging's constant
    /// stays.
    fn finish(&mut self, finish: Finish, mut value: usize, place: Place) -> Emitted {
        let spare = self.temporary(SPARE);
        for step in finish.steps.into_iter().flatten() {
            let field = Call::LEAVES[step.leaf].0;
            let code = match step.op {
                StepOp::Scale => {
                    value = self.scale(field, value)?;
                    continue;
                }
                StepOp::Add => ADD_F32,
                StepOp::Subtract => SUBTRACT_F32,
                StepOp::Multiply => MULTIPLY_F32,
            };
            let place = if step.along == Along::Tokens { Place { panel: 0, part: 0, ..place } } else { place };
            let from = self.element_at(field, place, step.dtype.host_bytes())?;
            let [to, leaf] = [value, spare].map(|n| self.asm.vector(n));
            match (step.along, step.dtype) {
                (Along::Tokens, _) => self.asm.broadcast_i32(spare, from)?,
                (_, DType::BF16) => {
                    self.asm.load(WIDEN_U16, leaf, from)?;
                    self.asm.shift(SHIFT_LEFT, leaf, 16)?;
                }
                (_, other) => {
                    debug_assert_eq!(other, DType::F32, "no other leaf is known");
                    self.asm.load(MOVE, leaf, from)?;
                }
            }
            let (a, b) = if step.is_leaf_first { (leaf, to) } else { (to, leaf) };
            self.asm.op3(code, to, a, b)?;
        }
        if finish.is_canonical {
            self.asm.canonical_nan(value, [spare, self.temporary(SUMS[1])])?;
        }
        let to = self.element_at(Call::Out, place, 4)?;
        let from = self.asm.vector(value);
        self.asm.store(STORE, to, from)
    }

    /// The F32 nearest to the product with an F64 of the token.
    fn scale(&mut self, field: Call, value: usize) -> Emitted<usize> {
        let spare = self.temporary(SPARE);
        let [low, high] = SUMS.map(|n| self.asm.vector(self.temporary(n)));
        let upper = self.asm.upper_half(spare, value)?;
        self.asm.op2(F32_TO_F64, high, upper)?;
        let lower = self.asm.half(value);
        self.asm.op2(F32_TO_F64, low, lower)?;
        self.load_field(SCRATCH, field)?;
        let unit = self.asm.vector(spare);
        self.asm.load(BROADCAST_F64, unit, at(SCRATCH, 0))?;
        for half in [low, high] {
            self.asm.op3(MULTIPLY_F64, half, half, unit)?;
        }
        self.join_halves()
    }

    /// Where an element of the token's, of so many bytes, lies.
    fn element_at(&mut self, field: Call, Place { panel, part, .. }: Place, bytes: usize) -> Emitted<At> {
        self.load_field(SCRATCH, field)?;
        Ok(at(SCRATCH, ((panel * PANEL + part * self.asm.lanes()) * bytes) as i64))
    }

    /// A field's vector of a panel, `[groups][16]` of 4 bytes.
    fn factor_at(&mut self, field: Call, distance: Call, Place { panel, part, .. }: Place) -> Emitted<At> {
        self.load_field(SCRATCH, distance)?;
        if panel == 0 {
            self.load_field(SCRATCH, field)?;
        } else {
            let code = Code::Imul_r64_rm64_imm32;
            self.asm.emit(Instruction::with3(code, SCRATCH, SCRATCH, panel as i32)?)?;
            let first = at(TABLE, field.offset().into()).operand();
            self.asm.emit(Instruction::with2(Code::Add_r64_rm64, SCRATCH, first)?)?;
        }
        Ok(at(SCRATCH, (part * self.asm.lanes() * 4) as i64))
    }

    /// A field's number of a token, which `SCRATCH` then holds the place of.
    fn of_token(&mut self, field: Call, Place { row, .. }: Place, bytes: i64) -> Emitted<At> {
        self.load_field(SCRATCH, field)?;
        Ok(at(SCRATCH, row as i64 * bytes))
    }

    /// Merges the sums of a group and adds them to what C holds.
    fn add_group(&mut self, group: GroupForm, place: Place) -> Emitted {
        if group.total == DType::F64 {
            self.merge_wide(group.merge, group.zero, place)?;
            return self.add_scaled_wide(group, place);
        }
        let merged = self.merged(group.merge, group.zero, place)?;
        self.add_scaled(group, merged, place)
    }

    /// The registers of a token's digits.
    fn digits_of(&self, place: Place) -> Vec<usize> {
        (0..self.tile.digits).map(|d| self.acc(Place { row: d * self.tile.tokens + place.row, ..place })).collect()
    }

    /// A token's merged sums as F32: the number of the register.
    fn merged(&mut self, merge: MergeForm, zero: Option<DType>, place: Place) -> Emitted<usize> {
        if self.is_float() && merge.weights == [1] {
            return Ok(self.acc(place));
        }
        if merge.is_narrow {
            return self.merge_narrow(merge, zero, place);
        }
        self.merge_wide(merge, zero, place)?;
        self.join_halves()
    }

    /// The merged integers as F32, in the first digit's register.
    fn merge_narrow(&mut self, merge: MergeForm, zero: Option<DType>, place: Place) -> Emitted<usize> {
        let (accs, spare) = (self.digits_of(place), self.temporary(SPARE));
        for (acc, weight) in accs.iter().zip(merge.weights) {
            let v = self.asm.vector(*acc);
            if weight.count_ones() == 1 {
                if *weight > 1 {
                    self.asm.shift(SHIFT_LEFT, v, weight.trailing_zeros())?;
                }
            } else {
                self.asm.splat_i32(spare, *weight as i32)?;
                let spare = self.asm.vector(spare);
                self.asm.op3(MULTIPLY_I32, v, v, spare)?;
            }
        }
        for acc in &accs[1..] {
            self.asm.add_i32(accs[0], accs[0], *acc)?;
        }
        let sum = self.asm.vector(accs[0]);
        if zero.is_some() {
            let (rows, from) = (self.temporary(FACTOR), self.of_token(Call::Rows, place, 4)?);
            self.held = None;
            self.asm.broadcast_i32(rows, from)?;
            let from = self.factor_at(Call::Zero, Call::ZeroPanel, place)?;
            let rows = self.asm.vector(rows);
            self.asm.op3_memory(MULTIPLY_I32, rows, rows, from)?;
            self.asm.op3(SUBTRACT_I32, sum, sum, rows)?;
        }
        self.asm.op2(I32_TO_F32, sum, sum)?;
        Ok(accs[0])
    }

    /// Puts a constant where factors are, unless it is there.
    fn hold_f64(&mut self, value: f64) -> Emitted {
        if self.held != Some(value) {
            self.asm.splat_f64(self.temporary(FACTOR), value)?;
            self.held = Some(value);
        }
        Ok(())
    }

    /// A token's merged numbers in F64, exact, as two halves.
    fn merge_wide(&mut self, merge: MergeForm, zero: Option<DType>, place: Place) -> Emitted {
        let accs = self.digits_of(place);
        let convert = if self.is_float() { F32_TO_F64 } else { I32_TO_F64 };
        let [spare, factor] = [SPARE, FACTOR].map(|t| self.temporary(t));
        // Of integers every step is exact; of floats, whose last one rounds, that is so of two.
        let ratio = common_ratio(merge.weights).filter(|_| !self.is_float() || accs.len() <= 2);
        for (digit, (acc, weight)) in accs.iter().zip(merge.weights).enumerate() {
            if ratio.is_none() || digit == 1 {
                self.hold_f64(ratio.unwrap_or(*weight) as f64)?;
            }
            for (half, sum) in SUMS.into_iter().enumerate() {
                let sum = self.temporary(sum);
                let source = if half == 0 { self.asm.half(*acc) } else { self.asm.upper_half(spare, *acc)? };
                let to = self.asm.vector(if digit == 0 { sum } else { spare });
                self.asm.op2(convert, to, source)?;
                let [sum, factor] = [sum, factor].map(|n| self.asm.vector(n));
                match (ratio, digit) {
                    (Some(_), 0) => {}
                    (Some(_), _) => self.asm.op3(FUSED_213_F64, sum, factor, to)?,
                    (None, 0) => self.asm.op3(MULTIPLY_F64, sum, sum, factor)?,
                    (None, _) => self.asm.op3(FUSED_231_F64, sum, to, factor)?,
                }
            }
        }
        if zero.is_some() {
            let (rows, from) = (self.asm.vector(factor), self.of_token(Call::Rows, place, 8)?);
            self.held = None;
            self.asm.load(BROADCAST_F64, rows, from)?;
            for (half, sum) in SUMS.into_iter().enumerate() {
                let from = self.factor_at(Call::Zero, Call::ZeroPanel, place)?;
                let (zero, sum) = (self.asm.vector(spare), self.asm.vector(self.temporary(sum)));
                self.asm.load(F32_TO_F64, zero, from.plus((half * self.asm.lanes() * 2) as i64))?;
                self.asm.op3(
                    [Code::VEX_Vfnmadd231pd_ymm_ymm_ymmm256, Code::EVEX_Vfnmadd231pd_zmm_k1z_zmm_zmmm512b64_er],
                    sum,
                    zero,
                    rows,
                )?;
            }
        }
        Ok(())
    }

    /// The two halves rounded to F32, in one register.
    fn join_halves(&mut self) -> Emitted<usize> {
        let [low, high] = SUMS.map(|t| self.temporary(t));
        for n in [low, high] {
            let (to, from) = (self.asm.half(n), self.asm.vector(n));
            self.asm.op2([Code::VEX_Vcvtpd2ps_xmm_ymmm256, Code::EVEX_Vcvtpd2ps_ymm_k1z_zmmm512b64_er], to, from)?;
        }
        let code = self
            .asm
            .code([Code::VEX_Vinsertf128_ymm_ymm_xmmm128_imm8, Code::EVEX_Vinsertf64x4_zmm_k1z_zmm_ymmm256_imm8]);
        let (to, from) = (self.asm.vector(low), self.asm.half(high));
        self.asm.emit(Instruction::with4(code, to, to, from, 1u32)?)?;
        Ok(low)
    }

    /// `C[j][p] += merged * (scale * unit)`, in F32.
    fn add_scaled(&mut self, group: GroupForm, merged: usize, place: Place) -> Emitted {
        let scale = self.temporary(FACTOR);
        self.held = None;
        if group.has_unit {
            let from = self.of_token(Call::Unit, place, 4)?;
            self.asm.broadcast_i32(scale, from)?;
        }
        let from = self.factor_at(Call::Scale, Call::ScalePanel, place)?;
        let scale = self.asm.vector(scale);
        if group.has_unit {
            self.asm.op3_memory(MULTIPLY_F32, scale, scale, from)?;
        } else {
            self.asm.load(MOVE, scale, from)?;
        }
        self.load_field(SCRATCH, Call::C)?;
        let (merged, c) = (self.asm.vector(merged), self.c_at(place, 4));
        self.asm.op3_memory(
            [Code::VEX_Vfmadd213ps_ymm_ymm_ymmm256, Code::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er],
            merged,
            scale,
            c,
        )?;
        self.asm.store(STORE, c, merged)
    }

    /// The same in F64, of the two halves.
    fn add_scaled_wide(&mut self, group: GroupForm, place: Place) -> Emitted {
        let [unit, scale] = [SPARE, FACTOR].map(|t| self.asm.vector(self.temporary(t)));
        self.held = None;
        for (half, sum) in SUMS.into_iter().enumerate() {
            if group.has_unit {
                let from = self.of_token(Call::Unit, place, 4)?;
                self.asm.broadcast_i32(self.temporary(SPARE), from)?;
                let low = self.asm.half(self.temporary(SPARE));
                self.asm.op2(F32_TO_F64, unit, low)?;
            }
            let from = self.factor_at(Call::Scale, Call::ScalePanel, place)?;
            self.asm.load(F32_TO_F64, scale, from.plus((half * self.asm.lanes() * 2) as i64))?;
            if group.has_unit {
                self.asm.op3(MULTIPLY_F64, scale, scale, unit)?;
            }
            self.load_field(SCRATCH, Call::C)?;
            let sum = self.asm.vector(self.temporary(sum));
            let c = self.c_at(place, 8).plus((half * self.asm.lanes() * 4) as i64);
            self.asm.op3_memory(
                [Code::VEX_Vfmadd213pd_ymm_ymm_ymmm256, Code::EVEX_Vfmadd213pd_zmm_k1z_zmm_zmmm512b64_er],
                sum,
                scale,
                c,
            )?;
            self.asm.store(STORE, c, sum)?;
        }
        Ok(())
    }
}
