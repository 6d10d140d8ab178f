//! Products: the loops around tiles, and those that turn their sums into results, element by element,
//! while they are in the cache. How work is cut, the table of [`crate::blocking`] says at run time; what a
//! sum is merged to, `merge.rs`.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{FuncRef, InstBuilder, SigRef, Value, types};
use msd_ir::dim::Dim;

use super::frame::{Emit, Frame};
use super::lanes::{Lane, WIDTH};
use super::region::Row;
use super::tokens::{Block, Blocks};
use crate::blocking::{ENTRIES, Entry, TERM_ENTRIES, TermEntry, area_bytes, k_block};
use crate::micro::Emitter;
use crate::schedule::{Product, Term, View};
use crate::tile::{C_ROW, Call, LINE, PANEL, Sum};

/// Where the loops are.
struct Unit {
    /// Indices of the batch.
    batch: Vec<Value>,
    /// First panel of the unit, how many there are, and whether they are the last.
    panel: Value,
    panels: Value,
    is_last_column: Value,
    /// Blocks of tokens: all, from and to, and the first of their tokens.
    blocks: Blocks,
    from: Value,
    to: Value,
    first: Value,
    is_last_turn: Value,
}

/// What tiles of a term read, in the batch and from the panels of a unit.
struct Operands<'t> {
    term: &'t Term,
    /// Place among the terms.
    index: usize,
    emitter: Emitter,
    /// All tokens of the batch.
    tokens: Dim,
    w: Value,
    w_panel: Value,
    /// Rows of the first token.
    x: Value,
    /// Where sums lie, and the bytes of one token's.
    c: Value,
    c_token: i64,
    /// Starts of the first token.
    start: Option<Value>,
    unit: Option<Value>,
    /// Merged row sums, and their bytes.
    rows: Option<(Value, i64)>,
    scale: Option<Value>,
    zero: Option<Value>,
    /// The result and the leaves of steps that tiles do.
    ends: Vec<End>,
}

/// What tiles read or write for each token or channel of the result.
struct End {
    fields: (Call, Call),
    /// Of the first token and the unit's first channel.
    first: Value,
    token_step: Value,
    /// Bytes from channel to channel.
    channel: i64,
}

impl Frame<'_> {
    /// `table` is where the product's entries begin; `tile` the signature of tiles, and `release` what is called when
    /// all are done.
    pub(crate) fn emit_product(
        &mut self,
        product: &Product,
        table: usize,
        (tile, release): (SigRef, Option<FuncRef>),
    ) -> Emit<()> {
        let batch_shape = &product.out.shape[..product.out.shape.len() - 2];
        let batches = batch_shape.iter().try_fold(Dim::constant(1), |n, d| n.mul(d));
        let batches = self.dim(&batches.unwrap_or(Dim::constant(1)))?;
        let entry = |f: &mut Self, entry: Entry| f.entry(table + entry as usize);
        let (turns, columns) = (entry(self, Entry::Turns), entry(self, Entry::Columns));
        let blocks = self.token_blocks(&product.out.size_from_end(1), product.limits.tokens());
        let call = self.scratch(Call::BYTES);
        let (begin, end) = (self.begin, self.end);
        let none = self.int(0);
        self.b.ins().store(Frame::flags(), none, call, Call::Shapes.offset());
        self.for_range(begin, end, 1, |f, unit| {
            let turn = f.b.ins().urem(unit, turns);
            let rest = f.b.ins().udiv(unit, turns);
            let batch = f.b.ins().urem(rest, batches);
            let column = f.b.ins().udiv(rest, batches);
            let [wide, last, together] = [Entry::Panels, Entry::LastPanels, Entry::Together].map(|name| entry(f, name));
            let next = f.b.ins().iadd_imm_s(column, 1);
            let is_last_column = f.b.ins().icmp(IntCC::Equal, next, columns);
            let panels = f.b.ins().select(is_last_column, last, wide);
            let panel = f.b.ins().imul(column, wide);
            let from = f.b.ins().imul(turn, together);
            let to = f.b.ins().iadd(from, together);
            let to = f.b.ins().smin(to, blocks.count);
            let first = f.block(blocks, from).token;
            let batch = f.unflatten(batch, batch_shape)?;
            let is_last_turn = f.b.ins().icmp(IntCC::Equal, to, blocks.count);
            let unit = Unit { batch, panel, panels, is_last_column, blocks, from, to, first, is_last_turn };
            let mut operands = Vec::new();
            for (index, term) in product.region.terms.iter().enumerate() {
                let operand = f.operands(product, index, term, &unit)?;
                f.sum_term(&operand, &unit, table, (call, tile))?;
                operands.push(operand);
            }
            if product.finish.is_some() {
                return Ok(());
            }
            let area = entry(f, Entry::Area);
            f.finish(product, &operands, &unit, area)
        })?;
        if let Some(release) = release {
            self.b.ins().call(release, &[]);
        }
        Ok(())
    }

    fn operands<'t>(&mut self, product: &Product, index: usize, term: &'t Term, unit: &Unit) -> Emit<Operands<'t>> {
        let batch_shape = &product.out.shape[..product.out.shape.len() - 2];
        let at_panel = |f: &mut Self, view: &View| -> Emit<(Value, Value)> {
            let view = view.stretched_outer(batch_shape);
            let (start, step) = (f.locate(&view, &unit.batch)?, f.step_bytes(&view, 1)?);
            let skip = f.b.ins().imul(unit.panel, step);
            Ok((f.b.ins().iadd(start, skip), step))
        };
        let rows_at = |f: &mut Self, view: &View| -> Emit<Value> {
            let view = view.stretched_outer(batch_shape);
            f.locate(&view, &unit.batch)
        };
        let (w, w_panel) = at_panel(self, &term.w)?;
        let x_view = product.rows[index].stretched_outer(batch_shape);
        let x = self.locate(&x_view, &unit.batch)?;
        let c_token = (term.sum_rows() * C_ROW * term.sum.c_dtype(&term.operands).host_bytes()) as i64;
        let groups = term.groups.as_ref();
        let start = term.start.as_ref().map(|view| rows_at(self, view)).transpose()?;
        let factor = groups.and_then(|g| g.unit.as_ref()).map(|view| rows_at(self, view)).transpose()?;
        let zeros = groups.and_then(|g| g.zero.as_ref());
        let rows = match zeros {
            Some((_, rows)) => Some((rows_at(self, rows)?, rows.dtype.host_bytes() as i64)),
            None => None,
        };
        let scale = groups.map(|g| at_panel(self, &g.scale)).transpose()?.map(|(at, _)| at);
        let zero = zeros.map(|(zero, _)| at_panel(self, zero)).transpose()?.map(|(at, _)| at);
        let c = self.thread_memory(product.scratch[index])?;
        let mut ends = Vec::new();
        if let Some((_, leaves)) = &product.finish {
            let fields = Call::LEAVES.iter().copied().zip(leaves);
            for (fields, view) in fields.chain([((Call::Out, Call::OutToken), &product.out)]) {
                let is_of_channels = view.stride_from_end(0).is_one();
                let channel = if is_of_channels { view.dtype.host_bytes() as i64 } else { 0 };
                let (first, token_step) = (self.locate(view, &unit.batch)?, self.step_bytes(view, 1)?);
                let skip = self.b.ins().imul_imm_s(unit.panel, PANEL as i64 * channel);
                ends.push(End { fields, first: self.b.ins().iadd(first, skip), token_step, channel });
            }
        }
        let (emitter, tokens) = (product.limits.emitter(index), product.out.size_from_end(1));
        Ok(Operands {
            term,
            index,
            emitter,
            tokens,
            w,
            w_panel,
            x,
            c,
            c_token,
            start,
            unit: factor,
            rows,
            scale,
            zero,
            ends,
        })
    }

    /// Fields of the table that stay the same for all calls of a unit.
    fn fill_call(&mut self, o: &Operands<'_>, call: Value) -> Emit<()> {
        let set = |f: &mut Self, field: Call, value: Value| {
            f.b.ins().store(Frame::flags(), value, call, field.offset());
        };
        set(self, Call::WPanel, o.w_panel);
        for end in &o.ends {
            set(self, end.fields.1, end.token_step);
        }
        if let Some(start) = &o.term.start {
            let rows = self.dim(&start.size_from_end(0))?;
            let tokens = self.b.ins().udiv_imm_u(rows, o.term.digits() as i64);
            let digit = self.b.ins().imul_imm_s(tokens, 4);
            let group = self.step_bytes(start, 1)?;
            set(self, Call::StartDigit, digit);
            set(self, Call::StartGroup, group);
        }
        let Some(groups) = &o.term.groups else { return Ok(()) };
        let scale = self.step_bytes(&groups.scale, 1)?;
        set(self, Call::ScalePanel, scale);
        if let Some(unit) = &groups.unit {
            let step = self.step_bytes(unit, 1)?;
            set(self, Call::UnitGroup, step);
        }
        if let Some((zero, rows)) = &groups.zero {
            let (zero, rows) = (self.step_bytes(zero, 1)?, self.step_bytes(rows, 1)?);
            set(self, Call::ZeroPanel, zero);
            set(self, Call::RowsGroup, rows);
        }
        Ok(())
    }

    /// Sums of a term for all tokens and channels of a unit, into scratch memory: for each block of K and strip of
    /// panels all blocks of tokens.
    fn sum_term(&mut self, o: &Operands<'_>, unit: &Unit, table: usize, (call, tile): (Value, SigRef)) -> Emit<()> {
        let term = o.term;
        self.fill_call(o, call)?;
        let k = self.dim(&term.x.size_from_end(0))?;
        // What K counts: units, or groups.
        let (count, units) = match (&term.groups, term.sum) {
            (Some(groups), Sum::Groups(form)) => (self.b.ins().udiv_imm_u(k, groups.size as i64), form.units.into()),
            _ => {
                let depth = term.operands.unit_depth() as i64;
                let k = self.b.ins().iadd_imm_s(k, depth - 1);
                (self.b.ins().udiv_imm_u(k, depth), 1)
            }
        };
        let w_step = units * term.operands.unit_bytes() as i64;
        let x_step = units * (term.digits() * term.operands.x_bytes()) as i64;
        // Rows lie in as many units at a time.
        let row_units = (o.emitter.row_depth(&term.operands) / term.operands.unit_depth()) as i64;
        let tokens = self.dim(&o.tokens)?;
        // The next block of the weights is fetched while this one is multiplied with every block of tokens: of each
        // cache line a share, rounded up.
        let blocks = self.b.ins().isub(unit.to, unit.from);
        let more = self.b.ins().iadd_imm_s(blocks, LINE as i64 - 1);
        let ahead_step = self.b.ins().udiv(more, blocks);
        self.b.ins().store(Frame::flags(), ahead_step, call, Call::AheadStep.offset());
        let most = self.int(k_block(term) as i64);
        let most = self.b.ins().udiv(most, unit.blocks.k_parts);
        // Even nothing is multiplied once, so that sums are there.
        let (zero, one) = (self.int(0), self.int(1));
        let end = self.b.ins().smax(count, one);
        let more = self.b.ins().iadd(end, most);
        let more = self.b.ins().iadd_imm_s(more, -1);
        let k_blocks = self.b.ins().udiv(more, most);
        self.for_range(zero, k_blocks, 1, |f, index| {
            let from = f.b.ins().imul(index, most);
            let left = f.b.ins().isub(count, from);
            let now = f.b.ins().smin(left, most);
            let w_skip = f.b.ins().imul_imm_s(from, w_step);
            let w = f.b.ins().iadd(o.w, w_skip);
            let is_first = f.b.ins().icmp_imm_s(IntCC::Equal, from, 0);
            let is_first = f.b.ins().uextend(types::I64, is_first);
            let bytes = f.b.ins().imul_imm_s(now, w_step);
            let ahead = f.next_block(o, unit, w, bytes, (from, now, count));
            let lines = f.b.ins().ushr_imm_s(bytes, LINE.trailing_zeros() as i64);
            let share = f.b.ins().imul(lines, ahead_step);
            // Of all tokens what is before, and of one what is here.
            let x_skip = f.b.ins().imul_imm_s(from, x_step);
            let x_skip = f.b.ins().imul(x_skip, tokens);
            let x = f.b.ins().iadd(o.x, x_skip);
            let more = f.b.ins().iadd_imm_s(now, row_units - 1);
            let rows = f.b.ins().band_imm_s(more, -row_units);
            let x_token = f.b.ins().imul_imm_s(rows, x_step);
            let done = f.b.ins().iadd(from, now);
            let is_last_of_k = f.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, done, count);
            let is_last_of_k = f.b.ins().uextend(types::I64, is_last_of_k);
            for (field, value) in [(Call::First, is_first), (Call::Last, is_last_of_k)] {
                f.b.ins().store(Frame::flags(), value, call, field.offset());
            }
            let [strip, area] = [Entry::Strip, Entry::Area].map(|name| f.entry(table + name as usize));
            let strip_bytes = f.b.ins().imul(strip, o.w_panel);
            let more = f.b.ins().iadd(unit.panels, strip);
            let more = f.b.ins().iadd_imm_s(more, -1);
            let strips = f.b.ins().udiv(more, strip);
            f.for_range(zero, strips, 1, |f, number| {
                let skip = f.b.ins().imul(number, strip_bytes);
                let (w, ahead) = (f.b.ins().iadd(w, skip), f.b.ins().iadd(ahead, skip));
                let panel = f.b.ins().imul(number, strip);
                let next = f.b.ins().iadd_imm_s(number, 1);
                let is_last_strip = f.b.ins().icmp(IntCC::Equal, next, strips);
                let is_last_strip = f.b.ins().band(is_last_strip, unit.is_last_column);
                let (number, within) = (f.b.ins().udiv(panel, area), f.b.ins().urem(panel, area));
                let c = f.c_of_area(o, number);
                let element = term.sum.c_dtype(&term.operands).host_bytes();
                let skip = f.b.ins().imul_imm_s(within, (PANEL * element) as i64);
                let c = f.b.ins().iadd(c, skip);
                let place = Place { w, x, x_token, panel, c, is_last_strip, from, now, ahead, share };
                f.for_range(unit.from, unit.to, 1, |f, index| {
                    let block = f.block(unit.blocks, index);
                    f.call_tile(o, unit, &block, table, place, (call, tile))
                })
            })
        })
    }

    /// Where the weights are read after the block at `w`: its neighbour along K, the same panels again for
    /// other tokens, or the next panels.
    fn next_block(
        &mut self,
        o: &Operands<'_>,
        unit: &Unit,
        w: Value,
        bytes: Value,
        (from, now, count): (Value, Value, Value),
    ) -> Value {
        let neighbour = self.b.ins().iadd(w, bytes);
        let skip = self.b.ins().imul(o.w_panel, unit.panels);
        let next = self.b.ins().iadd(o.w, skip);
        let panels = self.b.ins().select(unit.is_last_turn, next, o.w);
        let done = self.b.ins().iadd(from, now);
        let has_more = self.b.ins().icmp(IntCC::SignedLessThan, done, count);
        self.b.ins().select(has_more, neighbour, panels)
    }

    fn call_tile(
        &mut self,
        o: &Operands<'_>,
        unit: &Unit,
        block: &Block,
        table: usize,
        at: Place,
        (call, tile): (Value, SigRef),
    ) -> Emit<()> {
        let term = o.term;
        let set = |f: &mut Self, field: Call, value: Value| {
            f.b.ins().store(Frame::flags(), value, call, field.offset());
        };
        set(self, Call::W, at.w);
        set(self, Call::K, at.now);
        let skip = self.b.ins().imul(block.token, at.x_token);
        let x = self.b.ins().iadd(at.x, skip);
        set(self, Call::X, x);
        let c = self.c_of(o, unit, block.token);
        let c = self.b.ins().iadd(c, at.c);
        set(self, Call::C, c);
        let number = self.b.ins().isub(block.index, unit.from);
        let skip = self.b.ins().imul(at.share, number);
        let ahead = self.b.ins().iadd(at.ahead, skip);
        set(self, Call::Ahead, ahead);
        // The first element of the block, some groups on.
        let of_tokens = |f: &mut Self, first: Value, bytes: i64, group: Option<Call>| {
            let skip = f.b.ins().imul_imm_s(block.token, bytes);
            let first = f.b.ins().iadd(first, skip);
            let Some(group) = group else { return first };
            let step = f.b.ins().load(types::I64, Frame::flags(), call, group.offset());
            let skip = f.b.ins().imul(step, at.from);
            f.b.ins().iadd(first, skip)
        };
        let is_grouped = term.groups.is_some();
        if let Some(start) = o.start {
            let start = of_tokens(self, start, 4, is_grouped.then_some(Call::StartGroup));
            set(self, Call::Start, start);
        }
        if let Some(unit) = o.unit {
            let unit = of_tokens(self, unit, 4, Some(Call::UnitGroup));
            set(self, Call::Unit, unit);
        }
        if let Some((rows, bytes)) = o.rows {
            let rows = of_tokens(self, rows, bytes, Some(Call::RowsGroup));
            set(self, Call::Rows, rows);
        }
        for (field, first, step) in [(Call::Scale, o.scale, Call::ScalePanel), (Call::Zero, o.zero, Call::ZeroPanel)] {
            if let Some(first) = first {
                let skip = self.b.ins().imul_imm_s(at.from, PANEL as i64 * 4);
                let first = self.b.ins().iadd(first, skip);
                let step = self.b.ins().load(types::I64, Frame::flags(), call, step.offset());
                let skip = self.b.ins().imul(step, at.panel);
                let first = self.b.ins().iadd(first, skip);
                set(self, field, first);
            }
        }
        for end in &o.ends {
            let skip = self.b.ins().imul(block.token, end.token_step);
            let first = self.b.ins().iadd(end.first, skip);
            let skip = self.b.ins().imul_imm_s(at.panel, PANEL as i64 * end.channel);
            let first = self.b.ins().iadd(first, skip);
            set(self, end.fields.0, first);
        }
        let entry = |f: &mut Self, entry: TermEntry| f.entry(table + ENTRIES + o.index * TERM_ENTRIES + entry as usize);
        let [head, last_head, tail, last_tail] =
            [TermEntry::Head, TermEntry::LastHead, TermEntry::Tail, TermEntry::LastTail].map(|e| entry(self, e));
        let head = self.b.ins().select(at.is_last_strip, last_head, head);
        let tail = self.b.ins().select(at.is_last_strip, last_tail, tail);
        let address = self.b.ins().select(block.is_head, head, tail);
        self.b.ins().call_indirect(tile, address, &[call]);
        Ok(())
    }

    /// Where the sums of a block lie whose first token is `token`.
    fn c_of(&mut self, o: &Operands<'_>, unit: &Unit, token: Value) -> Value {
        let number = self.b.ins().isub(token, unit.first);
        let skip = self.b.ins().imul_imm_s(number, o.c_token);
        self.b.ins().iadd(o.c, skip)
    }

    /// Bytes to the sums of an area of the unit.
    fn c_of_area(&mut self, o: &Operands<'_>, number: Value) -> Value {
        self.b.ins().imul_imm_s(number, area_bytes(o.term, o.emitter) as i64)
    }

    /// From the sums of a unit to elements of the result.
    fn finish(&mut self, product: &Product, operands: &[Operands<'_>], unit: &Unit, area: Value) -> Emit<()> {
        let channels = self.dim(&product.out.size_from_end(0))?;
        let (from, to, zero) = (unit.from, unit.to, self.int(0));
        let step = self.b.ins().imul_imm_s(area, PANEL as i64);
        let more = self.b.ins().iadd(unit.panels, area);
        let more = self.b.ins().iadd_imm_s(more, -1);
        let areas = self.b.ins().udiv(more, area);
        self.for_range(zero, areas, 1, |f, number| {
            let panel = f.b.ins().imul(number, area);
            let skips: Vec<Value> = operands.iter().map(|o| f.c_of_area(o, number)).collect();
            let before = f.b.ins().iadd(unit.panel, panel);
            let first = f.b.ins().imul_imm_s(before, PANEL as i64);
            let left = f.b.ins().isub(channels, first);
            let of_unit = f.b.ins().isub(unit.panels, panel);
            let of_unit = f.b.ins().imul_imm_s(of_unit, PANEL as i64);
            let width = f.b.ins().smin(left, of_unit);
            let width = f.b.ins().smin(width, step);
            f.for_range(from, to, 1, |f, index| {
                let block = f.block(unit.blocks, index);
                let mut sums = Vec::new();
                for (o, skip) in operands.iter().zip(&skips) {
                    let c = f.c_of(o, unit, block.token);
                    sums.push(f.b.ins().iadd(c, *skip));
                }
                f.for_range(zero, block.count, 1, |f, number| {
                    let token = f.b.ins().iadd(block.token, number);
                    let indices: Vec<Value> = unit.batch.iter().copied().chain([token]).collect();
                    let row = f.enter_row(&product.region, &indices)?;
                    let target = f.locate(&product.out, &indices)?;
                    let mut rows = Vec::new();
                    for (o, c) in operands.iter().zip(&sums) {
                        rows.push(f.sums_row(o, *c, number, &block, &indices)?);
                    }
                    let columns = Columns { first, width };
                    f.finish_row(product, &row, &rows, target, columns)
                })
            })
        })
    }

    /// A token's sums of a term, and what is taken off them.
    fn sums_row<'t>(
        &mut self,
        o: &Operands<'t>,
        c: Value,
        number: Value,
        block: &Block,
        indices: &[Value],
    ) -> Emit<SumsRow<'t>> {
        let row_bytes = (C_ROW * o.term.sum.c_dtype(&o.term.operands).host_bytes()) as i64;
        let skip = self.b.ins().imul_imm_s(number, row_bytes);
        let first = self.b.ins().iadd(c, skip);
        let digit = self.b.ins().imul_imm_s(block.count, row_bytes);
        self.prepare_merge(o.term, first, digit, indices)
    }

    fn finish_row(
        &mut self,
        product: &Product,
        row: &Row<'_>,
        sums: &[SumsRow<'_>],
        target: Value,
        columns: Columns,
    ) -> Emit<()> {
        // Units are whole panels, but for the last channels.
        let is_whole = product.out.size_from_end(0).as_constant().is_some_and(|n| n % WIDTH as u64 == 0);
        let loops = if is_whole { 1 } else { 2 };
        for (from, to, width) in self.in_lanes(columns.width).into_iter().take(loops) {
            self.for_range(from, to, width, |f, column| {
                let is_vector = width == WIDTH;
                let channel = f.b.ins().iadd(columns.first, column);
                let mut terms = Vec::new();
                for sums in sums {
                    terms.push(f.merged(sums, column, channel, is_vector)?);
                }
                let lane = f.region_at(row, channel, is_vector, &terms)?;
                f.store_result(lane, &product.out, target, channel, is_vector)
            })?;
        }
        Ok(())
    }
}

/// Channels of an area: the first, and how many.
#[derive(Clone, Copy)]
struct Columns {
    first: Value,
    width: Value,
}

/// Where a call of a tile is.
#[derive(Clone, Copy)]
struct Place {
    w: Value,
    /// Rows of the first token, and the bytes of one token's.
    x: Value,
    x_token: Value,
    /// First panel, in the unit, bytes to its sums, and whether the strip is the last of all.
    panel: Value,
    c: Value,
    is_last_strip: Value,
    /// Units or groups before it, and of it.
    from: Value,
    now: Value,
    /// Where the next block of the weights is, and the bytes of each panel that one call fetches of it.
    ahead: Value,
    share: Value,
}

/// A token's sums of a term.
pub(crate) struct SumsRow<'t> {
    pub(crate) term: &'t Term,
    /// Of the first digit and channel of the area; to the next digit.
    pub(crate) first: Value,
    pub(crate) digit: Value,
    /// What is added to the sums of each digit.
    pub(crate) excess: Vec<Lane>,
    /// Merged row sums, and where the zero points of the token lie.
    pub(crate) zero: Option<(Lane, Value)>,
}
