//! From exact digit products to results: digits weighted and added, zero points taken off, one
//! rounding, scales of groups. Works on the channels of a unit at a time, four of them side by side,
//! and on products that lie in memory. Owns no loop.

use cranelift_codegen::ir::{InstBuilder, Value, types};
use msd_ir::dim::Dim;
use msd_ir::dtype::DType;
use msd_ir::ops::Op;

use super::dot::{Nest, Place, Unit};
use super::frame::{Emit, Frame};
use super::lanes::{Access, Lane};
use super::row::rebuild;
use crate::schedule::{Dot, View};
use crate::tile::CHANNELS;

/// Where the elements of a view lie that belong to a unit: distances in bytes from the first.
pub(crate) struct Site {
    dtype: DType,
    start: Value,
    token: Value,
    digit: Value,
    group: Value,
    /// How the unit's channels lie.
    pub(crate) access: Access,
}

/// The sites of everything that merging reads and writes.
pub(crate) struct Sites {
    /// Row sums of `x`.
    pub(crate) sums: Option<Site>,
    zero: Option<ZeroSites>,
    scale: Option<Site>,
    unit: Option<Site>,
    pub(crate) out: Site,
}

struct ZeroSites {
    /// Its row sums, unless they are those of `x`.
    sums: Option<Site>,
    zero: Site,
}

impl Frame<'_> {
    pub(crate) fn merge_sites(&mut self, dot: &Dot, at: &Unit, batch: &[Value]) -> Emit<Sites> {
        let none = Dim::constant(0);
        let sums = dot.sums.as_ref().map(|s| self.site(&s.view, &s.digit_stride, at, batch)).transpose()?;
        let zero = match dot.merge.as_ref().and_then(|m| m.zero.as_ref()) {
            Some(zero) => {
                let known = dot.is_narrow() && dot.sums.as_ref() == Some(&zero.sums);
                let sums = (!known).then(|| self.site(&zero.sums.view, &zero.sums.digit_stride, at, batch));
                Some(ZeroSites { sums: sums.transpose()?, zero: self.site(&zero.zero, &none, at, batch)? })
            }
            None => None,
        };
        let groups = dot.merge.as_ref().and_then(|m| m.groups.as_ref());
        let scale = groups.map(|g| self.site(&g.scale, &none, at, batch)).transpose()?;
        let unit = groups.and_then(|g| g.unit.as_ref()).map(|u| self.site(u, &none, at, batch)).transpose()?;
        Ok(Sites { sums, zero, scale, unit, out: self.site(&dot.out, &none, at, batch)? })
    }

    /// `view` is `[batch.., M, N]`, or `[batch.., G, M, N]`.
    fn site(&mut self, view: &View, digit: &Dim, at: &Unit, batch: &[Value]) -> Emit<Site> {
        let bytes = view.dtype.host_bytes() as i64;
        let [channel, token, group] = [0, 1, 2].map(|axis| view.stride_from_end(axis));
        let start = self.locate(view, batch)?;
        let skip = self.scaled(at.channel, &channel)?;
        let skip = self.b.ins().imul_imm_s(skip, bytes);
        let start = self.b.ins().iadd(start, skip);
        let access = if at.tiles.channels == 1 || channel.as_constant() == Some(0) {
            Access::One
        } else {
            let step = self.scaled(at.channel_stride, &channel)?;
            Access::Strided(self.b.ins().imul_imm_s(step, bytes))
        };
        let mut step = |stride: &Dim| {
            let elements = self.dim(stride)?;
            Ok(self.b.ins().imul_imm_s(elements, bytes))
        };
        let (token, digit, group) = (step(&token)?, step(digit)?, step(&group)?);
        Ok(Site { dtype: view.dtype, start, token, digit, group, access })
    }

    /// Where the first channel lies, `later` tokens on from the place.
    pub(crate) fn site_address(&mut self, site: &Site, place: Place, later: usize, digit: usize) -> Value {
        let token = self.b.ins().iadd_imm_s(place.token, later as i64);
        let skip = self.b.ins().imul(token, site.token);
        let mut address = self.b.ins().iadd(site.start, skip);
        if digit > 0 {
            let skip = self.b.ins().imul_imm_s(site.digit, digit as i64);
            address = self.b.ins().iadd(address, skip);
        }
        if let Some(group) = place.group {
            let skip = self.b.ins().imul(group, site.group);
            address = self.b.ins().iadd(address, skip);
        }
        address
    }

    fn load_site(&mut self, site: &Site, place: Place, later: usize) -> Lane {
        let address = self.site_address(site, place, later, 0);
        self.load_lane(site.dtype, address, site.access)
    }

    /// What becomes of the products of the set's token `i`: themselves, or F32.
    pub(crate) fn merged(&mut self, nest: &Nest<'_>, place: Place, i: usize) -> Emit<Lane> {
        let (dot, channels) = (nest.dot, nest.at.tiles.channels);
        let is_narrow = dot.is_narrow();
        let dtype = if is_narrow { DType::I32 } else { DType::I64 };
        let access = if channels == CHANNELS { Access::Vector } else { Access::One };
        let mut lanes = Vec::new();
        for digit in 0..dot.digits() {
            let row = (i * dot.digits() + digit) * channels * dtype.host_bytes();
            let address = self.b.ins().iadd_imm_s(nest.set.scratch, row as i64);
            lanes.push(self.load_lane(dtype, address, access));
        }
        let Some(merge) = &dot.merge else { return Ok(lanes[0]) };
        let mut sum = self.weighted(&lanes, merge.weights);
        let mut x_sums = None;
        if let (true, Some(site)) = (is_narrow, &nest.sites.sums) {
            let sums = self.row_sums(site, place, i, merge.weights, dtype);
            let excess = self.weighted(&[sums], &[128]);
            sum = self.elementwise(&Op::Sub, &[sum, excess], dtype)?;
            x_sums = Some(sums);
        }
        if let Some(zero) = &nest.sites.zero {
            let sums = match (&zero.sums, x_sums) {
                (Some(site), _) => self.row_sums(site, place, i, merge.weights, dtype),
                (None, Some(sums)) => sums,
                (None, None) => return Err(crate::isa::internal("a zero point without row sums")),
            };
            let zero = self.load_site(&zero.zero, place, i);
            return self.less_zero(sum, sums, zero);
        }
        // What is added up in F64 is not rounded before.
        Ok(if dot.out.dtype == DType::F64 { sum } else { Lane::F32(self.f32_of(sum)) })
    }

    /// The merged row sums of a token. As I32, the low halves are read: narrow sums fit those.
    fn row_sums(&mut self, site: &Site, place: Place, later: usize, weights: &[i64], dtype: DType) -> Lane {
        let mut lanes = Vec::new();
        for digit in 0..weights.len() {
            let address = self.site_address(site, place, later, digit);
            lanes.push(self.load_lane(dtype, address, site.access));
        }
        self.weighted(&lanes, weights)
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
            let [sum, rows, zero] = [sum, rows, zero].map(|lane| self.f64_of(lane));
            let exact = [0, 1].map(|i| {
                let negative = self.b.ins().fneg(zero[i]);
                self.b.ins().fma(negative, rows[i], sum[i])
            });
            return Ok(Lane::F32(self.f32_of(Lane::F64(exact))));
        }
        let is_narrow = matches!((sum, rows, zero), (Lane::I32(_), Lane::I32(_), Lane::I32(_)));
        let dtype = if is_narrow { DType::I32 } else { DType::I64 };
        let term = self.elementwise(&Op::Mul, &[zero, rows], dtype)?;
        let exact = self.elementwise(&Op::Sub, &[sum, term], dtype)?;
        Ok(Lane::F32(self.f32_of(exact)))
    }

    /// `sum + product * (s * u)` of a group, in the type of the sum.
    pub(crate) fn add_group(&mut self, nest: &Nest<'_>, place: Place, i: usize, sum: Lane) -> Emit<Lane> {
        let product = self.merged(nest, place, i)?;
        let Some(scale) = &nest.sites.scale else { return Err(crate::isa::internal("groups without a scale")) };
        let mut factors = vec![self.load_site(scale, place, i)];
        if let Some(unit) = &nest.sites.unit {
            factors.push(self.load_site(unit, place, i));
        }
        self.add_scaled(product, &factors, sum)
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
            let main = f.round_down(columns, super::lanes::WIDTH);
            for (from, to, width) in [(zero, main, super::lanes::WIDTH), (main, columns, 1)] {
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
