//! Float products of groups of K, added up as they are made: digits weighted and added, one rounding,
//! times the scale of the group. Of all the products of a token, one group's are in memory, on the
//! stack. Owns the loops around panel tiles that this takes; integer products are `dot.rs`'s.

use cranelift_codegen::ir::{FuncRef, InstBuilder, Value, types};
use msd_ir::dim::Dim;
use msd_ir::dtype::DType;

use super::frame::{Emit, Frame};
use super::lanes::{Access, Lane, WIDTH};
use crate::isa::internal;
use crate::schedule::{GroupSum, View};
use crate::tile::PANEL;

/// Bytes of a row of products.
const ROW: i64 = PANEL as i64 * 4;

/// Where the first row of `a` lies, and the bytes from one token, digit and group to the next.
struct Rows {
    start: Value,
    token: Value,
    digit: Value,
    group: Value,
}

/// One panel of the weights against all tokens.
struct Nest<'s> {
    sum: &'s GroupSum,
    /// Tiles of two rows and of one.
    tiles: [FuncRef; 2],
    a: Rows,
    /// Where the panel lies, and the bytes to that of the next group.
    w: Value,
    w_group: Value,
    groups: Value,
    k: Value,
    /// The panel's first channel, and how many it has.
    first: Value,
    width: Value,
    /// Of the channels, what the products of a group are multiplied with: scales and units.
    factors: Vec<(&'s View, Value)>,
    /// Stack memory: the products of a group, `[rows][24]`, and the sums of the tokens, `[tokens][24]`.
    products: Value,
    sums: Value,
}

impl Frame<'_> {
    /// Units are those of `emit_matmul`. Digit rows of a token lie a whole stack apart and go
    /// together; without digits, two tokens do.
    pub(crate) fn emit_group_sums(
        &mut self,
        [a, panels, out]: [&View; 3],
        sum: &GroupSum,
        tiles: [FuncRef; 2],
    ) -> Emit<()> {
        let batch_shape = &out.shape[..out.shape.len() - 2];
        let batches = batch_shape.iter().try_fold(Dim::constant(1), |n, d| n.mul(d));
        let batches = self.dim(&batches.unwrap_or(Dim::constant(1)))?;
        let tokens = self.dim(&out.size_from_end(1))?;
        let columns = self.dim(&out.size_from_end(0))?;
        let most = if sum.weights.len() > 1 { 1 } else { 2 };
        let products = self.scratch(most * sum.weights.len() * ROW as usize);
        let sums = self.scratch(most * ROW as usize);
        let (begin, end) = (self.begin, self.end);
        self.for_range(begin, end, 1, |f, unit| {
            let panel = f.b.ins().udiv(unit, batches);
            let batch = f.b.ins().urem(unit, batches);
            let indices = f.unflatten(batch, batch_shape)?;
            let nest = f.group_nest([a, panels, out], sum, tiles, (panel, &indices), [products, sums])?;
            let out_base = f.locate(out, &indices)?;
            let (zero, main) = (f.int(0), f.round_down(tokens, most as i64));
            for (from, to, count) in [(zero, main, most), (main, tokens, 1)].into_iter().take(most) {
                f.for_range(from, to, count as i64, |f, token| {
                    f.sum_groups(&nest, token, count)?;
                    for i in 0..count as i64 {
                        let token = f.b.ins().iadd_imm_s(token, i);
                        let elements = f.b.ins().imul(token, columns);
                        let elements = f.b.ins().iadd(elements, nest.first);
                        let offset = f.b.ins().imul_imm_s(elements, 4);
                        let target = f.b.ins().iadd(out_base, offset);
                        let source = f.b.ins().iadd_imm_s(nest.sums, i * ROW);
                        f.copy_words(source, target, nest.width)?;
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })
    }

    /// Finds what the products of a panel, in the batch with these indices, need.
    fn group_nest<'s>(
        &mut self,
        [a, panels, out]: [&View; 3],
        sum: &'s GroupSum,
        tiles: [FuncRef; 2],
        (panel, batch): (Value, &[Value]),
        [products, sums]: [Value; 2],
    ) -> Emit<Nest<'s>> {
        let count = sum.groups.scale.size_from_end(2);
        let outer: Vec<Dim> = out.shape[..out.shape.len() - 2].iter().cloned().chain([count.clone()]).collect();
        let (a, panels) = (a.stretched_outer(&outer), panels.stretched_panels(&outer));
        let [a_row, a_group] = [self.step(&a, 1)?, self.step(&a, 2)?];
        let [w_panel, w_group] = [self.step(&panels, 2)?, self.step(&panels, 3)?];
        let tokens = self.dim(&out.size_from_end(1))?;
        // Without digits there is one row of digits: the next one is that of the next token.
        let a_digit = if sum.weights.len() > 1 { self.b.ins().imul(a_row, tokens) } else { a_row };
        let skip = self.b.ins().imul(panel, w_panel);
        let w = self.locate(&panels, batch)?;
        let w = self.b.ins().iadd(w, skip);
        let columns = self.dim(&out.size_from_end(0))?;
        let first = self.b.ins().imul_imm_s(panel, PANEL as i64);
        let left = self.b.ins().isub(columns, first);
        let full = self.int(PANEL as i64);
        let width = self.b.ins().smin(left, full);
        let mut factors = Vec::new();
        for view in std::iter::once(&sum.groups.scale).chain(&sum.groups.unit) {
            factors.push((view, self.locate(view, batch)?));
        }
        let a_start = self.locate(&a, batch)?;
        let (groups, k) = (self.dim(&count)?, self.dim(&a.size_from_end(0))?);
        let rows = Rows { start: a_start, token: a_row, digit: a_digit, group: a_group };
        Ok(Nest { sum, tiles, a: rows, w, w_group, groups, k, first, width, factors, products, sums })
    }

    /// Bytes from one index to the next along the axis counted from the last.
    fn step(&mut self, view: &View, axis: usize) -> Emit<Value> {
        let elements = self.dim(&view.stride_from_end(axis))?;
        Ok(self.b.ins().imul_imm_s(elements, view.dtype.host_bytes() as i64))
    }

    /// The sums over groups, ascending from +0, of `count` tokens from `token` on.
    fn sum_groups(&mut self, nest: &Nest<'_>, token: Value, count: usize) -> Emit<()> {
        let none = self.splat_f32(0.0);
        for vector in 0..count * PANEL / WIDTH as usize {
            self.b.ins().store(Frame::flags(), none, nest.sums, vector as i32 * 16);
        }
        let zero = self.int(0);
        self.for_range(zero, nest.groups, 1, |f, group| {
            f.group_products(nest, token, group, count);
            for i in 0..count {
                f.add_group_products(nest, token, group, i)?;
            }
            Ok(())
        })
    }

    /// Products of all digit rows of these tokens in a group, two rows at a time.
    fn group_products(&mut self, nest: &Nest<'_>, token: Value, group: Value, count: usize) {
        let (a_skip, row_skip) = (self.b.ins().imul(group, nest.a.group), self.b.ins().imul(token, nest.a.token));
        let a = self.b.ins().iadd(nest.a.start, a_skip);
        let mut a = self.b.ins().iadd(a, row_skip);
        let w_skip = self.b.ins().imul(group, nest.w_group);
        let w = self.b.ins().iadd(nest.w, w_skip);
        let c_stride = self.int(ROW);
        let rows = count * nest.sum.weights.len();
        for row in (0..rows).step_by(2) {
            if row > 0 {
                let skip = self.b.ins().imul_imm_s(nest.a.digit, 2);
                a = self.b.ins().iadd(a, skip);
            }
            let tile = nest.tiles[usize::from(row + 1 == rows)];
            let c = self.b.ins().iadd_imm_s(nest.products, row as i64 * ROW);
            self.b.ins().call(tile, &[w, a, nest.a.digit, nest.k, c, c_stride]);
        }
    }

    /// Adds a group's products of the token `i` after `token` to its sums.
    fn add_group_products(&mut self, nest: &Nest<'_>, token: Value, group: Value, i: usize) -> Emit<()> {
        let token = self.b.ins().iadd_imm_s(token, i as i64);
        let mut factors = Vec::new();
        for (view, start) in &nest.factors {
            let [of_token, of_group] = [self.step(view, 1)?, self.step(view, 2)?];
            let (token, group) = (self.b.ins().imul(token, of_token), self.b.ins().imul(group, of_group));
            let at = self.b.ins().iadd(*start, token);
            factors.push((*view, self.b.ins().iadd(at, group)));
        }
        let digits = nest.sum.weights.len();
        let (zero, main) = (self.int(0), self.round_down(nest.width, WIDTH));
        for (from, to, width) in [(zero, main, WIDTH), (main, nest.width, 1)] {
            self.for_range(from, to, width, |f, column| {
                let access = if width > 1 { Access::Vector } else { Access::One };
                let offset = f.b.ins().imul_imm_s(column, 4);
                let products = f.b.ins().iadd(nest.products, offset);
                let mut lanes = Vec::new();
                for digit in 0..digits {
                    let at = f.b.ins().iadd_imm_s(products, (i * digits + digit) as i64 * ROW);
                    lanes.push(f.load_lane(DType::F32, at, access));
                }
                let product = f.merged_floats(&lanes, nest.sum.weights)?;
                let channel = f.b.ins().iadd(nest.first, column);
                let mut of_group = Vec::new();
                for (view, row) in &factors {
                    let (at, access) = f.element(view, *row, channel, width > 1)?;
                    of_group.push(f.load_lane(view.dtype, at, access));
                }
                let at = f.b.ins().iadd(nest.sums, offset);
                let at = f.b.ins().iadd_imm_s(at, i as i64 * ROW);
                let sum = f.load_lane(DType::F32, at, access);
                let sum = f.add_scaled(product, &of_group, sum)?;
                f.store_lane(sum, DType::F32, at, access);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// `sum_d weight_d * lane_d` in F64, d ascending, rounded once: every product is exact.
    fn merged_floats(&mut self, lanes: &[Lane], weights: &[i64]) -> Emit<Lane> {
        if let ([lane], [1]) = (lanes, weights) {
            return Ok(*lane);
        }
        let mut sum: Option<[Value; 2]> = None;
        for (lane, weight) in lanes.iter().zip(weights) {
            let factor = self.b.ins().f64const(*weight as f64);
            let factor = self.b.ins().splat(types::F64X2, factor);
            let term = self.f64_of(*lane).map(|half| self.b.ins().fmul(half, factor));
            sum = Some(match sum {
                Some(sum) => [0, 1].map(|half| self.b.ins().fadd(sum[half], term[half])),
                None => term,
            });
        }
        let sum = sum.ok_or_else(|| internal("a product without digits"))?;
        Ok(Lane::F32(self.f32_of(Lane::F64(sum))))
    }
}
