//! The Cranelift tile emitter: 128-bit vectors, every architecture. See [`crate::tile`] for the
//! contract. Cranelift has no opcode for byte dot products; an exact tree of widenings, products
//! and pairwise sums is folded into one instruction, so the trees below keep their operand order.

use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;
use msd_ir::dtype::DType;

use crate::isa::DotForm;
use crate::lower::frame::{Emit, Frame};
use crate::lower::lanes::{Access, Lane};
use crate::tile::{Element, PANEL, PanelTile, RowTile};

/// Arguments of a row tile.
struct RowArgs {
    w: Vec<Value>,
    x: Vec<Value>,
    k: Value,
    c: Value,
}

/// Emits a row tile for `channels` weight rows into an empty function.
pub(crate) fn emit_row_tile(b: FunctionBuilder<'_>, tile: RowTile, channels: usize, config: Config) -> Emit<()> {
    let mut used = Vec::new();
    let (mut f, arguments) = Frame::open_leaf(b, &mut used, crate::tile::TILE_ARGUMENTS);
    let rows = |f: &mut Frame<'_>, base: Value, stride: Value, count: usize| {
        let mut rows = vec![base];
        for _ in 1..count {
            let last = rows[rows.len() - 1];
            rows.push(f.b.ins().iadd(last, stride));
        }
        rows
    };
    let args = RowArgs {
        w: rows(&mut f, arguments[0], arguments[1], channels),
        x: rows(&mut f, arguments[2], arguments[3], tile.rows),
        k: arguments[4],
        c: arguments[5],
    };
    let step = if tile.form.dot == DotForm::Pairs { 8 } else { 16 };
    let zero = f.int(0);
    let main = f.round_down(args.k, step);
    let none = f.splat_i32(0);
    let sums = f.for_carry(zero, main, step, &vec![none; tile.rows * channels], |f, k, sums| {
        Ok(row_step(f, tile, &args, k, sums))
    })?;
    for row in 0..tile.rows {
        let of_row: Vec<Value> = (0..channels).map(|v| sums[v * tile.rows + row]).collect();
        if tile.is_narrow {
            store_sums(&mut f, &args, row, &of_row);
        } else {
            add_sums(&mut f, &args, row, &of_row);
        }
    }
    row_tail(&mut f, tile, &args, main)?;
    f.close(config);
    Ok(())
}

/// What ends a function.
pub(crate) type Config = cranelift_codegen::isa::TargetFrontendConfig;

/// One step along `k` of every accumulator, channel by channel. Operands are read-only while a
/// tile runs, so Cranelift loads each where it is first used: a channel's weights serve every row
/// and are gone, which is what lets twelve accumulators stay in sixteen registers.
fn row_step(f: &mut Frame<'_>, tile: RowTile, args: &RowArgs, k: Value, sums: &[Value]) -> Vec<Value> {
    let flags = Frame::flags().with_readonly().with_can_move();
    let load = |f: &mut Frame<'_>, base: Value, index: Value, element: Element| {
        let at = f.b.ins().iadd(base, index);
        match (tile.form.dot, element) {
            (_, Element::Word) => f.b.ins().load(types::I16X8, flags, at, 0),
            (DotForm::Pairs, Element::Signed) => f.b.ins().sload8x8(flags, at, 0),
            (DotForm::Pairs, Element::Unsigned) => f.b.ins().uload8x8(flags, at, 0),
            _ => f.b.ins().load(types::I8X16, flags, at, 0),
        }
    };
    let at = f.b.ins().imul_imm_s(k, tile.form.x_bytes());
    let xs: Vec<Value> = args.x.iter().map(|x| load(f, *x, at, tile.form.x)).collect();
    let mut next = sums.to_vec();
    for (v, w) in args.w.iter().enumerate() {
        let mut w = load(f, *w, k, tile.form.w);
        if tile.form.is_offset() && !tile.form.stored_offset {
            // w + 128 as an unsigned byte is w with its sign bit flipped.
            let high = f.b.ins().iconst(types::I8, -128);
            let high = f.b.ins().splat(types::I8X16, high);
            w = f.b.ins().bxor(w, high);
        }
        for (row, x) in xs.iter().enumerate() {
            let sum = &mut next[v * tile.rows + row];
            // The unsigned operand of a mixed product comes second.
            let [x, w] = if tile.form.x == Element::Unsigned { [w, *x] } else { [*x, w] };
            *sum = accumulate(f, tile.form.dot, x, w, *sum);
        }
    }
    next
}

/// `sum + x . w`, four (or for pairs two) products per lane.
fn accumulate(f: &mut Frame<'_>, dot: DotForm, x: Value, w: Value, sum: Value) -> Value {
    if dot == DotForm::Pairs {
        let (x_low, w_low) = (f.b.ins().swiden_low(x), f.b.ins().swiden_low(w));
        let (x_high, w_high) = (f.b.ins().swiden_high(x), f.b.ins().swiden_high(w));
        let (low, high) = (f.b.ins().imul(x_low, w_low), f.b.ins().imul(x_high, w_high));
        let pairs = f.b.ins().iadd_pairwise(low, high);
        return f.b.ins().iadd(sum, pairs);
    }
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

/// Adds the lanes of each channel's accumulator to `c`.
fn add_sums(f: &mut Frame<'_>, args: &RowArgs, row: usize, sums: &[Value]) {
    let at = |channel: usize| ((row * sums.len() + channel) * 8) as i32;
    if let [a, b, c, d] = *sums {
        let (low, high) = (f.b.ins().iadd_pairwise(a, b), f.b.ins().iadd_pairwise(c, d));
        let totals = f.b.ins().iadd_pairwise(low, high);
        let wide = [f.b.ins().swiden_low(totals), f.b.ins().swiden_high(totals)];
        for (i, wide) in wide.into_iter().enumerate() {
            let old = f.b.ins().load(types::I64X2, Frame::flags(), args.c, at(2 * i));
            let new = f.b.ins().iadd(old, wide);
            f.b.ins().store(Frame::flags(), new, args.c, at(2 * i));
        }
        return;
    }
    for (channel, sum) in sums.iter().enumerate() {
        let mut total = f.int(0);
        for lane in 0..4u8 {
            let part = f.b.ins().extractlane(*sum, lane);
            let part = f.b.ins().sextend(types::I64, part);
            total = f.b.ins().iadd(total, part);
        }
        add_to(f, args.c, at(channel), total);
    }
}

/// Stores the lanes of each channel's accumulator, added up in I32.
fn store_sums(f: &mut Frame<'_>, args: &RowArgs, row: usize, sums: &[Value]) {
    let at = |channel: usize| ((row * sums.len() + channel) * 4) as i32;
    if let [a, b, c, d] = *sums {
        let (low, high) = (f.b.ins().iadd_pairwise(a, b), f.b.ins().iadd_pairwise(c, d));
        let totals = f.b.ins().iadd_pairwise(low, high);
        f.b.ins().store(Frame::flags(), totals, args.c, at(0));
        return;
    }
    for (channel, sum) in sums.iter().enumerate() {
        let pairs = f.b.ins().iadd_pairwise(*sum, *sum);
        let total = f.b.ins().iadd_pairwise(pairs, pairs);
        let total = f.b.ins().extractlane(total, 0);
        f.b.ins().store(Frame::flags(), total, args.c, at(channel));
    }
}

fn add_to(f: &mut Frame<'_>, c: Value, offset: i32, value: Value) {
    let kind = f.b.func.dfg.value_type(value);
    let old = f.b.ins().load(kind, Frame::flags(), c, offset);
    let new = f.b.ins().iadd(old, value);
    f.b.ins().store(Frame::flags(), new, c, offset);
}

/// The last few `k`, one at a time, so that no row is read beyond its end.
fn row_tail(f: &mut Frame<'_>, tile: RowTile, args: &RowArgs, from: Value) -> Emit<()> {
    let (sum, bytes) = if tile.is_narrow { (types::I32, 4) } else { (types::I64, 8) };
    let one = |f: &mut Frame<'_>, base: Value, index: Value, element: Element| {
        let (at, flags) = (f.b.ins().iadd(base, index), Frame::flags());
        match element {
            Element::Word => f.b.ins().sload16(sum, flags, at, 0),
            Element::Signed => f.b.ins().sload8(sum, flags, at, 0),
            Element::Unsigned => f.b.ins().uload8(sum, flags, at, 0),
        }
    };
    let stored = if tile.form.stored_offset { Element::Unsigned } else { tile.form.w };
    f.for_range(from, args.k, 1, |f, k| {
        let at = f.b.ins().imul_imm_s(k, tile.form.x_bytes());
        let xs: Vec<Value> = args.x.iter().map(|x| one(f, *x, at, tile.form.x)).collect();
        for (v, w) in args.w.iter().enumerate() {
            let mut w = one(f, *w, k, stored);
            if tile.form.is_offset() && !tile.form.stored_offset {
                w = f.b.ins().iadd_imm_s(w, 128);
            }
            for (row, x) in xs.iter().enumerate() {
                let product = f.b.ins().imul(*x, w);
                add_to(f, args.c, ((row * args.w.len() + v) * bytes) as i32, product);
            }
        }
        Ok(())
    })
}

/// Emits a panel tile into an empty function.
pub(crate) fn emit_panel_tile(b: FunctionBuilder<'_>, tile: PanelTile, config: Config) -> Emit<()> {
    let mut used = Vec::new();
    let (mut f, arguments) = Frame::open_leaf(b, &mut used, crate::tile::TILE_ARGUMENTS);
    let [panel, a, a_stride, k, c, c_stride] = [0, 1, 2, 3, 4, 5].map(|i| arguments[i]);
    let start = f.zero_lane(tile.compute);
    // A vector of four takes one register, or two of wide elements.
    let parts = start.parts().len();
    let vectors = PANEL / 4;
    let mut rows = vec![a];
    for _ in 1..tile.rows {
        let last = rows[rows.len() - 1];
        rows.push(f.b.ins().iadd(last, a_stride));
    }
    let zero = f.int(0);
    let main = f.round_down(k, UNROLL);
    let mut sums = start.parts().repeat(tile.rows * vectors);
    for (from, to, steps) in [(zero, main, UNROLL), (main, k, 1)] {
        sums = f.for_carry(from, to, steps, &sums, |f, k, sums| {
            let mut sums = sums.to_vec();
            for step in 0..steps {
                let k = f.b.ins().iadd_imm_s(k, step);
                panel_step(f, tile, panel, &rows, k, &mut sums);
            }
            Ok(sums)
        })?;
    }
    let mut target = c;
    for row in 0..tile.rows {
        if row > 0 {
            target = f.b.ins().iadd(target, c_stride);
        }
        for v in 0..vectors {
            for part in 0..parts {
                let sum = sums[(v * tile.rows + row) * parts + part];
                f.b.ins().store(Frame::flags(), sum, target, ((v * parts + part) * 16) as i32);
            }
        }
    }
    f.close(config);
    Ok(())
}

/// Steps per round of a panel tile. Cranelift's multiply-add overwrites a factor, so each round
/// ends with a move, and for a few accumulators a trip through the stack, that this amortises.
const UNROLL: i64 = 4;

/// One step along `k` of every accumulator, vector by vector: a decoded weight serves every row
/// and is gone.
fn panel_step(f: &mut Frame<'_>, tile: PanelTile, panel: Value, rows: &[Value], k: Value, sums: &mut [Value]) {
    let bytes = tile.panel.host_bytes() as i64;
    let a_offset = f.b.ins().imul_imm_s(k, tile.compute.host_bytes() as i64);
    let mut factors = Vec::new();
    for row in rows {
        let at = f.b.ins().iadd(*row, a_offset);
        factors.push(f.load_lane(tile.compute, at, Access::One).parts());
    }
    let w_offset = f.b.ins().imul_imm_s(k, PANEL as i64 * bytes);
    let base = f.b.ins().iadd(panel, w_offset);
    for pair in 0..PANEL / 8 {
        let at = f.b.ins().iadd_imm_s(base, pair as i64 * 8 * bytes);
        for (half, lane) in load_pair(f, tile.panel, at).into_iter().enumerate() {
            let v = 2 * pair + half;
            let w = f.as_class(lane, tile.compute).parts();
            for (row, factor) in factors.iter().enumerate() {
                let first = (v * tile.rows + row) * w.len();
                for (part, (w, factor)) in w.iter().zip(factor).enumerate() {
                    let sum = &mut sums[first + part];
                    *sum = if tile.compute.is_float() {
                        f.b.ins().fma(*w, *factor, *sum)
                    } else {
                        let product = f.b.ins().imul(*w, *factor);
                        f.b.ins().iadd(*sum, product)
                    };
                }
            }
        }
    }
}

/// Eight neighbouring elements as two lanes; bytes widen together.
fn load_pair(f: &mut Frame<'_>, dtype: DType, at: Value) -> [Lane; 2] {
    let words = match dtype {
        DType::I8 | DType::I4 => f.b.ins().sload8x8(Frame::flags(), at, 0),
        DType::U8 | DType::U4 => f.b.ins().uload8x8(Frame::flags(), at, 0),
        _ => {
            let high = f.b.ins().iadd_imm_s(at, 4 * dtype.host_bytes() as i64);
            return [at, high].map(|at| f.load_lane(dtype, at, Access::Vector));
        }
    };
    // Both extensions leave values in the range of signed words.
    [f.b.ins().swiden_low(words), f.b.ins().swiden_high(words)].map(Lane::I32)
}
