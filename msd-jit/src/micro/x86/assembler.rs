//! Vector instructions of two widths, 256 and 512 bits, by what they do: a thin layer over the assembler.
//! Owns no knowledge of tiles.

use iced_x86::{Code, Encoder, FastFormatter, IcedError, Instruction, MemoryOperand, Register};

use super::SCRATCH;
use crate::micro::Machine;

/// Width of the vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Width {
    Ymm,
    Zmm,
}

pub(super) type Emitted<T = ()> = Result<T, IcedError>;

/// A memory operand's address.
#[derive(Clone, Copy)]
pub(super) struct At {
    pub(super) base: Register,
    pub(super) index: Register,
    pub(super) scale: u32,
    pub(super) offset: i64,
}

/// `offset` bytes from what a register holds.
pub(super) fn at(base: Register, offset: i64) -> At {
    At { base, index: Register::None, scale: 1, offset }
}

impl At {
    pub(super) fn plus(self, offset: i64) -> At {
        At { offset: self.offset + offset, ..self }
    }

    pub(super) fn operand(self) -> MemoryOperand {
        let size = u32::from(self.offset != 0);
        MemoryOperand::new(self.base, self.index, self.scale, self.offset, size, false, Register::None)
    }
}

/// A place in the code that jumps go to.
#[derive(Clone, Copy)]
pub(super) struct Label(usize);

/// A jump in the making, or another instruction about a place in the code.
struct Jump {
    /// Where its distance ends, which is what that is counted from.
    end: usize,
    to: Label,
}

/// Code of one function, encoded instruction by instruction: jumps all have the longest form, and are given their
/// distances in the end.
pub(super) struct Assembler {
    pub(super) width: Width,
    encoder: Encoder,
    /// Bytes so far.
    len: usize,
    /// Where labels are, once they are bound.
    labels: Vec<Option<usize>>,
    jumps: Vec<Jump>,
    /// Bytes that follow the code, and where they begin.
    constants: Vec<(Label, Vec<u8>)>,
    /// The instructions as text, a line each, if that is asked for.
    text: Option<(FastFormatter, String)>,
}

impl Assembler {
    pub(super) fn new(width: Width, is_listed: bool) -> Assembler {
        let text = is_listed.then(|| (FastFormatter::new(), String::new()));
        Assembler {
            width,
            encoder: Encoder::new(64),
            len: 0,
            labels: Vec::new(),
            jumps: Vec::new(),
            constants: Vec::new(),
            text,
        }
    }

    pub(super) fn emit(&mut self, instruction: Instruction) -> Emitted {
        self.len += self.encoder.encode(&instruction, self.len as u64)?;
        if let Some((formatter, text)) = &mut self.text {
            text.push_str("  ");
            formatter.format(&instruction, text);
            text.push('\n');
        }
        Ok(())
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The label is here.
    pub(super) fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.len);
        if let Some((_, text)) = &mut self.text {
            text.push_str(&format!("{:X}h:\n", label.0));
        }
    }

    /// Jumps to a label, by a code with a distance of 32 bits.
    pub(super) fn jump(&mut self, code: Code, to: Label) -> Emitted {
        // The number of the label, for the text.
        self.emit(Instruction::with_branch(code, to.0 as u64)?)?;
        self.jumps.push(Jump { end: self.len, to });
        Ok(())
    }

    /// Bytes that are to follow the code.
    pub(super) fn constant(&mut self, bytes: &[u8]) -> Label {
        let label = self.label();
        self.constants.push((label, bytes.to_vec()));
        label
    }

    /// An instruction without an immediate, made for the memory at a label.
    pub(super) fn emit_at(
        &mut self,
        instruction: impl FnOnce(MemoryOperand) -> Emitted<Instruction>,
        at: Label,
    ) -> Emitted {
        // The number of the label, for the text.
        let place = MemoryOperand::with_base_displ(Register::RIP, at.0 as i64);
        self.emit(instruction(place)?)?;
        self.jumps.push(Jump { end: self.len, to: at });
        Ok(())
    }

    /// The function, which returns here.
    pub(super) fn finish(mut self) -> Emitted<Machine> {
        // Upper halves left dirty would slow down what follows in SSE code.
        self.emit(Instruction::with(Code::VEX_Vzeroupper))?;
        self.emit(Instruction::with(Code::Retnq))?;
        let mut bytes = self.encoder.take_buffer();
        for (label, constant) in std::mem::take(&mut self.constants) {
            self.labels[label.0] = Some(bytes.len());
            bytes.extend(constant);
        }
        for Jump { end, to } in self.jumps {
            debug_assert!(self.labels[to.0].is_some(), "a jump to nowhere");
            let distance = self.labels[to.0].unwrap_or(end) as i32 - end as i32;
            bytes[end - 4..end].copy_from_slice(&distance.to_le_bytes());
        }
        Ok(Machine { bytes, text: self.text.map(|(_, text)| text).unwrap_or_default() })
    }

    pub(super) fn vector(&self, n: usize) -> Register {
        match self.width {
            Width::Ymm => Register::YMM0 + n as u32,
            Width::Zmm => Register::ZMM0 + n as u32,
        }
    }

    /// The lower half of a vector.
    pub(super) fn half(&self, n: usize) -> Register {
        match self.width {
            Width::Ymm => Register::XMM0 + n as u32,
            Width::Zmm => Register::YMM0 + n as u32,
        }
    }

    pub(super) fn registers(&self) -> usize {
        match self.width {
            Width::Ymm => 16,
            Width::Zmm => 32,
        }
    }

    /// 32-bit lanes of a vector.
    pub(super) fn lanes(&self) -> usize {
        match self.width {
            Width::Ymm => 8,
            Width::Zmm => 16,
        }
    }

    pub(super) fn op2(&mut self, codes: [Code; 2], to: Register, from: Register) -> Emitted {
        self.emit(Instruction::with2(self.code(codes), to, from)?)
    }

    pub(super) fn op3(&mut self, codes: [Code; 2], to: Register, a: Register, b: Register) -> Emitted {
        self.emit(Instruction::with3(self.code(codes), to, a, b)?)
    }

    pub(super) fn load(&mut self, codes: [Code; 2], to: Register, from: At) -> Emitted {
        self.emit(Instruction::with2(self.code(codes), to, from.operand())?)
    }

    pub(super) fn store(&mut self, codes: [Code; 2], to: At, from: Register) -> Emitted {
        self.emit(Instruction::with2(self.code(codes), to.operand(), from)?)
    }

    pub(super) fn op3_memory(&mut self, codes: [Code; 2], to: Register, a: Register, b: At) -> Emitted {
        self.emit(Instruction::with3(self.code(codes), to, a, b.operand())?)
    }

    /// With 32 bits from memory in every lane; 512-bit vectors alone can.
    pub(super) fn op3_broadcast(&mut self, code: Code, to: Register, a: Register, b: At) -> Emitted {
        let b = MemoryOperand { is_broadcast: true, ..b.operand() };
        self.emit(Instruction::with3(code, to, a, b)?)
    }

    pub(super) fn shift(&mut self, codes: [Code; 2], to: Register, by: u32) -> Emitted {
        self.emit(Instruction::with3(self.code(codes), to, to, by)?)
    }

    /// Of the code for 256 bits and the one for 512.
    pub(super) fn code(&self, [ymm, zmm]: [Code; 2]) -> Code {
        match self.width {
            Width::Ymm => ymm,
            Width::Zmm => zmm,
        }
    }

    pub(super) fn add_immediate(&mut self, to: Register, bytes: i32) -> Emitted {
        self.emit(Instruction::with2(Code::Add_rm64_imm32, to, bytes)?)
    }

    /// Of an address register; by nothing, nothing is done.
    pub(super) fn shift_left(&mut self, to: Register, by: u32) -> Emitted {
        match by {
            0 => Ok(()),
            _ => self.emit(Instruction::with2(Code::Shl_rm64_imm8, to, by)?),
        }
    }

    pub(super) fn lea(&mut self, to: Register, base: Register, index: Register, scale: u32) -> Emitted {
        let from = At { base, index, scale, offset: 0 }.operand();
        self.emit(Instruction::with2(Code::Lea_r64_m, to, from)?)
    }

    pub(super) fn broadcast_i32(&mut self, to: usize, from: At) -> Emitted {
        let to = self.vector(to);
        self.load([Code::VEX_Vpbroadcastd_ymm_xmmm32, Code::EVEX_Vpbroadcastd_zmm_k1z_xmmm32], to, from)
    }

    pub(super) fn zero(&mut self, n: usize) -> Emitted {
        let v = self.vector(n);
        self.op3([Code::VEX_Vpxor_ymm_ymm_ymmm256, Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32], v, v, v)
    }

    pub(super) fn add_i32(&mut self, to: usize, a: usize, b: usize) -> Emitted {
        let [to, a, b] = [to, a, b].map(|n| self.vector(n));
        self.op3([Code::VEX_Vpaddd_ymm_ymm_ymmm256, Code::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32], to, a, b)
    }

    /// Copies the upper half of `from` to the lower half of `to`, which it gives.
    pub(super) fn upper_half(&mut self, to: usize, from: usize) -> Emitted<Register> {
        let (to, from) = (self.half(to), self.vector(from));
        let code = self.code([Code::VEX_Vextracti128_xmmm128_ymm_imm8, Code::EVEX_Vextracti64x4_ymmm256_k1z_zmm_imm8]);
        self.emit(Instruction::with3(code, to, from, 1u32)?)?;
        Ok(to)
    }

    pub(super) fn splat_i32(&mut self, to: usize, value: i32) -> Emitted {
        self.emit(Instruction::with2(Code::Mov_r32_imm32, Register::EAX, value)?)?;
        let low = Register::XMM0 + to as u32;
        self.emit(Instruction::with2(
            match self.width {
                Width::Ymm => Code::VEX_Vmovd_xmm_rm32,
                Width::Zmm => Code::EVEX_Vmovd_xmm_rm32,
            },
            low,
            Register::EAX,
        )?)?;
        let to = self.vector(to);
        self.op2([Code::VEX_Vpbroadcastd_ymm_xmmm32, Code::EVEX_Vpbroadcastd_zmm_k1z_xmmm32], to, low)
    }

    /// The quiet NaN of positive sign in place of every NaN.
    pub(super) fn canonical_nan(&mut self, value: usize, spares: [usize; 2]) -> Emitted {
        // The comparison that holds of what is not equal to itself.
        const UNORDERED: u32 = 3;
        const NAN: i32 = 0x7FC0_0000;
        let v = self.vector(value);
        match self.width {
            Width::Ymm => {
                self.splat_i32(spares[0], NAN)?;
                let [nan, mask] = spares.map(|n| self.vector(n));
                let code = Code::VEX_Vcmpps_ymm_ymm_ymmm256_imm8;
                self.emit(Instruction::with4(code, mask, v, v, UNORDERED)?)?;
                let code = Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm;
                self.emit(Instruction::with4(code, v, v, nan, mask)?)
            }
            Width::Zmm => {
                self.emit(Instruction::with2(Code::Mov_r32_imm32, Register::EAX, NAN)?)?;
                let code = Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae;
                self.emit(Instruction::with4(code, Register::K1, v, v, UNORDERED)?)?;
                let code = Code::EVEX_Vpbroadcastd_zmm_k1z_r32;
                let mut chosen = Instruction::with2(code, v, Register::EAX)?;
                chosen.set_op_mask(Register::K1);
                self.emit(chosen)
            }
        }
    }

    pub(super) fn splat_f64(&mut self, to: usize, value: f64) -> Emitted {
        self.emit(Instruction::with2(Code::Mov_r64_imm64, SCRATCH, value.to_bits())?)?;
        let low = Register::XMM0 + to as u32;
        self.emit(Instruction::with2(
            match self.width {
                Width::Ymm => Code::VEX_Vmovq_xmm_rm64,
                Width::Zmm => Code::EVEX_Vmovq_xmm_rm64,
            },
            low,
            SCRATCH,
        )?)?;
        let to = self.vector(to);
        self.op2([Code::VEX_Vpbroadcastq_ymm_xmmm64, Code::EVEX_Vpbroadcastq_zmm_k1z_xmmm64], to, low)
    }
}

// Codes of one meaning, for 256 bits and for 512.
pub(super) const MOVE: [Code; 2] = [Code::VEX_Vmovdqu_ymm_ymmm256, Code::EVEX_Vmovdqu32_zmm_k1z_zmmm512];
pub(super) const STORE: [Code; 2] = [Code::VEX_Vmovdqu_ymmm256_ymm, Code::EVEX_Vmovdqu32_zmmm512_k1z_zmm];
pub(super) const SHIFT_LEFT: [Code; 2] = [Code::VEX_Vpslld_ymm_ymm_imm8, Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8];
pub(super) const MULTIPLY_I32: [Code; 2] =
    [Code::VEX_Vpmulld_ymm_ymm_ymmm256, Code::EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32];
pub(super) const MULTIPLY_F32: [Code; 2] =
    [Code::VEX_Vmulps_ymm_ymm_ymmm256, Code::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er];
pub(super) const ADD_F32: [Code; 2] = [Code::VEX_Vaddps_ymm_ymm_ymmm256, Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er];
pub(super) const SUBTRACT_F32: [Code; 2] =
    [Code::VEX_Vsubps_ymm_ymm_ymmm256, Code::EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er];
pub(super) const MULTIPLY_F64: [Code; 2] =
    [Code::VEX_Vmulpd_ymm_ymm_ymmm256, Code::EVEX_Vmulpd_zmm_k1z_zmm_zmmm512b64_er];
pub(super) const FUSED_231: [Code; 2] =
    [Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256, Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er];
pub(super) const FUSED_231_F64: [Code; 2] =
    [Code::VEX_Vfmadd231pd_ymm_ymm_ymmm256, Code::EVEX_Vfmadd231pd_zmm_k1z_zmm_zmmm512b64_er];
pub(super) const FUSED_213_F64: [Code; 2] =
    [Code::VEX_Vfmadd213pd_ymm_ymm_ymmm256, Code::EVEX_Vfmadd213pd_zmm_k1z_zmm_zmmm512b64_er];
pub(super) const DOT_BYTES: [Code; 2] =
    [Code::VEX_Vpdpbusd_ymm_ymm_ymmm256, Code::EVEX_Vpdpbusd_zmm_k1z_zmm_zmmm512b32];
pub(super) const I32_TO_F32: [Code; 2] = [Code::VEX_Vcvtdq2ps_ymm_ymmm256, Code::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er];
pub(super) const I32_TO_F64: [Code; 2] = [Code::VEX_Vcvtdq2pd_ymm_xmmm128, Code::EVEX_Vcvtdq2pd_zmm_k1z_ymmm256b32_er];
pub(super) const WIDEN_I32: [Code; 2] = [Code::VEX_Vpmovsxdq_ymm_xmmm128, Code::EVEX_Vpmovsxdq_zmm_k1z_ymmm256];
pub(super) const ADD_I64: [Code; 2] = [Code::VEX_Vpaddq_ymm_ymm_ymmm256, Code::EVEX_Vpaddq_zmm_k1z_zmm_zmmm512b64];
pub(super) const F32_TO_F64: [Code; 2] = [Code::VEX_Vcvtps2pd_ymm_xmmm128, Code::EVEX_Vcvtps2pd_zmm_k1z_ymmm256b32_sae];
pub(super) const BROADCAST_F64: [Code; 2] = [Code::VEX_Vbroadcastsd_ymm_m64, Code::EVEX_Vbroadcastsd_zmm_k1z_xmmm64];
pub(super) const WIDEN_U16: [Code; 2] = [Code::VEX_Vpmovzxwd_ymm_xmmm128, Code::EVEX_Vpmovzxwd_zmm_k1z_ymmm256];
pub(super) const F16_TO_F32: [Code; 2] = [Code::VEX_Vcvtph2ps_ymm_xmmm128, Code::EVEX_Vcvtph2ps_zmm_k1z_ymmm256_sae];
pub(super) const AND: [Code; 2] = [Code::VEX_Vpand_ymm_ymm_ymmm256, Code::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32];
pub(super) const MAX: [Code; 2] = [Code::VEX_Vpmaxsd_ymm_ymm_ymmm256, Code::EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32];
pub(super) const MIN: [Code; 2] = [Code::VEX_Vpminsd_ymm_ymm_ymmm256, Code::EVEX_Vpminsd_zmm_k1z_zmm_zmmm512b32];
pub(super) const SHIFT_RIGHT: [Code; 2] = [Code::VEX_Vpsrad_ymm_ymm_imm8, Code::EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8];
pub(super) const SHIFT_RIGHT_UNSIGNED: [Code; 2] =
    [Code::VEX_Vpsrld_ymm_ymm_imm8, Code::EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8];
pub(super) const SUBTRACT_I32: [Code; 2] = [Code::VEX_Vpsubd_ymm_ymm_ymmm256, Code::EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32];
pub(super) const F32_TO_I32: [Code; 2] = [Code::VEX_Vcvtps2dq_ymm_ymmm256, Code::EVEX_Vcvtps2dq_zmm_k1z_zmmm512b32_er];
pub(super) const SUBTRACT_F64: [Code; 2] =
    [Code::VEX_Vsubpd_ymm_ymm_ymmm256, Code::EVEX_Vsubpd_zmm_k1z_zmm_zmmm512b64_er];
pub(super) const DIVIDE_F64: [Code; 2] =
    [Code::VEX_Vdivpd_ymm_ymm_ymmm256, Code::EVEX_Vdivpd_zmm_k1z_zmm_zmmm512b64_er];
pub(super) const F64_TO_I32: [Code; 2] =
    [Code::VEX_Vcvttpd2dq_xmm_ymmm256, Code::EVEX_Vcvttpd2dq_ymm_k1z_zmmm512b64_sae];
