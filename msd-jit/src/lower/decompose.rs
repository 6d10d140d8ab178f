//! Splitting token rows into digits (docs/numerics.md): the loops over rows, their blocks and elements, where
//! digits and their sums go, and which of it machine code does. The arithmetic is `splitter.rs`'s.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{FuncRef, InstBuilder, Value, types};
use msd_ir::dtype::DType;

use super::frame::{Emit, Frame};
use super::lanes::{Access, Lane, WIDTH};
use super::places::{KBlocks, Place, Target, Units};
use super::region::split_last;
use super::splitter::{RowScale, Splitter};
use crate::micro::split::{CHUNK, Slot};
use crate::schedule::{Blocks, Decompose, Region, View, too_complex};
use crate::tile::QUAD;

/// Elements that a row, or a part of one, is read from.
#[derive(Clone, Copy)]
struct Run<'v> {
    x: &'v View,
    source: Value,
    columns: Value,
    machine: Option<MachineCode>,
}

/// Functions that go through most of a run, and the table they are called with.
#[derive(Clone, Copy)]
struct MachineCode {
    largest: FuncRef,
    digits: FuncRef,
    table: Value,
}

impl Frame<'_> {
    /// Units are rows or, where digits are packed, blocks of them. A row is gone through twice, for its largest
    /// magnitude and for its digits; what has to be computed is computed once, into memory of the thread.
    pub(crate) fn emit_decompose(&mut self, d: &Decompose, splits: Option<[FuncRef; 2]>) -> Emit<()> {
        let machine = splits.map(|[largest, digits]| {
            let table = self.scratch(Slot::BYTES);
            MachineCode { largest, digits, table }
        });
        let (outer, columns) = split_last(&d.x.shape);
        let columns = self.dim(&columns)?;
        let computed = match d.row {
            Some(memory) => View::dense(memory, DType::F32, vec![d.x.shape[d.x.shape.len() - 1].clone()]),
            None => d.x.as_view().cloned(),
        };
        let x = computed.ok_or_else(too_complex)?;
        let tokens = self.dim(&outer[outer.len() - 1])?;
        let (begin, end) = (self.begin, self.end);
        let bytes = d.digits.dtype.host_bytes() as i64;
        let Some(layout) = d.packing else {
            let row_bytes = self.step_bytes(&d.digits, 1)?;
            let digit_step = self.b.ins().imul(row_bytes, tokens);
            let units = Units { depth: CHUNK, step: self.int(CHUNK * bytes) };
            let blocks = None;
            return self.for_range(begin, end, 1, |f, unit| {
                let indices = f.unflatten(unit, outer)?;
                let first = f.locate(&d.digits, &indices)?;
                f.decompose_token(d, (&x, columns), machine, &indices, Place { first, digit_step, units, blocks })
            });
        };
        let (depth, item) = (layout.depth as i64, layout.depth as i64 * bytes);
        let token_bytes = layout.digits as i64 * bytes;
        let all = self.b.ins().imul_imm_s(tokens, token_bytes);
        let whole = self.b.ins().iadd_imm_s(columns, depth - 1);
        let whole = self.b.ins().band_imm_s(whole, -depth);
        let blocks = self.token_blocks(&outer[outer.len() - 1], layout.tokens);
        let size = self.int(layout.block as i64);
        let size = self.b.ins().udiv(size, blocks.k_parts);
        let has_chunks = (layout.block / layout.tokens.k_parts).is_multiple_of(CHUNK as u64);
        self.for_range(begin, end, 1, |f, unit| {
            let (batch, index) = (f.b.ins().udiv(unit, blocks.count), f.b.ins().urem(unit, blocks.count));
            let mut indices = f.unflatten(batch, &outer[..outer.len() - 1])?;
            let block = f.block(blocks, index);
            let start = f.locate(&d.digits, &indices)?;
            let before = f.b.ins().imul_imm_s(block.token, token_bytes);
            let blocks = Some(KBlocks { size, columns: whole, all, before, has_chunks });
            let digit_step = f.b.ins().imul_imm_s(block.count, item);
            let units = Units { depth, step: f.b.ins().imul_imm_s(digit_step, layout.digits as i64) };
            let zero = f.int(0);
            f.for_range(zero, block.count, 1, |f, number| {
                let skip = f.b.ins().imul_imm_s(number, item);
                let first = f.b.ins().iadd(start, skip);
                indices.push(f.b.ins().iadd(block.token, number));
                f.decompose_token(d, (&x, columns), machine, &indices, Place { first, digit_step, units, blocks })
            })
        })
    }

    /// The digits of a token, whose index is the last.
    fn decompose_token(
        &mut self,
        d: &Decompose,
        (x, columns): (&View, Value),
        machine: Option<MachineCode>,
        indices: &[Value],
        place: Place,
    ) -> Emit<()> {
        let (run, largest) = match d.row {
            Some(memory) => {
                let source = self.thread_memory(memory)?;
                (Run { x, source, columns, machine }, self.compute_row(&d.x, indices, source, columns)?)
            }
            None => {
                let run = Run { x, source: self.locate(x, indices)?, columns, machine };
                (run, self.largest_magnitude(run)?)
            }
        };
        let row = self.row_scale(largest);
        let (splitter, unit) = self.splitter(d.scheme, &row);
        let unit = self.store_unit(&row, unit, &d.scale, indices)?;
        match &d.blocks {
            None => self.split_row(d, run, &row, &splitter, indices, place),
            Some(blocks) => self.split_blocks(d, blocks, run, (&row, unit), indices, place),
        }
    }

    /// The row of a region, stored as F32, and the bits of its largest magnitude.
    fn compute_row(&mut self, region: &Region, indices: &[Value], target: Value, columns: Value) -> Emit<Value> {
        // Entering an empty row would load what may not be there.
        let once = self.b.ins().icmp_imm_s(IntCC::SignedGreaterThan, columns, 0);
        let once = self.b.ins().uextend(types::I64, once);
        let (zero, none) = (self.int(0), self.splat_i32(0));
        let largest = self.for_carry(zero, once, 1, &[none], |f, _, largest| {
            let row = f.enter_row(region, indices)?;
            let mut largest = largest.to_vec();
            for (from, to, width) in f.in_lanes(columns) {
                largest = f.for_carry(from, to, width, &largest, |f, column, largest| {
                    let is_vector = width == WIDTH;
                    let lane = f.region_at(&row, column, is_vector, &[])?;
                    let value = f.f32_of(lane);
                    let offset = f.b.ins().imul_imm_s(column, 4);
                    let at = f.b.ins().iadd(target, offset);
                    let access = if is_vector { Access::Vector } else { Access::One };
                    f.store_lane(Lane::F32(value), DType::F32, at, access);
                    let magnitude = f.magnitude(value);
                    Ok(vec![f.b.ins().smax(largest[0], magnitude)])
                })?;
            }
            Ok(largest)
        })?;
        Ok(self.largest_lane(largest[0]))
    }

    /// The digits of a row split by one unit, and the sums of its parts.
    fn split_row(
        &mut self,
        d: &Decompose,
        run: Run<'_>,
        row: &RowScale,
        splitter: &Splitter,
        indices: &[Value],
        place: Place,
    ) -> Emit<()> {
        let is_kept = self.has_digits(row, row);
        let zero = self.int(0);
        let Some(size) = d.sums.first().map(|s| s.size.clone()) else {
            self.split_run(d, splitter, run, is_kept, (zero, place))?;
            return Ok(());
        };
        let columns = self.dim(&size)?;
        let parts = self.dim(&d.sums[0].out.size_from_end(1))?;
        self.for_range(zero, parts, 1, |f, part| {
            let first = f.b.ins().imul(part, columns);
            let (source, _) = f.element(run.x, run.source, first, false)?;
            let run = Run { source, columns, ..run };
            let sums = f.split_run(d, splitter, run, is_kept, (first, place))?;
            f.store_sums(d, &sums, part, indices)
        })
    }

    /// The digits of a row whose blocks have units of their own.
    fn split_blocks(
        &mut self,
        d: &Decompose,
        blocks: &Blocks,
        run: Run<'_>,
        (row, row_unit): (&RowScale, Value),
        indices: &[Value],
        place: Place,
    ) -> Emit<()> {
        let (columns, count) = (self.dim(&blocks.size)?, self.dim(&blocks.relative.size_from_end(2))?);
        let zero = self.int(0);
        self.for_range(zero, count, 1, |f, index| {
            let first = f.b.ins().imul(index, columns);
            let (source, _) = f.element(run.x, run.source, first, false)?;
            let run = Run { source, columns, ..run };
            let largest = f.largest_magnitude(run)?;
            let block = f.row_scale(largest);
            let (splitter, unit) = f.splitter(d.scheme, &block);
            let relative = f.b.ins().fdiv(unit, row_unit);
            let relative = f.b.ins().fdemote(types::F32, relative);
            // A block of zeros adds nothing; a row that is not finite has its NaN already.
            let none = f.b.ins().f32const(0.0);
            let relative = f.b.ins().select(block.is_zero, none, relative);
            let relative = f.b.ins().select(row.is_finite, relative, none);
            let (token, batch) = (indices[indices.len() - 1], &indices[..indices.len() - 1]);
            let at: Vec<Value> = batch.iter().copied().chain([index, token]).collect();
            let target = f.locate(&blocks.relative, &at)?;
            f.b.ins().store(Frame::flags(), relative, target, 0);
            let is_kept = f.has_digits(row, &block);
            let sums = f.split_run(d, &splitter, run, is_kept, (first, place))?;
            f.store_sums(d, &sums, index, indices)
        })
    }

    /// Whether a block has digits other than 0: not in a row that is not finite, nor of zeros, whose
    /// sign no digit keeps.
    fn has_digits(&mut self, row: &RowScale, block: &RowScale) -> Value {
        let none = self.b.ins().iconst(types::I8, 0);
        self.b.ins().select(block.is_zero, none, row.is_finite)
    }

    /// Stores the unit of a row: zero rows have 1, rows that are not finite poison their token.
    fn store_unit(&mut self, row: &RowScale, unit: Value, scale: &View, indices: &[Value]) -> Emit<Value> {
        let one = self.b.ins().f64const(1.0);
        let nan = self.b.ins().f64const(f64::NAN);
        let unit = self.b.ins().select(row.is_zero, one, unit);
        let unit = self.b.ins().select(row.is_finite, unit, nan);
        let target = self.locate(scale, indices)?;
        self.b.ins().store(Frame::flags(), unit, target, 0);
        Ok(unit)
    }

    /// The digit rows of a token: a whole stack apart.
    fn digit_rows(&mut self, d: &Decompose, indices: &[Value]) -> Emit<Vec<Value>> {
        let tokens = self.dim(&d.x.shape[d.x.shape.len() - 2])?;
        let mut row = indices[indices.len() - 1];
        let mut rows = Vec::new();
        for _ in d.scheme.weights() {
            rows.push(row);
            row = self.b.ins().iadd(row, tokens);
        }
        Ok(rows)
    }

    /// Splits a run that begins at column `first`, block of K by block; the sum of each digit, as I32.
    fn split_run(
        &mut self,
        d: &Decompose,
        splitter: &Splitter,
        run: Run<'_>,
        is_kept: Value,
        (first, place): (Value, Place),
    ) -> Emit<Vec<Value>> {
        let keep = self.b.ins().uextend(types::I32, is_kept);
        let keep = self.b.ins().ineg(keep);
        let keep = self.b.ins().splat(types::I32X4, keep);
        let Some(blocks) = place.blocks else {
            let target = self.target(d, keep, (place.first, first), place);
            let main = self.round_down(run.columns, CHUNK);
            return self.split_piece(d, splitter, run, &target, main);
        };
        // Known sizes may leave nothing over in any block.
        let is_whole = blocks.has_chunks && self.round_down(run.columns, CHUNK) == run.columns;
        let count = if d.sums.is_empty() { 0 } else { d.scheme.weights().len() };
        let none = vec![self.b.ins().iconst(types::I32, 0); count];
        let end = self.b.ins().iadd(first, run.columns);
        let from = self.b.ins().udiv(first, blocks.size);
        let to = self.b.ins().iadd(end, blocks.size);
        let to = self.b.ins().iadd_imm_s(to, -1);
        let to = self.b.ins().udiv(to, blocks.size);
        self.for_carry(from, to, 1, &none, |f, index, sums| {
            let start = f.b.ins().imul(index, blocks.size);
            let next = f.b.ins().iadd(start, blocks.size);
            let (low, high) = (f.b.ins().smax(first, start), f.b.ins().smin(end, next));
            let skip = f.b.ins().isub(low, first);
            let (source, _) = f.element(run.x, run.source, skip, false)?;
            let columns = f.b.ins().isub(high, low);
            // Of all tokens the blocks before, and of those before these as much of this block.
            let left = f.b.ins().isub(blocks.columns, start);
            let width = f.b.ins().smin(left, blocks.size);
            let skip = f.b.ins().imul(blocks.all, start);
            let at = f.b.ins().iadd(place.first, skip);
            let skip = f.b.ins().imul(blocks.before, width);
            let at = f.b.ins().iadd(at, skip);
            let column = f.b.ins().isub(low, start);
            let target = f.target(d, keep, (at, column), place);
            let main = if is_whole { columns } else { f.round_down(columns, CHUNK) };
            let more = f.split_piece(d, splitter, Run { source, columns, ..run }, &target, main)?;
            Ok(sums.iter().zip(&more).map(|(sum, more)| f.b.ins().iadd(*sum, *more)).collect())
        })
    }

    /// Splits a run of one block; the sum of each digit, as I32.
    /// Whole chunks end at `main`.
    fn split_piece(
        &mut self,
        d: &Decompose,
        splitter: &Splitter,
        run: Run<'_>,
        target: &Target,
        main: Value,
    ) -> Emit<Vec<Value>> {
        let zero = self.int(0);
        let has_sums = !d.sums.is_empty();
        let count = if has_sums { target.digits.len() } else { 0 };
        let sums = match run.machine {
            Some(machine) => {
                let mut sums = self.split_by_machine(machine, splitter, target, run.source, main);
                sums.truncate(count);
                sums
            }
            None => self.split_chunks(d, splitter, run, target, [zero, main], count)?,
        };
        self.split_rest(d, splitter, run, target, main, &sums)
    }

    /// Splits sixteen elements at a time: a store of bytes then fills a vector.
    fn split_chunks(
        &mut self,
        d: &Decompose,
        splitter: &Splitter,
        run: Run<'_>,
        target: &Target,
        [from, to]: [Value; 2],
        count: usize,
    ) -> Emit<Vec<Value>> {
        let dtype = d.digits.dtype;
        let none = vec![self.splat_i32(0); count];
        let sums = self.for_carry(from, to, CHUNK, &none, |f, column, sums| {
            let mut parts: Vec<Vec<Value>> = vec![Vec::new(); target.digits.len()];
            for first in (0..CHUNK).step_by(WIDTH as usize) {
                let column = f.b.ins().iadd_imm_s(column, first);
                let (at, access) = f.element(run.x, run.source, column, true)?;
                let lane = f.load_lane(run.x.dtype, at, access);
                let value = f.f32_of(lane);
                for (digit, part) in f.split(splitter, d.scheme, target.keep, value).into_iter().zip(&mut parts) {
                    part.push(digit);
                }
            }
            for (part, start) in parts.iter().zip(&target.digits) {
                let at = f.at_column(*start, column, target.units, dtype);
                f.store_chunk(part, dtype, at, target.units);
            }
            let mut next = Vec::new();
            for (sum, part) in sums.iter().zip(&parts) {
                next.push(part.iter().fold(*sum, |sum, digits| f.b.ins().iadd(sum, *digits)));
            }
            Ok(next)
        })?;
        Ok(sums.into_iter().map(|sum| self.sum_lanes(sum)).collect())
    }

    /// Splits the last few elements, and adds them to the sums.
    fn split_rest(
        &mut self,
        d: &Decompose,
        splitter: &Splitter,
        run: Run<'_>,
        target: &Target,
        from: Value,
        sums: &[Value],
    ) -> Emit<Vec<Value>> {
        let dtype = d.digits.dtype;
        if from == run.columns {
            return Ok(sums.to_vec());
        }
        if d.packing.is_some() && self.round_down(run.columns, QUAD as i64) != run.columns {
            // What is past the end of the last unit is read as well.
            self.for_range(from, run.columns, QUAD as i64, |f, column| {
                let none = f.splat_i32(0);
                for start in &target.digits {
                    let at = f.at_column(*start, column, target.units, dtype);
                    f.store_lane(Lane::I32(none), dtype, at, Access::Vector);
                }
                Ok(())
            })?;
        }
        self.for_carry(from, run.columns, 1, sums, |f, column, sums| {
            let (at, access) = f.element(run.x, run.source, column, false)?;
            let lane = f.load_lane(run.x.dtype, at, access);
            let value = f.f32_of(lane);
            let digits = f.split(splitter, d.scheme, target.keep, value);
            for (digit, start) in digits.iter().zip(&target.digits) {
                let at = f.at_column(*start, column, target.units, dtype);
                f.store_lane(Lane::I32(*digit), dtype, at, Access::One);
            }
            let mut next = Vec::new();
            for (sum, digit) in sums.iter().zip(&digits) {
                let digit = f.b.ins().extractlane(*digit, 0);
                next.push(f.b.ins().iadd(*sum, digit));
            }
            Ok(next)
        })
    }

    fn sum_lanes(&mut self, lanes: Value) -> Value {
        let pairs = self.b.ins().iadd_pairwise(lanes, lanes);
        let sum = self.b.ins().iadd_pairwise(pairs, pairs);
        self.b.ins().extractlane(sum, 0)
    }

    /// Stores the sums of a part of a row, times what is asked for.
    fn store_sums(&mut self, d: &Decompose, sums: &[Value], part: Value, indices: &[Value]) -> Emit<()> {
        let rows = self.digit_rows(d, indices)?;
        for wanted in &d.sums {
            for (sum, row) in sums.iter().zip(&rows) {
                let at: Vec<Value> = indices[..indices.len() - 1].iter().copied().chain([part, *row]).collect();
                let target = self.locate(&wanted.out, &at)?;
                let mut value = *sum;
                if wanted.out.dtype == DType::I64 {
                    value = self.b.ins().sextend(types::I64, value);
                }
                let value = self.b.ins().imul_imm_s(value, i64::from(wanted.factor));
                self.b.ins().store(Frame::flags(), value, target, 0);
            }
        }
        Ok(())
    }

    /// Stores sixteen digits, of four vectors: side by side if units are of as many, or in units of four.
    fn store_chunk(&mut self, parts: &[Value], dtype: DType, at: Value, units: Units) {
        let halves = [(0, 1), (2, 3)].map(|(a, b)| self.b.ins().snarrow(parts[a], parts[b]));
        let vectors = match (dtype.host_bytes(), dtype) {
            (2, _) => halves.to_vec(),
            (_, DType::I8 | DType::I4) => vec![self.b.ins().snarrow(halves[0], halves[1])],
            _ => vec![self.b.ins().unarrow(halves[0], halves[1])],
        };
        let mut at = at;
        for (number, vector) in vectors.into_iter().enumerate() {
            if units.depth >= CHUNK {
                self.b.ins().store(Frame::flags(), vector, at, number as i32 * 16);
                continue;
            }
            let (unit, lanes) = if dtype.host_bytes() == 2 { (types::I64X2, 2) } else { (types::I32X4, 4) };
            let quads = self.cast_bits(unit, vector);
            for lane in 0..lanes {
                let item = self.b.ins().extractlane(quads, lane);
                self.b.ins().store(Frame::flags(), item, at, 0);
                at = self.b.ins().iadd(at, units.step);
            }
        }
    }

    /// Address of a row's element and how four from there lie.
    pub(crate) fn element(&mut self, x: &View, source: Value, column: Value, vector: bool) -> Emit<(Value, Access)> {
        let stride = x.stride_from_end(0);
        let elements = self.scaled(column, &stride)?;
        let bytes = self.b.ins().imul_imm_s(elements, x.dtype.host_bytes() as i64);
        let at = self.b.ins().iadd(source, bytes);
        let access = match (vector, stride.is_one()) {
            (false, _) => Access::One,
            (true, true) => Access::Vector,
            (true, false) => {
                let step = self.dim(&stride)?;
                Access::Strided(self.b.ins().imul_imm_s(step, x.dtype.host_bytes() as i64))
            }
        };
        Ok((at, access))
    }

    /// The bits of the largest magnitude of a row, as I32; NaN counts as largest of all.
    fn largest_magnitude(&mut self, Run { x, source, columns, machine }: Run<'_>) -> Emit<Value> {
        let zero = self.int(0);
        let none = self.splat_i32(0);
        let main = self.round_down(columns, CHUNK);
        if let Some(machine) = machine {
            self.call_machine(machine.largest, machine, source, main);
            let largest = self.b.ins().load(types::I32, Frame::flags(), machine.table, Slot::Largest.offset());
            let largest = self.b.ins().splat(types::I32X4, largest);
            return self.largest_of_rest(x, source, [main, columns], largest);
        }
        // Magnitudes are ordered like their bits, and NaN lies above infinity.
        let start = vec![none; (CHUNK / WIDTH) as usize];
        let largest = self.for_carry(zero, main, CHUNK, &start, |f, column, largest| {
            let mut next = Vec::new();
            for (i, old) in largest.iter().enumerate() {
                let column = f.b.ins().iadd_imm_s(column, i as i64 * WIDTH);
                let (at, access) = f.element(x, source, column, true)?;
                let lane = f.load_lane(x.dtype, at, access);
                let value = f.f32_of(lane);
                let magnitude = f.magnitude(value);
                next.push(f.b.ins().smax(*old, magnitude));
            }
            Ok(next)
        })?;
        let all = largest.iter().copied().reduce(|a, b| self.b.ins().smax(a, b));
        self.largest_of_rest(x, source, [main, columns], all.unwrap_or(none))
    }

    /// The largest magnitude of some columns, and of what `largest` holds.
    fn largest_of_rest(&mut self, x: &View, source: Value, [from, to]: [Value; 2], largest: Value) -> Emit<Value> {
        let largest = self.for_carry(from, to, 1, &[largest], |f, column, largest| {
            let (at, access) = f.element(x, source, column, false)?;
            let lane = f.load_lane(x.dtype, at, access);
            let value = f.f32_of(lane);
            let magnitude = f.magnitude(value);
            Ok(vec![f.b.ins().smax(largest[0], magnitude)])
        })?;
        Ok(self.largest_lane(largest[0]))
    }

    /// Has machine code go through `count` elements.
    fn call_machine(&mut self, function: FuncRef, machine: MachineCode, source: Value, count: Value) {
        for (slot, value) in [(Slot::X, source), (Slot::Count, count)] {
            self.b.ins().store(Frame::flags(), value, machine.table, slot.offset());
        }
        self.b.ins().call(function, &[machine.table]);
    }

    /// Splits `count` elements by machine code; the sum of each digit.
    fn split_by_machine(
        &mut self,
        machine: MachineCode,
        splitter: &Splitter,
        target: &Target,
        source: Value,
        count: Value,
    ) -> Vec<Value> {
        let mut slots = vec![(Slot::Keep, target.keep)];
        match splitter {
            Splitter::Integer { factors, reciprocal, limits } => {
                slots.extend([(Slot::Factor(0), factors[0]), (Slot::Factor(1), factors[1])]);
                slots.extend(reciprocal.map(|value| (Slot::Reciprocal, value)));
                for (i, limit) in limits.iter().flatten().enumerate() {
                    slots.push((Slot::Limit(i), self.splat_i32(*limit)));
                }
            }
            Splitter::Greedy { factor, units } => {
                slots.push((Slot::Scale, *factor));
                let one = self.b.ins().f64const(1.0);
                let one = self.b.ins().splat(types::F64X2, one);
                for (i, unit) in units.iter().enumerate() {
                    slots.extend([(Slot::Unit(i), *unit), (Slot::Inverse(i), self.b.ins().fdiv(one, *unit))]);
                }
            }
            Splitter::Minifloat { .. } => {}
        }
        // Of the lanes, which are all alike, a slot holds the first two or one.
        for (slot, value) in slots {
            let lanes = self.cast_bits(types::I64X2, value);
            let first = self.b.ins().extractlane(lanes, 0);
            self.b.ins().store(Frame::flags(), first, machine.table, slot.offset());
        }
        self.b.ins().store(Frame::flags(), target.units.step, machine.table, Slot::UnitStep.offset());
        for (digit, start) in target.digits.iter().enumerate() {
            self.b.ins().store(Frame::flags(), *start, machine.table, Slot::Digit(digit).offset());
        }
        self.call_machine(machine.digits, machine, source, count);
        let sum = |digit| Slot::Sum(digit).offset();
        let table = machine.table;
        (0..target.digits.len()).map(|d| self.b.ins().load(types::I32, Frame::flags(), table, sum(d))).collect()
    }

    fn magnitude(&mut self, value: Value) -> Value {
        let bits = self.cast_bits(types::I32X4, value);
        let mask = self.splat_i32(i32::MAX);
        self.b.ins().band(bits, mask)
    }

    fn largest_lane(&mut self, lanes: Value) -> Value {
        let lanes: Vec<Value> = (0..4).map(|i| self.b.ins().extractlane(lanes, i as u8)).collect();
        let low = self.b.ins().smax(lanes[0], lanes[1]);
        let high = self.b.ins().smax(lanes[2], lanes[3]);
        self.b.ins().smax(low, high)
    }
}
