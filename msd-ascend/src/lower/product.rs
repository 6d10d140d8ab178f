//! Matrix products of the graph as stages: what is multiplied by what in which type, and what becomes of the sums.
//! Owns the preparation of operands; tiles are `blocking.rs`'s, instructions `cube.rs`'s.

use msd_ir::diag::{Code as Fault, Diagnostic};
use msd_ir::dtype::DType;
use msd_ir::graph::{Kernel, Value};
use msd_ir::ops::{Class, Op};

use super::code::Code;
use super::numbers::stored;
use super::region::{Groups, Merging, Region, Term};
use super::schedule::{Scheduler, Stage};
use super::vector::{Pass, VectorStage};
use super::view::View;
use crate::chip::Chip;
use crate::program::Purpose;

use DType::{BF16, F16, F32, I32};

/// Products, and what becomes of their sums.
#[derive(Clone, Debug)]
pub(crate) struct ProductStage {
    /// `[.., M, N]`
    pub(crate) shape: Vec<i64>,
    /// They share `a`.
    pub(crate) terms: Vec<Term>,
    pub(crate) region: Region,
    pub(crate) out: View,
    /// What its contraction is in groups of.
    pub(crate) groups: Option<Box<Groups>>,
    /// Weights of digits that are added up on their way out of L0C, if they are.
    pub(crate) merged: Option<Vec<f32>>,
    /// What makes right operands, tile by tile.
    pub(crate) conversions: Vec<VectorStage>,
    pub(crate) note: String,
}

/// Longest group that is added up as it is multiplied.
const MAX_GROUP: i64 = 1024;

/// Longest contraction whose sums of 8-bit products fit 32 bits.
pub(crate) const MAX_INT_K: i64 = (1 << 31) / (128 * 128);

impl Scheduler<'_> {
    /// Whether a value is merged out of sums of a product: it is the product, or adds up digits of one.
    pub(crate) fn is_merged(&self, value: Value) -> bool {
        let is_merge = match self.kernel.node(value).op {
            Op::Dot | Op::MatMul => !self.is_int_product(value),
            Op::Combine { .. } | Op::CombineZero { .. } => true,
            _ => self.is_grouped(value),
        };
        is_merge && value.result == 0 && !self.is_placed(value)
    }

    /// Whether a product is one of integers that the cube does not multiply.
    pub(crate) fn is_int_product(&self, value: Value) -> bool {
        let node = self.kernel.node(value);
        if !matches!(node.op, Op::Dot | Op::MatMul) || !self.kernel.tensor_ty(value).dtype.is_int() {
            return false;
        }
        let types = [0, 1].map(|i| self.kernel.tensor_ty(node.operands[i]).dtype);
        let is_wide = |dtype: DType| dtype.bits() > 16 || dtype == DType::Bool;
        types.into_iter().any(is_wide) || types[1].bits() > 8 || types == [DType::I16, DType::U8]
    }

    /// Whether a product is merged by its only user.
    pub(crate) fn is_part_of_another(&self, value: Value) -> bool {
        !self.is_int_product(value)
            && self.uses[value.node] == 1
            && self.kernel.nodes.iter().enumerate().any(|(index, n)| {
                let is_merge = match n.op {
                    Op::Combine { .. } | Op::CombineZero { .. } => true,
                    _ => self.is_grouped(Value { node: index, result: 0 }),
                };
                is_merge && n.operands.first() == Some(&value)
            })
    }

    /// Whether a value adds up groups of a contraction tile by tile, as the cube multiplies them.
    pub(crate) fn is_grouped(&self, value: Value) -> bool {
        let node = self.kernel.node(value);
        if !matches!(node.op, Op::Accumulate | Op::AccumulateWide { .. }) {
            return false;
        }
        let merged = node.operands[0];
        let product = match self.kernel.node(merged) {
            merge if matches!(merge.op, Op::Combine { .. } | Op::CombineZero { .. }) => merge.operands[0],
            _ => merged,
        };
        let multiplied = self.kernel.node(product);
        if !matches!(multiplied.op, Op::Dot | Op::MatMul) || self.is_int_product(product) {
            return false;
        }
        let types = [0, 1].map(|i| self.kernel.tensor_ty(multiplied.operands[i]).dtype);
        // Groups begin with whole blocks in L1, and are no longer than what is loaded at a time.
        let is_short = |dtype: &DType| stored(*dtype, self.chip).bits() == 4;
        let block = if types.iter().all(is_short) { 64 } else { 32 };
        let shape = self.shape(product);
        let length = self.shape(multiplied.operands[0]).last().copied().unwrap_or(0);
        let fits = length > 0 && length % block == 0 && length <= MAX_GROUP;
        let are_several = shape.len() > 2 && shape[shape.len() - 3] > 1 && !shape.contains(&0);
        fits && are_several && [merged, product].iter().all(|v| self.uses[v.node] == 1)
    }

    /// Whether products melt into the loop of a value.
    pub(crate) fn has_products(&self, value: Value) -> bool {
        if self.kernel.node(value).op.class() != Class::Elementwise || self.is_placed(value) {
            return false;
        }
        let mut inside = vec![false; self.kernel.nodes.len()];
        inside[value.node] = true;
        for index in (0..=value.node).rev() {
            if !inside[index] {
                continue;
            }
            if self.is_merged(Value { node: index, result: 0 }) {
                return true;
            }
            for v in &self.kernel.nodes[index].operands {
                inside[v.node] |= self.melts[v.node];
            }
        }
        false
    }

    /// How sums become the number `value`, and the product that gives them, unless they lie in GM.
    pub(crate) fn merging(&mut self, value: Value, term: usize) -> Result<(Merging, Option<Term>), Diagnostic> {
        let node = self.kernel.node(value);
        let mut weights: Vec<i64> = match node.op {
            Op::Combine { scheme } | Op::CombineZero { scheme } => scheme.weights().to_vec(),
            _ => vec![1],
        };
        let digits = weights.len() as i64;
        let shape = self.shape(value).to_vec();
        let mut zero = match node.op {
            Op::CombineZero { .. } => {
                let (sums, zero) = (self.view(node.operands[1])?, self.view_or_number(node.operands[2])?);
                let tokens = shape[shape.len() - 2];
                let rows = sums.rank() - 2;
                let of = |digit: i64| sums.sliced(rows, digit * tokens, (digit + 1) * tokens).stretched(&shape);
                Some(((0..digits).map(|digit| Some(of(digit))).collect::<Vec<_>>(), zero.stretched(&shape)))
            }
            _ => None,
        };
        let is_whole = matches!(node.op, Op::Dot | Op::MatMul);
        let product = if is_whole { value } else { node.operands[0] };
        let is_here = is_whole || self.is_merged(product) && self.is_part_of_another(product);
        if !is_here {
            let sums = self.view(product)?;
            let (tokens, rows) = (shape[shape.len() - 2], sums.rank() - 2);
            let of = |digit: i64| vec![sums.sliced(rows, digit * tokens, (digit + 1) * tokens).stretched(&shape)];
            let parts = Some((0..digits).map(of).collect());
            let merging = Merging { term, weights, parts, zero, is_whole, ..Merging::alone(sums.dtype) };
            return Ok((merging, None));
        }
        let less = if zero.is_some() { self.spare(product, node.operands[1]) } else { 0 };
        let mut made = self.term(product, digits, less)?;
        let is_empty = made.k() == 0;
        let left = self.kernel.node(product).operands[0];
        let is_halved =
            self.kernel.tensor_ty(product).dtype.is_int() && self.kernel.tensor_ty(left).dtype == DType::I16;
        if !is_empty && is_halved {
            // Rows of high halves first. Zero points are taken off once.
            made.digits *= 2;
            weights = weights.iter().map(|w| w * 256).chain(weights.iter().copied()).collect();
            if let Some((rows, _)) = &mut zero {
                rows.splice(0..0, vec![None; digits as usize]);
            }
        }
        let merging = Merging { term, weights, zero, less, is_whole, is_empty, ..Merging::alone(made.sums()) };
        Ok((merging, Some(made)))
    }

    /// The view of a value, literals included.
    pub(crate) fn view_or_number(&mut self, value: Value) -> Result<View, Diagnostic> {
        if !matches!(self.kernel.node(value).op, Op::Const { .. } | Op::Size { .. }) {
            return self.view(value);
        }
        let out = self.home(value, Purpose::Activation);
        self.map_into(value, out.clone())?;
        self.set(value, out.clone());
        Ok(out)
    }

    /// By how much codes without a sign may be less, so that they fit a type that has one, if zero points that are as
    /// much less make up for it: those are multiplied with the sums of rows.
    fn spare(&self, product: Value, sums: Value) -> i64 {
        let operands = &self.kernel.node(product).operands;
        let summed = match self.kernel.node(sums) {
            node if node.op == Op::Sum => match self.kernel.node(node.operands[0]) {
                wide if matches!(wide.op, Op::Cast { .. }) => wide.operands[0],
                _ => node.operands[0],
            },
            _ => return 0,
        };
        match [0, 1].map(|i| self.kernel.tensor_ty(operands[i]).dtype) {
            _ if summed != operands[0] => 0,
            [DType::I8 | DType::I4, DType::U8] => 128,
            [DType::I8 | DType::I4, DType::U4] => 8,
            _ => 0,
        }
    }

    /// The operands of a product as cube cores take them.
    fn term(&mut self, product: Value, digits: i64, less: i64) -> Result<Term, Diagnostic> {
        let operands = &self.kernel.node(product).operands;
        let (a, b) = (operands[0], operands[1]);
        let batch = self.shape(product)[..self.shape(product).len() - 2].to_vec();
        if self.shape(a).last() == Some(&0) {
            let nothing = View::dense(0, F32, self.shape(a).to_vec());
            let b = View::dense(0, F32, self.shape(b).to_vec());
            return Ok(Term { a: nothing, b, scales: None, digits });
        }
        let scaled = self.scaled_term(a, b)?;
        let (a, b, scales) = match scaled {
            Some((a, b, scales)) => (a, b, Some(scales)),
            None => {
                let (a, b) = self.factors(product, a, b, less)?;
                (a, b, None)
            }
        };
        let whole = |view: &View| {
            let own: Vec<i64> = batch.iter().chain(&view.shape[view.rank() - 2..]).copied().collect();
            view.stretched(&own)
        };
        let term = Term { a: whole(&a), b: whole(&b), scales: scales.map(|(a, b)| (whole(&a), whole(&b))), digits };
        Ok(term)
    }

    /// Whether zero points can be taken off sums in 32 bits: bytes are up to 255 from theirs, 4 bits up to 30.
    pub(super) fn check_zero(&self, merging: &Merging, term: &Term, value: Value) -> Result<(), Diagnostic> {
        let Some((_, zero)) = &merging.zero else { return Ok(()) };
        let is_short = zero.dtype.bits() == 4 || merging.less == 8;
        let most = if is_short { 4 * MAX_INT_K } else { MAX_INT_K / 2 };
        if term.k() < most || zero.dtype.is_float() && merging.less == 0 {
            return Ok(());
        }
        let message = format!("a contraction of {} elements with zero points on {}", term.k(), self.chip.name);
        let help = format!("sums of up to {most} are sure to fit 32 bits; run the kernel with `--target cpu`");
        Err(Diagnostic::new(Fault::NotOnChip, message).help(help).at_known(Some(self.kernel.node(value).span)))
    }

    /// A product whose sums would leave 32 bits: parts of the contraction as digits of their own.
    pub(crate) fn merged_in_parts(
        &mut self,
        value: Value,
        merging: Merging,
        term: &Term,
    ) -> Result<Merging, Diagnostic> {
        let (digits, rank) = (merging.weights.len(), term.b.rank());
        // Together they may be too large for an integer; one of 32 bits wraps around.
        let is_whole = merging.is_whole && self.dtype(value) == I32;
        let mut whole = Merging { weights: Vec::new(), parts: Some(Vec::new()), is_whole, ..merging.clone() };
        let length = MAX_INT_K / 2;
        let mut start = 0;
        while start < term.k() {
            let stop = (start + length).min(term.k());
            let (a, b) = (term.a.sliced(rank - 1, start, stop), term.b.sliced(rank - 2, start, stop));
            let part = Term { a, b, ..term.clone() };
            let alone = self.merged_alone(value, merging.clone(), part)?;
            whole.weights.extend(&alone.weights);
            whole.parts.get_or_insert_default().extend(alone.parts.unwrap_or_default());
            start = stop;
        }
        if let Some((rows, _)) = &mut whole.zero {
            // Taken off the first part.
            rows.resize(whole.weights.len().max(digits), None);
        }
        Ok(whole)
    }

    /// The sums of a product in GM: how they are merged from there.
    pub(crate) fn merged_alone(&mut self, value: Value, merging: Merging, term: Term) -> Result<Merging, Diagnostic> {
        let shape = self.shape(value).to_vec();
        let rank = shape.len();
        let mut rows = shape.clone();
        rows[rank - 2] *= term.digits;
        let sums = self.tensor("sums", term.sums(), &rows, Purpose::Accumulator);
        let tokens = shape[rank - 2];
        let of = |digit: i64| vec![sums.sliced(rank - 2, digit * tokens, (digit + 1) * tokens)];
        let parts = (0..term.digits).map(of).collect();
        let root = Value { node: usize::MAX, result: 0 };
        let alone = Term { digits: 1, ..term };
        let own = Merging::alone(alone.sums());
        let region = Region { merges: vec![(usize::MAX, own)], ..Region::new(rows.clone(), root) };
        let note = format!("{} sums alone", self.note(value));
        let stage = ProductStage {
            shape: rows,
            terms: vec![alone],
            region,
            out: sums,
            groups: None,
            merged: None,
            conversions: Vec::new(),
            note,
        };
        if !stage.shape.contains(&0) {
            self.schedule.stages.push(Stage::Product(Box::new(stage)));
        }
        Ok(Merging { parts: Some(parts), ..merging })
    }

    /// A loop around products.
    pub(crate) fn push_product(&mut self, value: Value, out: View) -> Result<(), Diagnostic> {
        let note = self.note(value);
        let mut region = self.region(value)?;
        if region.shape.contains(&0) {
            return Ok(());
        }
        if region.merges.iter().all(|(_, merging)| merging.is_empty || merging.parts.is_some()) {
            let dtype = self.kernel.tensor_ty(value).dtype;
            region.terms.clear();
            return self.push_map(region, dtype, out, note);
        }
        self.settle(&mut region)?;
        let (shape, terms) = (region.shape.clone(), std::mem::take(&mut region.terms));
        let groups = region.groups.take();
        let stage = ProductStage { shape, terms, region, out, groups, merged: None, conversions: Vec::new(), note };
        self.schedule.stages.push(Stage::Product(Box::new(stage)));
        Ok(())
    }
}

impl ProductStage {
    /// Whether the sums are the result as they leave L0C.
    pub(crate) fn is_bare(&self, kernel: &Kernel) -> bool {
        let [(of, merging)] = self.region.merges.as_slice() else { return false };
        // A cast to the type of the result is what FIX does anyway.
        let is_cast = |index: &usize| {
            let is_last = Value { node: *index, result: 0 } == self.region.root;
            index == of || is_last && matches!(kernel.nodes[*index].op, Op::Cast { .. })
        };
        let is_root = self.region.nodes.iter().all(is_cast) && self.terms.len() == 1;
        let is_whole = merging.weights == [1] && merging.zero.is_none() && merging.parts.is_none();
        let drained = matches!((merging.sums, self.out.dtype), (F32, F32 | F16 | BF16) | (I32, I32));
        is_root && is_whole && drained && self.out.strides[self.out.rank() - 1] == 1
    }

    /// Type of the sums as they leave L0C.
    pub(crate) fn sums(&self) -> DType {
        if self.merged.is_some() { F32 } else { self.terms[0].sums() }
    }

    /// Which term a conversion makes the right operand of.
    pub(crate) fn term_of(&self, conversion: &VectorStage) -> Option<usize> {
        let made = conversion.passes[0].outputs[0].1.tensor;
        self.terms.iter().position(|term| term.b.tensor == made)
    }

    /// Has digits merged on their way out of L0C, if nothing else is done with the sums of each, and weights have no
    /// more bits than scales there.
    pub(crate) fn merge_early(&mut self) {
        let merges = self.region.merges.iter().map(|(_, merging)| merging);
        let is_plain =
            |m: &Merging| m.parts.is_none() && m.zero.is_none() && !m.is_whole && !m.is_kept && m.sums == I32;
        let is_short = |weight: &i64| (*weight as f32) as i64 == *weight && (*weight as f32).to_bits() & 0x1FFF == 0;
        let Some(weights) = merges.clone().map(|m| m.weights.clone()).next() else { return };
        let fits = weights.len() > 1 && weights.iter().all(is_short);
        if !fits || self.groups.is_some() || !merges.clone().all(|m| is_plain(m) && m.weights == weights) {
            return;
        }
        for (_, merging) in &mut self.region.merges {
            (merging.weights, merging.sums) = (vec![1], F32);
        }
        self.merged = Some(weights.iter().map(|weight| *weight as f32).collect());
    }

    /// What vector cores make of the sums.
    pub(crate) fn pass(&self, kernel: &Kernel, chip: &Chip) -> Result<Pass, Diagnostic> {
        let mut code = Code::default();
        let number = self.region.compute(&mut code, kernel, chip)?;
        let reg = code.output(number, self.out.dtype, chip);
        Ok(Pass { code, outputs: vec![(reg, self.out.clone())], ..Pass::default() }.clean())
    }

    /// Takes sums from parts of K in GM, `[part, term, .., D*M, N]`.
    pub(crate) fn take_from(&mut self, parts: &View, splits: i64) {
        let rank = self.shape.len();
        let tokens = self.shape[rank - 2];
        for (_, merging) in self.region.merges.iter_mut().filter(|(_, merging)| merging.parts.is_none()) {
            let of = |digit: i64, part: i64| {
                let whole = parts.at(0, part).at(0, merging.term as i64);
                whole.sliced(rank - 2, digit * tokens, (digit + 1) * tokens)
            };
            let digits = merging.weights.len() as i64;
            merging.parts = Some((0..digits).map(|d| (0..splits).map(|part| of(d, part)).collect()).collect());
        }
    }
}
