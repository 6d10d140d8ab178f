//! The portable tile emitter: Cranelift's 128-bit vectors, every architecture, and the oracle of the
//! others. See [`crate::tile`] for the contract. A panel is done in one or more parts of four channels
//! a vector, so that the sums stay in registers. Cranelift has no opcode for byte dot products; an exact
//! tree of widenings, products and pairwise sums is folded into one instruction, so the trees below keep
//! their operand order.

use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use msd_ir::dtype::DType;

use crate::isa::{DotForm, Isa, internal};
use crate::lower::frame::{Emit, Frame};
use crate::lower::lanes::{Access, Lane};
use crate::lower::row::rebuild;
use crate::tile::{C_ROW, Call, Element, GroupForm, MergeForm, Operands, PANEL, QuadForm, Sum, Tile};

/// Channels of a vector.
const LANES: usize = 4;

/// Sums that stay in registers, as there are sixteen and operands need some.
const MAX_SUMS: usize = 8;

/// Units per round of float tiles. Cranelift's multiply-add overwrites a factor, so each round ends with
/// a move, and for a few sums a trip through the stack, that this amortises; but for targets where each is a call for
/// each element anyway.
fn unroll(isa: &Isa) -> i64 {
    if isa.has_fma { 4 } else { 1 }
}

/// One part of a tile.
struct Part<'t> {
    tile: &'t Tile,
    /// Units per round of float tiles.
    unroll: i64,
    table: Value,
    /// First channel, which code of all parts is given when it runs, and how many vectors of channels.
    first: Value,
    vectors: usize,
    /// Ones where nothing is added up so far.
    is_first: Value,
}

/// Emits a tile of one panel into an empty function.
pub(crate) fn emit(b: FunctionBuilder<'_>, tile: &Tile, isa: &Isa) -> Emit<()> {
    if tile.finish.is_some() {
        return Err(internal("a portable tile that ends in results"));
    }
    let mut used = Vec::new();
    let (mut f, arguments) = Frame::open_leaf(b, &mut used, 1);
    let table = arguments[0];
    let is_first = field(&mut f, table, Call::First);
    let is_first = f.b.ins().icmp_imm_s(cranelift_codegen::ir::condcodes::IntCC::NotEqual, is_first, 0);
    let is_first = f.b.ins().uextend(types::I32, is_first);
    let is_first = f.b.ins().ineg(is_first);
    let is_first = f.b.ins().splat(types::I32X4, is_first);
    let vectors = vectors_of(tile);
    let (none, all) = (f.int(0), f.int(PANEL as i64));
    f.for_range(none, all, (vectors * LANES) as i64, |f, first| {
        let part = Part { tile, unroll: unroll(isa), table, first, vectors, is_first };
        match &tile.sum {
            Sum::Whole { has_start, merge } => emit_whole(f, &part, *has_start, *merge),
            Sum::Wide => emit_whole(f, &part, false, None),
            Sum::Groups(group) => emit_groups(f, &part, group),
        }
    })?;
    f.close(isa.target.frontend_config());
    Ok(())
}

/// How many vectors of channels a part takes.
fn vectors_of(tile: &Tile) -> usize {
    let per_row = match tile.operands {
        Operands::Quads(form) if form.dot == DotForm::Pairs => 2,
        Operands::Floats { compute: DType::F64 | DType::I64, .. } => 2,
        Operands::Quads(_) | Operands::Floats { .. } => 1,
    };
    [4, 2].into_iter().find(|v| tile.rows() * per_row * v <= MAX_SUMS).unwrap_or(1)
}

fn field(f: &mut Frame<'_>, table: Value, field: Call) -> Value {
    f.b.ins().load(types::I64, Frame::flags(), table, field.offset())
}

impl Part<'_> {
    /// Index of a row's sum of a vector of channels; of pairs there are two.
    fn sum(&self, row: usize, vector: usize) -> usize {
        row * self.vectors + vector
    }

    /// Where the part's elements of C's first row begin.
    fn c(&self, f: &mut Frame<'_>, dtype: DType) -> Value {
        let c = field(f, self.table, Call::C);
        let skip = f.b.ins().imul_imm_s(self.first, dtype.host_bytes() as i64);
        f.b.ins().iadd(c, skip)
    }

    /// Bytes from there to a vector of a row.
    fn c_offset(row: usize, vector: usize, dtype: DType) -> i64 {
        ((row * C_ROW + vector * LANES) * dtype.host_bytes()) as i64
    }

    /// The sums of a token's digits.
    fn digits(&self, sums: &[Lane], token: usize, vector: usize) -> Vec<Lane> {
        (0..self.tile.digits).map(|d| sums[self.sum(d * self.tile.tokens + token, vector)]).collect()
    }

    fn is_pairs(&self) -> bool {
        matches!(self.tile.operands, Operands::Quads(form) if form.dot == DotForm::Pairs)
    }
}

/// `begin` where the mask holds, else `other`.
fn choose(f: &mut Frame<'_>, mask: Value, begin: Lane, other: Lane) -> Lane {
    let picked: Vec<Value> = begin
        .parts()
        .into_iter()
        .zip(other.parts())
        .map(|(a, b)| {
            let kind = f.b.func.dfg.value_type(a);
            let [mask, a, b] = [mask, a, b].map(|v| f.cast_bits(types::I32X4, v));
            let value = f.b.ins().bitselect(mask, a, b);
            f.cast_bits(kind, value)
        })
        .collect();
    rebuild(begin, &picked)
}

/// Sums over all units of the call, stored or added to what C holds.
fn emit_whole(f: &mut Frame<'_>, part: &Part<'_>, has_start: bool, merge: Option<MergeForm>) -> Emit<()> {
    let tile = part.tile;
    let dtype = tile.c_dtype();
    let c = part.c(f, dtype);
    let none = f.zero_lane(dtype);
    let mut old = Vec::new();
    for row in 0..tile.rows() {
        let begin = if has_start { Lane::I32(start_of(f, part, row, None)) } else { none };
        for vector in 0..part.vectors {
            let at = f.b.ins().iadd_imm_s(c, Part::c_offset(row, vector, dtype));
            let held = f.load_lane(dtype, at, Access::Vector);
            old.push(choose(f, part.is_first, begin, held));
        }
    }
    let (units, zero) = (field(f, part.table, Call::K), f.int(0));
    let is_float = matches!(tile.operands, Operands::Floats { .. });
    // Floats are added in order, so they begin with what there is.
    let init = if is_float { old.iter().flat_map(|l| l.parts()).collect() } else { integer_zeros(f, part) };
    let operands = operands(f, part);
    let sums = over_units(f, part, operands, units, &init)?;
    let mut lanes = Vec::new();
    for row in 0..tile.rows() {
        for vector in 0..part.vectors {
            let index = part.sum(row, vector);
            let at = f.b.ins().iadd_imm_s(c, Part::c_offset(row, vector, dtype));
            let lane = if is_float {
                let parts = none.parts().len();
                rebuild(none, &sums[index * parts..(index + 1) * parts])
            } else {
                let new = Lane::I32(channel_sums(f, part, &sums, index));
                f.elementwise(&msd_ir::ops::Op::Add, &[old[index], new], dtype)?
            };
            f.store_lane(lane, dtype, at, Access::Vector);
            lanes.push(lane);
        }
    }
    let Some(merge) = merge else { return Ok(()) };
    let is_last = field(f, part.table, Call::Last);
    let one = f.int(1);
    let rounds = f.b.ins().smin(is_last, one);
    let c = part.c(f, DType::F32);
    f.for_range(zero, rounds, 1, |f, _| {
        for token in 0..tile.tokens {
            for vector in 0..part.vectors {
                let merged = f.merged_integers(&part.digits(&lanes, token, vector), merge, None)?;
                let merged = Lane::F32(f.f32_of(merged));
                let at = f.b.ins().iadd_imm_s(c, Part::c_offset(token, vector, DType::F32));
                f.store_lane(merged, DType::F32, at, Access::Vector);
            }
        }
        Ok(())
    })
}

/// What a row's sums begin with, those of a group if one is given.
fn start_of(f: &mut Frame<'_>, part: &Part<'_>, row: usize, group: Option<Value>) -> Value {
    let (digit, token) = (row / part.tile.tokens, row % part.tile.tokens);
    let (start, step) = (field(f, part.table, Call::Start), field(f, part.table, Call::StartDigit));
    let skip = f.b.ins().imul_imm_s(step, digit as i64);
    let mut at = f.b.ins().iadd(start, skip);
    if let Some(index) = group {
        let step = field(f, part.table, Call::StartGroup);
        let skip = f.b.ins().imul(step, index);
        at = f.b.ins().iadd(at, skip);
    }
    let one = f.b.ins().load(types::I32, Frame::flags(), at, token as i32 * 4);
    f.b.ins().splat(types::I32X4, one)
}

/// Where the part's first vector of the panel lies, and the rows.
fn operands(f: &mut Frame<'_>, part: &Part<'_>) -> [Value; 2] {
    let w = field(f, part.table, Call::W);
    let skip = f.b.ins().imul_imm_s(part.first, (part.tile.operands.unit_bytes() / PANEL) as i64);
    [f.b.ins().iadd(w, skip), field(f, part.table, Call::X)]
}

fn integer_zeros(f: &mut Frame<'_>, part: &Part<'_>) -> Vec<Value> {
    let per_row = if part.is_pairs() { 2 } else { 1 };
    vec![f.splat_i32(0); part.tile.rows() * part.vectors * per_row]
}

/// The four channels' sums with that index.
fn channel_sums(f: &mut Frame<'_>, part: &Part<'_>, sums: &[Value], index: usize) -> Value {
    if part.is_pairs() { f.b.ins().iadd_pairwise(sums[2 * index], sums[2 * index + 1]) } else { sums[index] }
}

/// Adds the products of `units` units to `init`.
fn over_units(
    f: &mut Frame<'_>,
    part: &Part<'_>,
    operands: [Value; 2],
    units: Value,
    init: &[Value],
) -> Emit<Vec<Value>> {
    let zero = f.int(0);
    match part.tile.operands {
        Operands::Quads(form) => {
            f.for_carry(zero, units, 1, init, |f, unit, sums| Ok(quad_unit(f, part, form, operands, unit, sums)))
        }
        Operands::Floats { panel, compute } => {
            let main = if part.unroll > 1 { f.round_down(units, part.unroll) } else { units };
            let mut sums = init.to_vec();
            for (from, to, steps) in [(zero, main, part.unroll), (main, units, 1)] {
                sums = f.for_carry(from, to, steps, &sums, |f, unit, sums| {
                    let mut sums = sums.to_vec();
                    for step in 0..steps {
                        let unit = f.b.ins().iadd_imm_s(unit, step);
                        float_unit(f, part, [panel, compute], operands, unit, &mut sums);
                    }
                    Ok(sums)
                })?;
            }
            Ok(sums)
        }
    }
}

/// Where a unit of panel and rows lies.
fn at_unit(f: &mut Frame<'_>, part: &Part<'_>, operands: [Value; 2], unit: Value) -> [Value; 2] {
    let tile = part.tile;
    let bytes = [tile.operands.unit_bytes(), tile.rows() * tile.operands.x_bytes()];
    let mut at = operands;
    for (at, bytes) in at.iter_mut().zip(bytes) {
        let skip = f.b.ins().imul_imm_s(unit, bytes as i64);
        *at = f.b.ins().iadd(*at, skip);
    }
    at
}

/// One unit of every sum. Operands are read-only while a tile runs, so Cranelift loads each where it
/// is first used.
fn quad_unit(
    f: &mut Frame<'_>,
    part: &Part<'_>,
    form: QuadForm,
    operands: [Value; 2],
    unit: Value,
    sums: &[Value],
) -> Vec<Value> {
    let flags = Frame::flags().with_readonly().with_can_move();
    let [w, x] = at_unit(f, part, operands, unit);
    let is_pairs = part.is_pairs();
    let (item, vector) = if is_pairs { (types::I64, types::I64X2) } else { (types::I32, types::I32X4) };
    let to = if is_pairs { types::I16X8 } else { types::I8X16 };
    let xs: Vec<Value> = (0..part.tile.rows())
        .map(|row| {
            let item = f.b.ins().load(item, flags, x, (row * part.tile.operands.x_bytes()) as i32);
            let splat = f.b.ins().splat(vector, item);
            f.cast_bits(to, splat)
        })
        .collect();
    let mut next = sums.to_vec();
    for vector in 0..part.vectors {
        let at = (vector * 16) as i32;
        if is_pairs {
            for half in 0..2 {
                let w = match form.w {
                    Element::Unsigned => f.b.ins().uload8x8(flags, w, at + 8 * half as i32),
                    Element::Signed | Element::Word => f.b.ins().sload8x8(flags, w, at + 8 * half as i32),
                };
                for (row, x) in xs.iter().enumerate() {
                    let sum = &mut next[2 * part.sum(row, vector) + half];
                    *sum = accumulate_pairs(f, *x, w, *sum);
                }
            }
            continue;
        }
        let w = f.b.ins().load(types::I8X16, flags, w, at);
        for (row, x) in xs.iter().enumerate() {
            let sum = &mut next[part.sum(row, vector)];
            // The unsigned operand of a mixed product comes second.
            let [a, b] = if form.x == Element::Unsigned { [w, *x] } else { [*x, w] };
            *sum = accumulate(f, form.dot, a, b, *sum);
        }
    }
    next
}

/// `sum + x . w`, two products per lane.
fn accumulate_pairs(f: &mut Frame<'_>, x: Value, w: Value, sum: Value) -> Value {
    let (x_low, w_low) = (f.b.ins().swiden_low(x), f.b.ins().swiden_low(w));
    let (x_high, w_high) = (f.b.ins().swiden_high(x), f.b.ins().swiden_high(w));
    let (low, high) = (f.b.ins().imul(x_low, w_low), f.b.ins().imul(x_high, w_high));
    let pairs = f.b.ins().iadd_pairwise(low, high);
    f.b.ins().iadd(sum, pairs)
}

/// `sum + x . w`, four products per lane.
fn accumulate(f: &mut Frame<'_>, dot: DotForm, x: Value, w: Value, sum: Value) -> Value {
    let widen = |f: &mut Frame<'_>, w: Value| match dot {
        DotForm::UnsignedBytes => (f.b.ins().uwiden_low(w), f.b.ins().uwiden_high(w)),
        _ => (f.b.ins().swiden_low(w), f.b.ins().swiden_high(w)),
    };
    let (x_low, x_high) = (f.b.ins().swiden_low(x), f.b.ins().swiden_high(x));
    let (w_low, w_high) = widen(f, w);
    let halves = [f.b.ins().imul(x_low, w_low), f.b.ins().imul(x_high, w_high)];
    let [low, high] = halves.map(|half| {
        let (a, b) = (f.b.ins().swiden_low(half), f.b.ins().swiden_high(half));
        f.b.ins().iadd_pairwise(a, b)
    });
    let products = f.b.ins().iadd_pairwise(low, high);
    f.b.ins().iadd(products, sum)
}

/// One `k` of every sum, vector by vector: a decoded weight serves every row and is gone.
fn float_unit(
    f: &mut Frame<'_>,
    part: &Part<'_>,
    [panel, compute]: [DType; 2],
    operands: [Value; 2],
    unit: Value,
    sums: &mut [Value],
) {
    let [base, x] = at_unit(f, part, operands, unit);
    let factors: Vec<Vec<Value>> = (0..part.tile.rows())
        .map(|row| {
            let at = f.b.ins().iadd_imm_s(x, (row * part.tile.operands.x_bytes()) as i64);
            f.load_lane(compute, at, Access::One).parts()
        })
        .collect();
    for vector in 0..part.vectors {
        let at = f.b.ins().iadd_imm_s(base, (vector * LANES * panel.host_bytes()) as i64);
        let lane = f.load_lane(panel, at, Access::Vector);
        let w = f.as_class(lane, compute).parts();
        for (row, factor) in factors.iter().enumerate() {
            let first = part.sum(row, vector) * w.len();
            for (i, (w, factor)) in w.iter().zip(factor).enumerate() {
                let sum = &mut sums[first + i];
                *sum = if compute.is_float() {
                    f.b.ins().fma(*w, *factor, *sum)
                } else {
                    let product = f.b.ins().imul(*w, *factor);
                    f.b.ins().iadd(*sum, product)
                };
            }
        }
    }
}

/// Totals over groups, in registers from the first group to the last.
fn emit_groups(f: &mut Frame<'_>, part: &Part<'_>, group: &GroupForm) -> Emit<()> {
    let tile = part.tile;
    let c = part.c(f, group.total);
    let none = f.zero_lane(group.total);
    let per_total = none.parts().len();
    let mut totals = Vec::new();
    for token in 0..tile.tokens {
        for vector in 0..part.vectors {
            let at = f.b.ins().iadd_imm_s(c, Part::c_offset(token, vector, group.total));
            let held = f.load_lane(group.total, at, Access::Vector);
            totals.extend(choose(f, part.is_first, none, held).parts());
        }
    }
    let (zero, count) = (f.int(0), field(f, part.table, Call::K));
    let totals = f.for_carry(zero, count, 1, &totals, |f, index, totals| {
        let sums = group_sums(f, part, group, index)?;
        let mut next = Vec::new();
        for token in 0..tile.tokens {
            for vector in 0..part.vectors {
                let total = token * part.vectors + vector;
                let total = rebuild(none, &totals[total * per_total..(total + 1) * per_total]);
                next.extend(add_group(f, part, group, index, &sums, [token, vector], total)?.parts());
            }
        }
        Ok(next)
    })?;
    for token in 0..tile.tokens {
        for vector in 0..part.vectors {
            let total = token * part.vectors + vector;
            let lane = rebuild(none, &totals[total * per_total..(total + 1) * per_total]);
            let at = f.b.ins().iadd_imm_s(c, Part::c_offset(token, vector, group.total));
            f.store_lane(lane, group.total, at, Access::Vector);
        }
    }
    Ok(())
}

/// The sums of a group, a lane for each row and vector of channels.
fn group_sums(f: &mut Frame<'_>, part: &Part<'_>, group: &GroupForm, index: Value) -> Emit<Vec<Lane>> {
    let first = f.b.ins().imul_imm_s(index, i64::from(group.units));
    let operands = operands(f, part);
    let operands = at_unit(f, part, operands, first);
    let units = f.int(group.units.into());
    let Operands::Floats { compute, .. } = part.tile.operands else {
        let init = integer_zeros(f, part);
        let sums = over_units(f, part, operands, units, &init)?;
        let mut lanes = Vec::new();
        for row in 0..part.tile.rows() {
            let start = group.has_start.then(|| start_of(f, part, row, Some(index)));
            for vector in 0..part.vectors {
                let mut sum = channel_sums(f, part, &sums, part.sum(row, vector));
                if let Some(start) = start {
                    sum = f.b.ins().iadd(sum, start);
                }
                lanes.push(Lane::I32(sum));
            }
        }
        return Ok(lanes);
    };
    let none = f.zero_lane(compute);
    let init = none.parts().repeat(part.tile.rows() * part.vectors);
    let sums = over_units(f, part, operands, units, &init)?;
    Ok(sums.chunks(none.parts().len()).map(|sum| rebuild(none, sum)).collect())
}

/// `total + merged * (scale * unit)` of a token and a vector of channels.
fn add_group(
    f: &mut Frame<'_>,
    part: &Part<'_>,
    group: &GroupForm,
    index: Value,
    sums: &[Lane],
    [token, vector]: [usize; 2],
    total: Lane,
) -> Emit<Lane> {
    let tile = part.tile;
    let digits = part.digits(sums, token, vector);
    let of_channel = |f: &mut Frame<'_>, first: Call, dtype: DType| {
        let first = field(f, part.table, first);
        let skip = f.b.ins().imul_imm_s(index, PANEL as i64 * 4);
        let at = f.b.ins().iadd(first, skip);
        let of_part = f.b.ins().imul_imm_s(part.first, 4);
        let at = f.b.ins().iadd(at, of_part);
        let at = f.b.ins().iadd_imm_s(at, (vector * LANES * 4) as i64);
        f.load_lane(dtype, at, Access::Vector)
    };
    let of_token = |f: &mut Frame<'_>, first: Call, step: Call, dtype: DType| {
        let (first, step) = (field(f, part.table, first), field(f, part.table, step));
        let skip = f.b.ins().imul(step, index);
        let at = f.b.ins().iadd(first, skip);
        let at = f.b.ins().iadd_imm_s(at, (token * dtype.host_bytes()) as i64);
        f.load_lane(dtype, at, Access::One)
    };
    let merged = if matches!(tile.operands, Operands::Floats { .. }) {
        f.merged_floats(&digits, group.merge.weights)?
    } else {
        let zero = group.zero.map(|dtype| {
            let zero = of_channel(f, Call::Zero, dtype);
            let rows = if group.merge.is_narrow { DType::I32 } else { DType::F64 };
            (of_token(f, Call::Rows, Call::RowsGroup, rows), zero)
        });
        f.merged_integers(&digits, group.merge, zero)?
    };
    // What is added up in F64 is not rounded before.
    let merged = if group.total == DType::F64 { merged } else { Lane::F32(f.f32_of(merged)) };
    let mut factors = vec![of_channel(f, Call::Scale, DType::F32)];
    if group.has_unit {
        factors.push(of_token(f, Call::Unit, Call::UnitGroup, DType::F32));
    }
    f.add_scaled(merged, &factors, total)
}
