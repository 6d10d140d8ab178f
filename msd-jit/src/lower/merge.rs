//! From exact digit products to results: digits weighted and added, zero points taken off, one
//! rounding, scales of groups. Works on four channels side by side. Owns no loop but that over groups of
//! products that lie in memory.

use cranelift_codegen::ir::{InstBuilder, Value, types};
use msd_ir::dtype::DType;
use msd_ir::ops::Op;

use super::frame::{Emit, Frame};
use super::lanes::{Access, Lane};
use super::product::SumsRow;
use super::row::rebuild;
use crate::isa::internal;
use crate::schedule::{RowSums, Term, View};
use crate::tile::{MergeForm, Operands, Sum};

impl Frame<'_> {
    /// What merging a token's sums needs beside them; `indices` are those of batch and token.
    pub(crate) fn prepare_merge<'t>(
        &mut self,
        term: &'t Term,
        first: Value,
        digit: Value,
        indices: &[Value],
    ) -> Emit<SumsRow<'t>> {
        let mut excess = Vec::new();
        if let Some((sums, factor)) = &term.excess {
            for lane in self.row_sums(sums, term.digits(), indices)? {
                excess.push(self.times(lane, (*factor).into()));
            }
        }
        let zero = match &term.zero {
            None => None,
            Some(zero) => {
                let rows = self.row_sums(&zero.sums, term.digits(), indices)?;
                let merged = self.weighted(&rows, term.weights);
                let merged = if matches!(term.sum, Sum::Wide) { merged } else { Lane::F64(self.f64_of(merged)) };
                Some((merged, self.locate(&zero.zero, indices)?))
            }
        };
        Ok(SumsRow { term, first, digit, excess, zero })
    }

    /// The row sums of a token's digits.
    fn row_sums(&mut self, sums: &RowSums, digits: usize, indices: &[Value]) -> Emit<Vec<Lane>> {
        let first = self.locate(&sums.view, indices)?;
        let step = self.dim(&sums.digit_stride)?;
        let step = self.b.ins().imul_imm_s(step, sums.view.dtype.host_bytes() as i64);
        let mut at = first;
        let mut lanes = Vec::new();
        for digit in 0..digits {
            if digit > 0 {
                at = self.b.ins().iadd(at, step);
            }
            lanes.push(self.load_lane(sums.view.dtype, at, Access::One));
        }
        Ok(lanes)
    }

    /// What becomes of a token's sums at `column` of the area, which is `channel` of all.
    pub(crate) fn merged(&mut self, sums: &SumsRow<'_>, column: Value, channel: Value, vector: bool) -> Emit<Lane> {
        let term = sums.term;
        let dtype = term.sum.c_dtype(&term.operands);
        let offset = self.b.ins().imul_imm_s(column, dtype.host_bytes() as i64);
        let mut at = self.b.ins().iadd(sums.first, offset);
        let access = if vector { Access::Vector } else { Access::One };
        let is_merged = term.is_merged();
        // Tiles leave floats in place of the integers they merge.
        let is_integer = matches!(term.operands, Operands::Quads(_));
        let dtype = if is_merged && is_integer && dtype == DType::I32 { DType::F32 } else { dtype };
        let rows = if is_merged { 1 } else { term.digits() };
        let mut lanes = Vec::new();
        for row in 0..rows {
            if row > 0 {
                at = self.b.ins().iadd(at, sums.digit);
            }
            let mut lane = self.load_lane(dtype, at, access);
            if let Some(excess) = sums.excess.get(row) {
                lane = self.elementwise(&Op::Add, &[lane, *excess], DType::I64)?;
            }
            lanes.push(lane);
        }
        if is_merged {
            return Ok(lanes[0]);
        }
        if term.weights.is_empty() {
            return Ok(Lane::I64(self.i64_of(lanes[0])));
        }
        let zero = match &sums.zero {
            None => None,
            Some((rows, start)) => {
                let view = &sums.term.zero.as_ref().ok_or_else(|| internal("no zero point"))?.zero;
                let (at, access) = self.element(view, *start, channel, vector)?;
                Some((*rows, self.load_lane(view.dtype, at, access)))
            }
        };
        let merged = self.merged_integers(&lanes, MergeForm { weights: term.weights, is_narrow: false }, zero)?;
        Ok(Lane::F32(self.f32_of(merged)))
    }

    /// `S`, or `S - zero * R`: in I32 where that is narrow, else exact in F64 or, of I64 sums, in I64. What
    /// a zero point that is no integer leaves is rounded.
    pub(crate) fn merged_integers(
        &mut self,
        lanes: &[Lane],
        MergeForm { weights, is_narrow }: MergeForm,
        zero: Option<(Lane, Lane)>,
    ) -> Emit<Lane> {
        if let Lane::I64(_) = lanes[0] {
            let sum = self.weighted(lanes, weights);
            return match zero {
                Some((rows, zero)) => self.less_zero(sum, rows, zero),
                None => Ok(sum),
            };
        }
        if is_narrow {
            let sum = self.weighted(lanes, weights);
            let Some((rows, zero)) = zero else { return Ok(sum) };
            let term = self.elementwise(&Op::Mul, &[zero, rows], DType::I32)?;
            return self.elementwise(&Op::Sub, &[sum, term], DType::I32);
        }
        let sum = self.weighted_f64(lanes, weights);
        let Some((rows, zero)) = zero else { return Ok(Lane::F64(sum)) };
        Ok(self.less_zero_f64(Lane::F64(sum), rows, zero))
    }

    /// `sum_d weight_d * lane_d` of I32 or F32 lanes in F64, d ascending; every product is exact.
    fn weighted_f64(&mut self, lanes: &[Lane], weights: &[i64]) -> [Value; 2] {
        let mut sum: Option<[Value; 2]> = None;
        for (lane, weight) in lanes.iter().zip(weights) {
            let values = self.f64_of(*lane);
            let factor = (*weight != 1).then(|| {
                let factor = self.b.ins().f64const(*weight as f64);
                self.b.ins().splat(types::F64X2, factor)
            });
            let term = values.map(|half| factor.map_or(half, |factor| self.b.ins().fmul(half, factor)));
            sum = Some(match sum {
                Some(sum) => [0, 1].map(|half| self.b.ins().fadd(sum[half], term[half])),
                None => term,
            });
        }
        sum.unwrap_or_else(|| {
            let none = self.b.ins().f64const(0.0);
            [self.b.ins().splat(types::F64X2, none); 2]
        })
    }

    /// Of float products: the digits weighted and added, rounded once.
    pub(crate) fn merged_floats(&mut self, lanes: &[Lane], weights: &[i64]) -> Emit<Lane> {
        if let ([lane], [1]) = (lanes, weights) {
            return Ok(*lane);
        }
        let sum = self.weighted_f64(lanes, weights);
        Ok(Lane::F32(self.f32_of(Lane::F64(sum))))
    }

    /// `sum_d weight_d * lane_d` of integers, modulo their width.
    fn weighted(&mut self, lanes: &[Lane], weights: &[i64]) -> Lane {
        let mut sum: Option<Lane> = None;
        for (lane, weight) in lanes.iter().zip(weights) {
            let term = self.times(*lane, *weight);
            sum = Some(match (sum, term) {
                (Some(Lane::I32(sum)), Lane::I32(term)) => Lane::I32(self.b.ins().iadd(sum, term)),
                (Some(Lane::I64(sum)), Lane::I64(term)) => {
                    Lane::I64([0, 1].map(|i| self.b.ins().iadd(sum[i], term[i])))
                }
                (_, term) => term,
            });
        }
        sum.unwrap_or_else(|| self.zero_lane(DType::I64))
    }

    fn times(&mut self, lane: Lane, weight: i64) -> Lane {
        let is_power = weight.count_ones() == 1;
        let mut part = |value: Value, lanes: types::Type| {
            if is_power {
                return self.b.ins().ishl_imm_s(value, weight.trailing_zeros() as i64);
            }
            let factor = self.b.ins().iconst(lanes.lane_type(), weight);
            let factor = self.b.ins().splat(lanes, factor);
            self.b.ins().imul(value, factor)
        };
        match lane {
            Lane::I32(value) => Lane::I32(part(value, types::I32X4)),
            Lane::I64(parts) => Lane::I64(parts.map(|p| part(p, types::I64X2))),
            Lane::F32(_) | Lane::F64(_) | Lane::Mask(_) => lane,
        }
    }

    /// `S - z * R`, rounded once to F32: exact for integers, modulo their width, and one fused step
    /// in F64 for floats.
    pub(crate) fn less_zero(&mut self, sum: Lane, rows: Lane, zero: Lane) -> Emit<Lane> {
        if let Lane::F32(_) | Lane::F64(_) = zero {
            let rest = self.less_zero_f64(sum, rows, zero);
            return Ok(Lane::F32(self.f32_of(rest)));
        }
        let is_narrow = matches!((sum, rows, zero), (Lane::I32(_), Lane::I32(_), Lane::I32(_)));
        let dtype = if is_narrow { DType::I32 } else { DType::I64 };
        let term = self.elementwise(&Op::Mul, &[zero, rows], dtype)?;
        let exact = self.elementwise(&Op::Sub, &[sum, term], dtype)?;
        Ok(Lane::F32(self.f32_of(exact)))
    }

    /// `sum - zero * rows` in F64, in one fused step, which integers leave exact.
    fn less_zero_f64(&mut self, sum: Lane, rows: Lane, zero: Lane) -> Lane {
        let [sum, rows, zero] = [sum, rows, zero].map(|lane| self.f64_of(lane));
        Lane::F64([0, 1].map(|i| {
            let negative = self.b.ins().fneg(zero[i]);
            self.b.ins().fma(negative, rows[i], sum[i])
        }))
    }

    /// `sum + product * factors`, the factors multiplied first and the sum fused: F64 or F32, as the
    /// sum is.
    pub(crate) fn add_scaled(&mut self, product: Lane, factors: &[Lane], sum: Lane) -> Emit<Lane> {
        let dtype = if let Lane::F64(_) = sum { DType::F64 } else { DType::F32 };
        let scale = match factors {
            [scale, unit] => self.elementwise(&Op::Mul, &[*scale, *unit], dtype)?,
            [scale] => *scale,
            _ => return Err(crate::isa::internal("a group without a scale")),
        };
        if let Lane::F64(sum) = sum {
            let (product, scale) = (self.f64_of(product), self.f64_of(scale));
            return Ok(Lane::F64([0, 1].map(|half| self.b.ins().fma(product[half], scale[half], sum[half]))));
        }
        let (product, scale, sum) = (self.f32_of(product), self.f32_of(scale), self.f32_of(sum));
        Ok(Lane::F32(self.b.ins().fma(product, scale, sum)))
    }

    /// Sums over groups of products in memory; views are `[.., G, M, N]`. Units are rows of `out`.
    pub(crate) fn emit_accumulate(&mut self, p: &View, s: &View, u: Option<&View>, out: &View) -> Emit<()> {
        let groups = self.dim(&p.size_from_end(2))?;
        let columns = self.dim(&out.size_from_end(0))?;
        let outer = &out.shape[..out.shape.len() - 1];
        let views: Vec<View> = [Some(p), Some(s), u].into_iter().flatten().map(tokens_first).collect();
        let (begin, end) = (self.begin, self.end);
        self.for_range(begin, end, 1, |f, unit| {
            let indices = f.unflatten(unit, outer)?;
            let target = f.locate(out, &indices)?;
            let starts = views.iter().map(|v| f.locate(v, &indices)).collect::<Emit<Vec<_>>>()?;
            let zero = f.int(0);
            for (from, to, width) in f.in_lanes(columns) {
                f.for_range(from, to, width, |f, column| {
                    let none = f.zero_lane(out.dtype);
                    let sums = f.for_carry(zero, groups, 1, &none.parts(), |f, group, sums| {
                        let mut lanes = Vec::new();
                        for (view, start) in views.iter().zip(&starts) {
                            let step = f.scaled(group, &view.stride_from_end(1))?;
                            let skip = f.b.ins().imul_imm_s(step, view.dtype.host_bytes() as i64);
                            let row = f.b.ins().iadd(*start, skip);
                            let (at, access) = f.element(view, row, column, width > 1)?;
                            lanes.push(f.load_lane(view.dtype, at, access));
                        }
                        Ok(f.add_scaled(lanes[0], &lanes[1..], rebuild(none, sums))?.parts())
                    })?;
                    let offset = f.b.ins().imul_imm_s(column, out.dtype.host_bytes() as i64);
                    let at = f.b.ins().iadd(target, offset);
                    let access = if width > 1 { Access::Vector } else { Access::One };
                    f.store_lane(rebuild(none, &sums), out.dtype, at, access);
                    Ok(())
                })?;
            }
            Ok(())
        })
    }
}

/// `[.., G, M, N]` seen as `[.., M, G, N]`.
fn tokens_first(view: &View) -> View {
    let mut view = view.clone();
    let rank = view.shape.len();
    view.shape.swap(rank - 3, rank - 2);
    view.strides.swap(rank - 3, rank - 2);
    view
}
