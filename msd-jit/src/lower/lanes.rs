//! Four elements at a time: loading, converting, storing, and the arithmetic the polynomials of
//! `msd_ir::math` ask for. A tail of fewer elements runs the same code on lane 0, so a result
//! never depends on where a vector starts.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData, Type, Value, types};
use msd_ir::dtype::DType;
use msd_ir::math::Lanes;

use super::frame::Frame;

/// Lanes per step.
pub(crate) const WIDTH: i64 = 4;

/// Four elements in registers. Narrow floats are held as the F32 they equal, narrow integers as I32.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lane {
    F32(Value),
    I32(Value),
    F64([Value; 2]),
    I64([Value; 2]),
    /// All ones where it holds.
    Mask(Value),
}

impl Lane {
    /// The registers it takes.
    pub(crate) fn parts(self) -> Vec<Value> {
        match self {
            Lane::F32(v) | Lane::I32(v) | Lane::Mask(v) => vec![v],
            Lane::F64(p) | Lane::I64(p) => p.to_vec(),
        }
    }
}

/// Where the elements of a load or store lie.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    /// Four neighbours.
    Vector,
    /// One element: splat on loads, lane 0 on stores.
    One,
    /// Four elements this many bytes apart.
    Strided(Value),
}

impl Frame<'_> {
    /// Columns in order: from, to and step of those taken four at a time, then of what is left of them.
    pub(crate) fn in_lanes(&mut self, columns: Value) -> [(Value, Value, i64); 2] {
        let (zero, main) = (self.int(0), self.round_down(columns, WIDTH));
        [(zero, main, WIDTH), (main, columns, 1)]
    }

    pub(crate) fn cast_bits(&mut self, to: Type, value: Value) -> Value {
        if self.b.func.dfg.value_type(value) == to {
            return value;
        }
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.b.ins().bitcast(to, flags, value)
    }

    pub(crate) fn splat_f32(&mut self, value: f32) -> Value {
        let scalar = self.b.ins().f32const(value);
        self.b.ins().splat(types::F32X4, scalar)
    }

    pub(crate) fn splat_i32(&mut self, value: i32) -> Value {
        let scalar = self.b.ins().iconst(types::I32, value as i64 & 0xFFFF_FFFF);
        self.b.ins().splat(types::I32X4, scalar)
    }

    /// Four zeros of what `dtype` computes in.
    pub(crate) fn zero_lane(&mut self, dtype: DType) -> Lane {
        match dtype {
            DType::F64 => {
                let zero = self.b.ins().f64const(0.0);
                Lane::F64([self.b.ins().splat(types::F64X2, zero); 2])
            }
            DType::I64 => {
                let zero = self.b.ins().iconst(types::I64, 0);
                Lane::I64([self.b.ins().splat(types::I64X2, zero); 2])
            }
            _ if dtype.is_float() => Lane::F32(self.splat_f32(0.0)),
            _ => Lane::I32(self.splat_i32(0)),
        }
    }

    // ---- memory ----

    /// Loads elements of `dtype` from `address`.
    pub(crate) fn load_lane(&mut self, dtype: DType, address: Value, access: Access) -> Lane {
        match dtype {
            DType::F32 => Lane::F32(self.load_wide(types::F32, address, access)),
            DType::F64 => Lane::F64(self.load_pair(types::F64, address, access)),
            DType::I64 => Lane::I64(self.load_pair(types::I64, address, access)),
            DType::I32 => Lane::I32(self.load_wide(types::I32, address, access)),
            DType::I16 => Lane::I32(self.load_narrow(16, true, address, access)),
            DType::I8 | DType::I4 => Lane::I32(self.load_narrow(8, true, address, access)),
            DType::U8 | DType::U4 => Lane::I32(self.load_narrow(8, false, address, access)),
            DType::Bool => {
                let bits = self.load_narrow(8, false, address, access);
                let zero = self.splat_i32(0);
                Lane::Mask(self.b.ins().icmp(IntCC::NotEqual, bits, zero))
            }
            DType::F16 | DType::BF16 => {
                let bits = self.load_narrow(16, false, address, access);
                Lane::F32(self.decode(dtype, bits))
            }
            DType::E4M3 | DType::E5M2 | DType::E2M1 | DType::E1M2 | DType::E8M0 => {
                let bits = self.load_narrow(8, false, address, access);
                Lane::F32(self.decode(dtype, bits))
            }
        }
    }

    fn load_wide(&mut self, scalar: Type, address: Value, access: Access) -> Value {
        let vector = scalar.by(4).unwrap_or(types::I32X4);
        match access {
            Access::Vector => self.b.ins().load(vector, Self::flags(), address, 0),
            Access::One => {
                let one = self.b.ins().load(scalar, Self::flags(), address, 0);
                self.b.ins().splat(vector, one)
            }
            Access::Strided(stride) => {
                let lanes = self.gather(address, stride, |f, a| f.b.ins().load(scalar, Self::flags(), a, 0));
                self.assemble(vector, &lanes)
            }
        }
    }

    fn load_pair(&mut self, scalar: Type, address: Value, access: Access) -> [Value; 2] {
        let vector = scalar.by(2).unwrap_or(types::I64X2);
        match access {
            Access::Vector => [0, 16].map(|offset| self.b.ins().load(vector, Self::flags(), address, offset)),
            Access::One => {
                let one = self.b.ins().load(scalar, Self::flags(), address, 0);
                [self.b.ins().splat(vector, one); 2]
            }
            Access::Strided(stride) => {
                let lanes = self.gather(address, stride, |f, a| f.b.ins().load(scalar, Self::flags(), a, 0));
                [self.assemble(vector, &lanes[..2]), self.assemble(vector, &lanes[2..])]
            }
        }
    }

    /// Elements of 8 or 16 bits, extended to I32.
    fn load_narrow(&mut self, bits: u8, signed: bool, address: Value, access: Access) -> Value {
        let flags = Self::flags();
        let one = |f: &mut Self, a: Value| match (bits, signed) {
            (16, true) => f.b.ins().sload16(types::I32, flags, a, 0),
            (16, false) => f.b.ins().uload16(types::I32, flags, a, 0),
            (_, true) => f.b.ins().sload8(types::I32, flags, a, 0),
            (_, false) => f.b.ins().uload8(types::I32, flags, a, 0),
        };
        match access {
            Access::Vector if bits == 16 && signed => self.b.ins().sload16x4(flags, address, 0),
            Access::Vector if bits == 16 => self.b.ins().uload16x4(flags, address, 0),
            Access::Vector => {
                let four = self.b.ins().load(types::I32, flags, address, 0);
                let vector = self.b.ins().scalar_to_vector(types::I32X4, four);
                let bytes = self.cast_bits(types::I8X16, vector);
                if signed {
                    let halves = self.b.ins().swiden_low(bytes);
                    self.b.ins().swiden_low(halves)
                } else {
                    let halves = self.b.ins().uwiden_low(bytes);
                    self.b.ins().uwiden_low(halves)
                }
            }
            Access::One => {
                let value = one(self, address);
                self.b.ins().splat(types::I32X4, value)
            }
            Access::Strided(stride) => {
                let lanes = self.gather(address, stride, one);
                self.assemble(types::I32X4, &lanes)
            }
        }
    }

    fn gather(&mut self, address: Value, stride: Value, mut one: impl FnMut(&mut Self, Value) -> Value) -> Vec<Value> {
        let mut at = address;
        (0..WIDTH)
            .map(|lane| {
                if lane > 0 {
                    at = self.b.ins().iadd(at, stride);
                }
                one(self, at)
            })
            .collect()
    }

    fn assemble(&mut self, vector: Type, lanes: &[Value]) -> Value {
        let mut value = self.b.ins().splat(vector, lanes[0]);
        for (i, lane) in lanes.iter().enumerate().skip(1) {
            value = self.b.ins().insertlane(value, *lane, i as u8);
        }
        value
    }

    /// Stores `lane`, which must be of the class of `dtype` and, for small floats, a value of it.
    pub(crate) fn store_lane(&mut self, lane: Lane, dtype: DType, address: Value, access: Access) {
        match lane {
            Lane::F64(parts) | Lane::I64(parts) => return self.store_pair(parts, address, access),
            Lane::F32(_) | Lane::I32(_) | Lane::Mask(_) => {}
        }
        let value = match lane {
            Lane::F32(v) if dtype == DType::F32 => v,
            Lane::F32(v) => self.encode_exact(dtype, v),
            Lane::Mask(m) => {
                let one = self.splat_i32(1);
                self.b.ins().band(m, one)
            }
            Lane::I32(v) | Lane::F64([v, _]) | Lane::I64([v, _]) => v,
        };
        let bytes = dtype.host_bytes();
        match access {
            Access::Vector if bytes == 4 => {
                self.b.ins().store(Self::flags(), value, address, 0);
            }
            Access::Vector => {
                let bits = self.cast_bits(types::I8X16, value);
                let picked: Vec<u8> =
                    (0..16u8).map(|i| if bytes == 2 { (i / 2 % 4) * 4 + i % 2 } else { (i % 4) * 4 }).collect();
                let mask = self.b.func.dfg.immediates.push(picked.into());
                let packed = self.b.ins().shuffle(bits, bits, mask);
                if bytes == 2 {
                    let words = self.cast_bits(types::I64X2, packed);
                    let low = self.b.ins().extractlane(words, 0);
                    self.b.ins().store(Self::flags(), low, address, 0);
                } else {
                    let words = self.cast_bits(types::I32X4, packed);
                    let low = self.b.ins().extractlane(words, 0);
                    self.b.ins().store(Self::flags(), low, address, 0);
                }
            }
            Access::One => self.store_element(value, 0, bytes, address),
            Access::Strided(stride) => {
                let mut at = address;
                for i in 0..WIDTH as u8 {
                    if i > 0 {
                        at = self.b.ins().iadd(at, stride);
                    }
                    self.store_element(value, i, bytes, at);
                }
            }
        }
    }

    fn store_element(&mut self, vector: Value, index: u8, bytes: usize, address: Value) {
        let element = self.b.ins().extractlane(vector, index);
        match bytes {
            1 => self.b.ins().istore8(Self::flags(), element, address, 0),
            2 => self.b.ins().istore16(Self::flags(), element, address, 0),
            _ => self.b.ins().store(Self::flags(), element, address, 0),
        };
    }

    fn store_pair(&mut self, parts: [Value; 2], address: Value, access: Access) {
        match access {
            Access::Vector => {
                for (part, offset) in parts.into_iter().zip([0, 16]) {
                    self.b.ins().store(Self::flags(), part, address, offset);
                }
            }
            Access::One => self.store_element(parts[0], 0, 8, address),
            Access::Strided(stride) => {
                let mut at = address;
                for i in 0..WIDTH as u8 {
                    if i > 0 {
                        at = self.b.ins().iadd(at, stride);
                    }
                    self.store_element(parts[i as usize / 2], i % 2, 8, at);
                }
            }
        }
    }

    // ---- conversions ----

    pub(crate) fn is_nan(&mut self, value: Value) -> Value {
        let mask = self.b.ins().fcmp(FloatCC::Unordered, value, value);
        self.cast_bits(types::I32X4, mask)
    }

    /// Replaces every NaN by the canonical one, as results do.
    pub(crate) fn canonical(&mut self, value: Value) -> Value {
        let is_nan = self.is_nan(value);
        let nan = self.splat_f32(f32::from_bits(0x7FC0_0000));
        self.choose(is_nan, nan, value)
    }

    /// `a` where the mask holds, else `b`, for F32 lanes.
    pub(crate) fn choose(&mut self, mask: Value, a: Value, b: Value) -> Value {
        let (a, b) = (self.cast_bits(types::I32X4, a), self.cast_bits(types::I32X4, b));
        let chosen = self.b.ins().bitselect(mask, a, b);
        self.cast_bits(types::F32X4, chosen)
    }

    /// As F32: exact or nearest even. A mask gives 0 and 1.
    pub(crate) fn f32_of(&mut self, lane: Lane) -> Value {
        match lane {
            Lane::F32(v) => v,
            Lane::I32(v) => self.b.ins().fcvt_from_sint(types::F32X4, v),
            Lane::F64([low, high]) => {
                let (low, high) = (self.b.ins().fvdemote(low), self.b.ins().fvdemote(high));
                self.join_halves(low, high)
            }
            Lane::I64(parts) => self.per_lane_i64(parts, types::F32X4, |f, x| f.b.ins().fcvt_from_sint(types::F32, x)),
            Lane::Mask(m) => {
                let one = self.splat_i32(0x3F80_0000);
                let bits = self.b.ins().band(m, one);
                self.cast_bits(types::F32X4, bits)
            }
        }
    }

    /// The low halves of two F32 vectors, side by side.
    fn join_halves(&mut self, low: Value, high: Value) -> Value {
        let (low, high) = (self.cast_bits(types::I8X16, low), self.cast_bits(types::I8X16, high));
        let picked: Vec<u8> = (0..8u8).chain(16..24).collect();
        let mask = self.b.func.dfg.immediates.push(picked.into());
        let joined = self.b.ins().shuffle(low, high, mask);
        self.cast_bits(types::F32X4, joined)
    }

    /// As F64: exact but for I64 beyond 2^53.
    pub(crate) fn f64_of(&mut self, lane: Lane) -> [Value; 2] {
        match lane {
            Lane::F64(parts) => parts,
            Lane::I64(parts) => {
                let mut out = parts;
                for part in &mut out {
                    let lanes = [0, 1].map(|i| self.b.ins().extractlane(*part, i));
                    let floats = lanes.map(|x| self.b.ins().fcvt_from_sint(types::F64, x));
                    *part = self.assemble(types::F64X2, &floats);
                }
                out
            }
            Lane::I32(v) => {
                // In the form that is one conversion of two lanes.
                [v, self.swap_halves(v)].map(|v| {
                    let low = self.b.ins().swiden_low(v);
                    self.b.ins().fcvt_from_sint(types::F64X2, low)
                })
            }
            Lane::F32(_) | Lane::Mask(_) => {
                let v = self.f32_of(lane);
                let low = self.b.ins().fvpromote_low(v);
                let swapped = self.swap_halves(v);
                [low, self.b.ins().fvpromote_low(swapped)]
            }
        }
    }

    /// The high half of a vector in place of its low one.
    fn swap_halves(&mut self, value: Value) -> Value {
        let kind = self.b.func.dfg.value_type(value);
        let bits = self.cast_bits(types::I8X16, value);
        let picked: Vec<u8> = (8..16u8).chain(8..16).collect();
        let mask = self.b.func.dfg.immediates.push(picked.into());
        let swapped = self.b.ins().shuffle(bits, bits, mask);
        self.cast_bits(kind, swapped)
    }

    /// As I64; floats must be integer values already clamped to a 32-bit range.
    pub(crate) fn i64_of(&mut self, lane: Lane) -> [Value; 2] {
        match lane {
            Lane::I64(parts) => parts,
            Lane::I32(v) | Lane::Mask(v) => [self.b.ins().swiden_low(v), self.b.ins().swiden_high(v)],
            Lane::F32(_) | Lane::F64(_) => {
                let mut parts = self.f64_of(lane);
                for part in &mut parts {
                    let lanes = [0, 1].map(|i| self.b.ins().extractlane(*part, i));
                    let ints = lanes.map(|x| self.b.ins().fcvt_to_sint_sat(types::I64, x));
                    *part = self.assemble(types::I64X2, &ints);
                }
                parts
            }
        }
    }

    /// Applies a scalar operation to each I64 lane, giving lanes of `vector`.
    pub(crate) fn per_lane_i64(
        &mut self,
        parts: [Value; 2],
        vector: Type,
        mut op: impl FnMut(&mut Self, Value) -> Value,
    ) -> Value {
        let lanes: Vec<Value> = (0..4u8)
            .map(|i| {
                let x = self.b.ins().extractlane(parts[i as usize / 2], i % 2);
                op(self, x)
            })
            .collect();
        self.assemble(vector, &lanes)
    }
}

impl Lanes for Frame<'_> {
    type F = Value;
    type I = Value;
    type Mask = Value;

    fn float(&mut self, value: f32) -> Value {
        self.splat_f32(value)
    }
    fn int(&mut self, value: i32) -> Value {
        self.splat_i32(value)
    }
    fn add(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fadd(a, b)
    }
    fn sub(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fsub(a, b)
    }
    fn mul(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fmul(a, b)
    }
    fn div(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().fdiv(a, b)
    }
    fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.b.ins().fma(a, b, c)
    }
    fn lt(&mut self, a: Value, b: Value) -> Value {
        let mask = self.b.ins().fcmp(FloatCC::LessThan, a, b);
        self.cast_bits(types::I32X4, mask)
    }
    fn eq(&mut self, a: Value, b: Value) -> Value {
        let mask = self.b.ins().fcmp(FloatCC::Equal, a, b);
        self.cast_bits(types::I32X4, mask)
    }
    fn select(&mut self, mask: Value, a: Value, b: Value) -> Value {
        self.choose(mask, a, b)
    }
    fn bits(&mut self, a: Value) -> Value {
        self.cast_bits(types::I32X4, a)
    }
    fn from_bits(&mut self, a: Value) -> Value {
        self.cast_bits(types::F32X4, a)
    }
    fn to_float(&mut self, a: Value) -> Value {
        self.b.ins().fcvt_from_sint(types::F32X4, a)
    }
    fn iadd(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().iadd(a, b)
    }
    fn isub(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().isub(a, b)
    }
    fn and(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().band(a, b)
    }
    fn or(&mut self, a: Value, b: Value) -> Value {
        self.b.ins().bor(a, b)
    }
    fn shl(&mut self, a: Value, by: u8) -> Value {
        self.b.ins().ishl_imm_s(a, by as i64)
    }
    fn sar(&mut self, a: Value, by: u8) -> Value {
        self.b.ins().sshr_imm_s(a, by as i64)
    }
}
