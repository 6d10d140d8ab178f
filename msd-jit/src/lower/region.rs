//! Elementwise loops: a region's steps on four elements at a time, and the loop that stores them.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use msd_ir::dim::Dim;
use msd_ir::dtype::{Class, DType};
use msd_ir::math;
use msd_ir::ops::Op;

use super::frame::{Emit, Frame};
use super::lanes::{Access, Lane, WIDTH};
use crate::isa::internal;
use crate::schedule::{Region, Source, Step, View};

/// A region at one row: where each leaf's row starts, or its value where it does not vary.
pub(crate) struct Row<'r> {
    region: &'r Region,
    leaves: Vec<Leaf>,
    /// Index along the last axis but one.
    index: Value,
}

enum Leaf {
    Fixed(Lane),
    /// An F64 that does not vary, the F32 nearest to it and whether that is equal.
    Unit {
        wide: Lane,
        narrow: Value,
        is_equal: Value,
    },
    Moving {
        address: Value,
        step: i64,
        stride: Option<Value>,
    },
}

impl Row<'_> {
    /// If a step rounds the product of a value and a unit to F32: the two.
    fn scaled(&self, step: &Step) -> Option<(&Source, &Leaf)> {
        let (Op::Cast { dtype: DType::F32 }, [Source::Step(product)]) = (&step.op, step.operands.as_slice()) else {
            return None;
        };
        let product = &self.region.steps[*product];
        match (&product.op, product.operands.as_slice()) {
            (Op::Mul, [value, Source::Leaf(leaf)]) if product.dtype == DType::F64 => {
                let leaf = &self.leaves[*leaf];
                matches!(leaf, Leaf::Unit { .. }).then_some((value, leaf))
            }
            _ => None,
        }
    }
}

impl Frame<'_> {
    /// Positions a region at the row with these leading indices. The row must not be empty.
    pub(crate) fn enter_row<'r>(&mut self, region: &'r Region, indices: &[Value]) -> Emit<Row<'r>> {
        let mut leaves = Vec::new();
        for view in &region.leaves {
            let address = self.locate(view, indices)?;
            leaves.push(match view.stride_from_end(0).as_constant() {
                Some(0) => {
                    let lane = self.load_lane(view.dtype, address, Access::One);
                    self.fixed_leaf(lane)
                }
                Some(step) => {
                    let step = step as i64 * view.dtype.host_bytes() as i64;
                    let is_vector = step == view.dtype.host_bytes() as i64;
                    let stride = if is_vector { None } else { Some(self.int(step)) };
                    Leaf::Moving { address, step, stride }
                }
                None => {
                    let elements = self.dim(&view.stride_from_end(0))?;
                    let stride = self.b.ins().imul_imm_s(elements, view.dtype.host_bytes() as i64);
                    Leaf::Moving { address, step: 0, stride: Some(stride) }
                }
            });
        }
        let index = match indices.last() {
            Some(index) => *index,
            None => self.int(0),
        };
        Ok(Row { region, leaves, index })
    }

    /// The region's value at `column` and, for vectors, the three columns after it; `terms` are the values
    /// of its products there.
    pub(crate) fn region_at(&mut self, row: &Row<'_>, column: Value, vector: bool, terms: &[Lane]) -> Emit<Lane> {
        let mut leaves = Vec::new();
        for (leaf, view) in row.leaves.iter().zip(&row.region.leaves) {
            leaves.push(match leaf {
                Leaf::Fixed(lane) | Leaf::Unit { wide: lane, .. } => *lane,
                Leaf::Moving { address, step, stride } => {
                    let offset = match (step, stride) {
                        (0, Some(stride)) => self.b.ins().imul(column, *stride),
                        (step, _) => self.b.ins().imul_imm_s(column, *step),
                    };
                    let at = self.b.ins().iadd(*address, offset);
                    let access = match (vector, stride) {
                        (false, _) => Access::One,
                        (true, None) => Access::Vector,
                        (true, Some(stride)) => Access::Strided(*stride),
                    };
                    self.load_lane(view.dtype, at, access)
                }
            });
        }
        let mut values: Vec<Lane> = Vec::new();
        for step in &row.region.steps {
            let mut operands = Vec::new();
            for source in &step.operands {
                operands.push(self.source(source, &leaves, &values, terms)?);
            }
            let scaled = row.scaled(step);
            values.push(match (&step.op, scaled) {
                (Op::Causal, _) => self.causal(row, operands[0], column)?,
                (_, Some((source, leaf))) => {
                    let value = self.source(source, &leaves, &values, terms)?;
                    let exact = operands[0];
                    self.scaled_lane(value, leaf, exact)?
                }
                (op, None) => self.elementwise(op, &operands, step.dtype)?,
            });
        }
        self.source(&row.region.root, &leaves, &values, terms)
    }

    fn fixed_leaf(&mut self, lane: Lane) -> Leaf {
        let Lane::F64([wide, _]) = lane else { return Leaf::Fixed(lane) };
        let one = self.b.ins().extractlane(wide, 0);
        let narrow = self.b.ins().fdemote(types::F32, one);
        let back = self.b.ins().fpromote(types::F64, narrow);
        let is_equal = self.b.ins().fcmp(FloatCC::Equal, back, one);
        Leaf::Unit { wide: lane, narrow: self.b.ins().splat(types::F32X4, narrow), is_equal }
    }

    /// `value * unit` rounded to F32. Where the unit is an F32, that is one product in F32, which rounds the
    /// same exact number once; `exact` is the product in F64.
    fn scaled_lane(&mut self, value: Lane, unit: &Leaf, exact: Lane) -> Emit<Lane> {
        let (Lane::F32(value), Leaf::Unit { wide, narrow, is_equal }) = (value, unit) else {
            return Ok(Lane::F32(self.f32_of(exact)));
        };
        let (short, long, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        self.b.append_block_param(after, types::F32X4);
        self.b.ins().brif(*is_equal, short, &[], long, &[]);
        for block in [short, long] {
            self.b.switch_to_block(block);
            self.b.seal_block(block);
            let product = if block == short {
                self.b.ins().fmul(value, *narrow)
            } else {
                let product = self.elementwise(&Op::Mul, &[Lane::F32(value), *wide], DType::F64)?;
                self.f32_of(product)
            };
            self.b.ins().jump(after, &[product.into()]);
        }
        self.b.switch_to_block(after);
        self.b.seal_block(after);
        Ok(Lane::F32(self.b.block_params(after)[0]))
    }

    fn source(&mut self, source: &Source, leaves: &[Lane], steps: &[Lane], terms: &[Lane]) -> Emit<Lane> {
        Ok(match source {
            Source::Leaf(i) => leaves[*i],
            Source::Step(i) => steps[*i],
            Source::Term(i) => terms[*i],
            Source::Const(bits) => Lane::F32(self.splat_f32(f32::from_bits(*bits))),
            Source::Size(dim) => {
                let size = self.dim(dim)?;
                let size = self.b.ins().fcvt_from_sint(types::F32, size);
                Lane::F32(self.b.ins().splat(types::F32X4, size))
            }
        })
    }

    /// `lane` as the class of `dtype`, exactly or to nearest even.
    pub(crate) fn as_class(&mut self, lane: Lane, dtype: DType) -> Lane {
        match dtype {
            DType::F64 => Lane::F64(self.f64_of(lane)),
            DType::I64 => Lane::I64(self.i64_of(lane)),
            _ => match (dtype.class(), lane) {
                (Class::Float, _) => Lane::F32(self.f32_of(lane)),
                (Class::Int | Class::Bool, _) => lane,
            },
        }
    }

    /// Column `j` of row `i` stays where `j <= i + T - M`.
    fn causal(&mut self, row: &Row<'_>, value: Lane, column: Value) -> Emit<Lane> {
        let rank = row.region.shape.len();
        let (m, t) = (self.dim(&row.region.shape[rank - 2])?, self.dim(&row.region.shape[rank - 1])?);
        let last = self.b.ins().iadd(row.index, t);
        let last = self.b.ins().isub(last, m);
        let room = self.b.ins().isub(last, column);
        // Lane l stays where l <= room; only the first four distances matter.
        let (low, high) = (self.int(-1), self.int(WIDTH));
        let room = self.b.ins().smax(room, low);
        let room = self.b.ins().smin(room, high);
        let room = self.b.ins().ireduce(types::I32, room);
        let room = self.b.ins().splat(types::I32X4, room);
        let zero = self.splat_i32(0);
        let mut lanes = zero;
        for lane in 1..WIDTH as u8 {
            let index = self.b.ins().iconst(types::I32, lane as i64);
            lanes = self.b.ins().insertlane(lanes, index, lane);
        }
        let stays = self.b.ins().icmp(IntCC::SignedLessThanOrEqual, lanes, room);
        let value = self.f32_of(value);
        let masked = self.splat_f32(f32::NEG_INFINITY);
        Ok(Lane::F32(self.choose(stays, value, masked)))
    }

    /// One elementwise op; the formulas are those of the op table.
    pub(crate) fn elementwise(&mut self, op: &Op, operands: &[Lane], dtype: DType) -> Emit<Lane> {
        let unary = |f: &mut Self, of: fn(&mut Frame<'_>, Value) -> Value| {
            let x = f.f32_of(operands[0]);
            Ok(Lane::F32(of(f, x)))
        };
        match op {
            Op::Exp => unary(self, |f, x| math::exp(f, x)),
            Op::Log => unary(self, |f, x| math::log(f, x)),
            Op::Tanh => unary(self, |f, x| math::tanh(f, x)),
            Op::Erf => unary(self, |f, x| math::erf(f, x)),
            Op::Sqrt => unary(self, |f, x| f.b.ins().sqrt(x)),
            Op::Neg | Op::Abs => self.sign_op(op, operands[0], dtype),
            Op::Add | Op::Sub | Op::Mul | Op::Div => self.arithmetic(op, operands, dtype),
            Op::Min | Op::Max => {
                let (a, b) = (self.as_class(operands[0], dtype), self.as_class(operands[1], dtype));
                let code = if matches!(op, Op::Max) { IntCC::SignedGreaterThan } else { IntCC::SignedLessThan };
                let takes_a = self.compare(code, a, b)?;
                let takes_a = match a {
                    Lane::F32(x) => {
                        let nan = self.is_nan(x);
                        self.b.ins().bor(takes_a, nan)
                    }
                    Lane::F64(_) => {
                        let nan = self.compare(IntCC::NotEqual, a, a)?;
                        self.b.ins().bor(takes_a, nan)
                    }
                    Lane::I32(_) | Lane::I64(_) | Lane::Mask(_) => takes_a,
                };
                self.pick(takes_a, a, b)
            }
            Op::Lt | Op::Le | Op::Gt | Op::Ge | Op::Eq | Op::Ne => {
                let (a, b) = self.promoted(operands[0], operands[1]);
                let code = match op {
                    Op::Lt => IntCC::SignedLessThan,
                    Op::Le => IntCC::SignedLessThanOrEqual,
                    Op::Gt => IntCC::SignedGreaterThan,
                    Op::Ge => IntCC::SignedGreaterThanOrEqual,
                    Op::Eq => IntCC::Equal,
                    _ => IntCC::NotEqual,
                };
                Ok(Lane::Mask(self.compare(code, a, b)?))
            }
            Op::Select => {
                let Lane::Mask(mask) = operands[0] else { return Err(internal("a condition that is no mask")) };
                let (a, b) = (self.as_class(operands[1], dtype), self.as_class(operands[2], dtype));
                self.pick(mask, a, b)
            }
            Op::Cast { dtype } => self.cast_lane(operands[0], *dtype),
            // Of sums that are merged already.
            Op::CombineZero { .. } => self.less_zero(operands[0], operands[1], operands[2]),
            other => Err(internal(format!("{other:?} is not elementwise"))),
        }
    }

    fn sign_op(&mut self, op: &Op, operand: Lane, dtype: DType) -> Emit<Lane> {
        let negate = matches!(op, Op::Neg);
        Ok(match self.as_class(operand, dtype) {
            Lane::F32(x) => Lane::F32(if negate { self.b.ins().fneg(x) } else { self.b.ins().fabs(x) }),
            Lane::F64(x) => Lane::F64(x.map(|x| if negate { self.b.ins().fneg(x) } else { self.b.ins().fabs(x) })),
            Lane::I32(x) | Lane::Mask(x) => Lane::I32(if negate { self.b.ins().ineg(x) } else { self.b.ins().iabs(x) }),
            Lane::I64(x) => Lane::I64(x.map(|x| if negate { self.b.ins().ineg(x) } else { self.b.ins().iabs(x) })),
        })
    }

    fn arithmetic(&mut self, op: &Op, operands: &[Lane], dtype: DType) -> Emit<Lane> {
        let float = |f: &mut Self, a: Value, b: Value| match op {
            Op::Add => f.b.ins().fadd(a, b),
            Op::Sub => f.b.ins().fsub(a, b),
            Op::Mul => f.b.ins().fmul(a, b),
            _ => f.b.ins().fdiv(a, b),
        };
        let int = |f: &mut Self, a: Value, b: Value| match op {
            Op::Add => f.b.ins().iadd(a, b),
            Op::Sub => f.b.ins().isub(a, b),
            _ => f.b.ins().imul(a, b),
        };
        let (a, b) = (self.as_class(operands[0], dtype), self.as_class(operands[1], dtype));
        match (a, b) {
            (Lane::F32(a), Lane::F32(b)) => Ok(Lane::F32(float(self, a, b))),
            (Lane::F64(a), Lane::F64(b)) => Ok(Lane::F64([float(self, a[0], b[0]), float(self, a[1], b[1])])),
            (Lane::I32(a), Lane::I32(b)) => Ok(Lane::I32(int(self, a, b))),
            (Lane::I64(a), Lane::I64(b)) => Ok(Lane::I64([int(self, a[0], b[0]), int(self, a[1], b[1])])),
            _ => Err(internal("operands of different classes")),
        }
    }

    /// Both operands in the type a comparison happens in.
    fn promoted(&mut self, a: Lane, b: Lane) -> (Lane, Lane) {
        let is_int = |l: Lane| matches!(l, Lane::I32(_) | Lane::I64(_));
        let is_wide = |l: Lane| matches!(l, Lane::F64(_) | Lane::I64(_));
        let dtype = match (is_int(a) && is_int(b), is_wide(a) || is_wide(b)) {
            (true, false) => return (a, b),
            (true, true) => DType::I64,
            (false, _) if matches!(a, Lane::F64(_)) || matches!(b, Lane::F64(_)) => DType::F64,
            (false, _) => DType::F32,
        };
        (self.as_class(a, dtype), self.as_class(b, dtype))
    }

    /// A mask of I32 lanes.
    fn compare(&mut self, code: IntCC, a: Lane, b: Lane) -> Emit<Value> {
        let float_code = match code {
            IntCC::SignedLessThan => FloatCC::LessThan,
            IntCC::SignedLessThanOrEqual => FloatCC::LessThanOrEqual,
            IntCC::SignedGreaterThan => FloatCC::GreaterThan,
            IntCC::SignedGreaterThanOrEqual => FloatCC::GreaterThanOrEqual,
            IntCC::Equal => FloatCC::Equal,
            _ => FloatCC::NotEqual,
        };
        match (a, b) {
            (Lane::F32(a), Lane::F32(b)) => {
                let mask = self.b.ins().fcmp(float_code, a, b);
                Ok(self.cast_bits(types::I32X4, mask))
            }
            (Lane::I32(a), Lane::I32(b)) => Ok(self.b.ins().icmp(code, a, b)),
            // Vector comparison of 64-bit lanes is not in SSE4.1; these are rare enough for scalars.
            (Lane::F64(a), Lane::F64(b)) => Ok(self.compare_wide(a, b, |f, x, y| f.b.ins().fcmp(float_code, x, y))),
            (Lane::I64(a), Lane::I64(b)) => Ok(self.compare_wide(a, b, |f, x, y| f.b.ins().icmp(code, x, y))),
            _ => Err(internal("comparison of different classes")),
        }
    }

    fn compare_wide(&mut self, a: [Value; 2], b: [Value; 2], test: impl Fn(&mut Self, Value, Value) -> Value) -> Value {
        let mut mask = self.splat_i32(0);
        for i in 0..4u8 {
            let x = self.b.ins().extractlane(a[i as usize / 2], i % 2);
            let y = self.b.ins().extractlane(b[i as usize / 2], i % 2);
            let holds = test(self, x, y);
            let holds = self.b.ins().uextend(types::I32, holds);
            let ones = self.b.ins().ineg(holds);
            mask = self.b.ins().insertlane(mask, ones, i);
        }
        mask
    }

    fn pick(&mut self, mask: Value, a: Lane, b: Lane) -> Emit<Lane> {
        match (a, b) {
            (Lane::F32(a), Lane::F32(b)) => Ok(Lane::F32(self.choose(mask, a, b))),
            (Lane::I32(a), Lane::I32(b)) => Ok(Lane::I32(self.b.ins().bitselect(mask, a, b))),
            (Lane::F64(a), Lane::F64(b)) => Ok(Lane::F64(self.pick_wide(mask, a, b, types::F64X2))),
            (Lane::I64(a), Lane::I64(b)) => Ok(Lane::I64(self.pick_wide(mask, a, b, types::I64X2))),
            _ => Err(internal("choice between different classes")),
        }
    }

    fn pick_wide(&mut self, mask: Value, a: [Value; 2], b: [Value; 2], kind: types::Type) -> [Value; 2] {
        let masks = [self.b.ins().swiden_low(mask), self.b.ins().swiden_high(mask)];
        [0, 1].map(|i| {
            let (x, y) = (self.cast_bits(types::I64X2, a[i]), self.cast_bits(types::I64X2, b[i]));
            let chosen = self.b.ins().bitselect(masks[i], x, y);
            self.cast_bits(kind, chosen)
        })
    }

    fn cast_lane(&mut self, lane: Lane, to: DType) -> Emit<Lane> {
        match to {
            DType::F64 => return Ok(Lane::F64(self.f64_of(lane))),
            DType::Bool => {
                let zero = Lane::F32(self.splat_f32(0.0));
                if let Lane::Mask(_) = lane {
                    return Ok(lane);
                }
                let (a, b) = match lane {
                    Lane::I32(_) => (lane, Lane::I32(self.splat_i32(0))),
                    _ => self.promoted(lane, zero),
                };
                return Ok(Lane::Mask(self.compare(IntCC::NotEqual, a, b)?));
            }
            _ => {}
        }
        if to == DType::F32 {
            return Ok(Lane::F32(self.f32_of(lane)));
        }
        if to.is_float() {
            let value = match lane {
                Lane::F32(v) => v,
                Lane::Mask(_) => self.f32_of(lane),
                Lane::I32(_) | Lane::F64(_) | Lane::I64(_) => self.rounded_to_odd(lane)?,
            };
            let code = self.encode(to, value);
            return Ok(Lane::F32(self.decode(to, code)));
        }
        self.cast_to_int(lane, to)
    }

    /// As F32 rounded to odd (an inexact result has its last bit set), so that a second rounding,
    /// to fewer than 23 bits, gives what a single one would.
    fn rounded_to_odd(&mut self, lane: Lane) -> Emit<Value> {
        let exact = self.f64_of(lane);
        let near = self.f32_of(Lane::F64(exact));
        let back = self.f64_of(Lane::F32(near));
        let is_inexact = self.compare(IntCC::NotEqual, Lane::F64(back), Lane::F64(exact))?;
        let magnitudes = [back, exact].map(|pair| Lane::F64(pair.map(|p| self.b.ins().fabs(p))));
        // All ones, that is -1, where rounding went away from zero: one step back.
        let went_away = self.compare(IntCC::SignedGreaterThan, magnitudes[0], magnitudes[1])?;
        let bits = self.cast_bits(types::I32X4, near);
        let toward_zero = self.b.ins().iadd(bits, went_away);
        let one = self.splat_i32(1);
        let mark = self.b.ins().band(is_inexact, one);
        let odd = self.b.ins().bor(toward_zero, mark);
        Ok(self.cast_bits(types::F32X4, odd))
    }

    /// Nearest even, saturating; NaN gives 0.
    fn cast_to_int(&mut self, lane: Lane, to: DType) -> Emit<Lane> {
        let Some((low, high)) = to.int_range() else { return Err(internal("cast to no integer")) };
        if to == DType::I64 {
            return Ok(Lane::I64(match lane {
                Lane::F32(v) => {
                    let rounded = self.b.ins().nearest(v);
                    self.i64_of(Lane::F32(rounded))
                }
                Lane::F64(parts) => {
                    let rounded = parts.map(|p| self.b.ins().nearest(p));
                    self.i64_of(Lane::F64(rounded))
                }
                Lane::I32(_) | Lane::I64(_) => self.i64_of(lane),
                Lane::Mask(m) => {
                    let one = self.splat_i32(1);
                    let bits = self.b.ins().band(m, one);
                    self.i64_of(Lane::I32(bits))
                }
            }));
        }
        let value = match lane {
            Lane::F32(v) => {
                let rounded = self.b.ins().nearest(v);
                self.b.ins().fcvt_to_sint_sat(types::I32X4, rounded)
            }
            Lane::I32(v) => v,
            Lane::Mask(m) => {
                let one = self.splat_i32(1);
                self.b.ins().band(m, one)
            }
            Lane::F64(_) | Lane::I64(_) => {
                let wide = self.cast_to_int(lane, DType::I64)?;
                let parts = self.i64_of(wide);
                self.per_lane_i64(parts, types::I32X4, |f, x| {
                    let (low, high) = (f.int(low), f.int(high));
                    let x = f.b.ins().smax(x, low);
                    let x = f.b.ins().smin(x, high);
                    f.b.ins().ireduce(types::I32, x)
                })
            }
        };
        if to == DType::I32 {
            return Ok(Lane::I32(value));
        }
        let (low, high) = (self.splat_i32(low as i32), self.splat_i32(high as i32));
        let value = self.b.ins().smax(value, low);
        Ok(Lane::I32(self.b.ins().smin(value, high)))
    }

    /// `out[begin..end] = region`, units being rows.
    pub(crate) fn emit_map(&mut self, region: &Region, out: &View) -> Emit<()> {
        let (outer, columns) = split_last(&region.shape);
        let columns = self.dim(&columns)?;
        let (begin, end) = (self.begin, self.end);
        self.for_range(begin, end, 1, |f, unit| {
            let zero = f.int(0);
            // An empty row has nothing to load; one round of nothing guards the whole row.
            let once = f.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, columns, 0);
            let once = f.b.ins().uextend(types::I64, once);
            f.for_range(zero, once, 1, |f, _| {
                let indices = f.unflatten(unit, outer)?;
                let row = f.enter_row(region, &indices)?;
                let target = f.locate(out, &indices)?;
                for (from, to, width) in f.in_lanes(columns) {
                    f.for_range(from, to, width, |f, column| {
                        let is_vector = width == WIDTH;
                        let lane = f.region_at(&row, column, is_vector, &[])?;
                        f.store_result(lane, out, target, column, is_vector)
                    })?;
                }
                Ok(())
            })
        })
    }

    /// Stores an element, or four, of a row of `out` that begins at `target`.
    pub(crate) fn store_result(
        &mut self,
        lane: Lane,
        out: &View,
        target: Value,
        column: Value,
        is_vector: bool,
    ) -> Emit<()> {
        let mut lane = self.as_class(lane, out.dtype);
        if let (Lane::F32(v), DType::F32, true) = (lane, out.dtype, self.is_result(out)) {
            lane = Lane::F32(self.canonical(v));
        }
        let (at, access) = self.element(out, target, column, is_vector)?;
        self.store_lane(lane, out.dtype, at, access);
        Ok(())
    }
}

/// Leading axes and the size of the last; a scalar is a row of one.
pub(crate) fn split_last(shape: &[Dim]) -> (&[Dim], Dim) {
    match shape.split_last() {
        Some((last, outer)) => (outer, last.clone()),
        None => (&[], Dim::constant(1)),
    }
}
