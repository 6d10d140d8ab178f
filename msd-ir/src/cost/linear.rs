//! Costs of a linear layer (paper, sections 3.5 and 5.2). Owns the forms; the paper's `m x n`
//! weight is `n x k` here, and its `b` tokens are `m`, as everywhere in msd.

use super::{Conversion, Counts, WeightReads, greedy_split_ops};
use crate::dtype::DType;

/// `y [m, n] = x [m, k] @ w [k, n]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// Tokens.
    pub m: f64,
    /// Output channels.
    pub n: f64,
    /// Contraction length.
    pub k: f64,
    /// Bits per stored weight, its share of scales and zero points included.
    pub weight_bits: f64,
    /// Bits per activation.
    pub activation_bits: f64,
    /// Bits per result.
    pub result_bits: f64,
}

/// What the lowering `msd` makes of activations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Digits {
    /// Digits per element, each of which is a product with the weight.
    pub count: f64,
    /// Bytes of one.
    pub bytes: f64,
    /// Element type that is multiplied.
    pub operand: DType,
    /// Elementwise operations to split one element.
    pub split_ops: f64,
    /// Elementwise operations to merge the accumulators of one result.
    pub merge_ops: f64,
    /// Whether the products read the digits back from memory.
    pub is_read_back: bool,
    /// Accumulators per result and digit that pass through memory, once written and once read.
    pub stored_accumulators: f64,
    /// Bytes of scales that go with the digits of a token.
    pub unit_bytes: f64,
}

impl Digits {
    /// The paper's INT8 digits, where cube and vector cores meet on chip.
    pub fn paper(count: f64) -> Digits {
        Digits {
            count,
            bytes: 1.0,
            operand: DType::I8,
            split_ops: greedy_split_ops(count),
            merge_ops: count,
            is_read_back: false,
            stored_accumulators: 0.0,
            unit_bytes: 0.0,
        }
    }

    /// The same where they meet in memory only: digits and accumulators are written and read back.
    pub fn through_memory(self) -> Digits {
        Digits { is_read_back: true, stored_accumulators: 1.0, ..self }
    }
}

/// Bytes of an accumulator, INT32 or F32.
const ACCUMULATOR_BYTES: f64 = 4.0;

impl Linear {
    /// A layer of the paper: BF16 activations and results.
    pub fn paper(m: f64, n: f64, k: f64) -> Linear {
        Linear { m, n, k, weight_bits: 8.0, activation_bits: 16.0, result_bits: 16.0 }
    }

    fn weight_bytes(&self) -> f64 {
        self.n * self.k * self.weight_bits / 8.0
    }

    /// Activations read, results written.
    fn edge_bytes(&self) -> f64 {
        (self.m * self.k * self.activation_bits + self.m * self.n * self.result_bits) / 8.0
    }

    /// The weight converted, then multiplied. With [`Conversion::PAPER`]: `3nk + 2mk + 2mn` bytes as
    /// published, `5nk + 2mk + 2mn` with every transfer; `2mnk` FLOPs; `2nk` elementwise operations.
    pub fn dequant(&self, conversion: &Conversion) -> Counts {
        let (weights, results) = (self.n * self.k, self.m * self.n);
        let written = conversion.bytes * weights;
        let bytes_published = self.weight_bytes() + written + self.edge_bytes();
        Counts {
            bytes: bytes_published + written,
            bytes_published,
            macs: results * self.k,
            operand: conversion.operand,
            vector_ops: conversion.ops * weights + conversion.result_ops * results,
        }
    }

    /// The weight multiplied as stored by each digit. With [`Digits::paper`] of two: `nk + 4mk + 2mn`
    /// bytes either way, `2nk + ...` if the weight is read for each; `4mnk` FLOPs;
    /// `(3k + 5k + 2n) m` elementwise operations.
    pub fn msd(&self, digits: &Digits, reads: WeightReads) -> Counts {
        let (elements, results) = (self.m * self.k, self.m * self.n);
        let written = digits.count * digits.bytes * elements + digits.unit_bytes * self.m;
        let read_back = if digits.is_read_back { written } else { 0.0 };
        let accumulators = ACCUMULATOR_BYTES * digits.count * digits.stored_accumulators * results;
        let bytes_published = reads.of(digits.count) * self.weight_bytes() + written + self.edge_bytes();
        Counts {
            bytes: bytes_published + read_back + 2.0 * accumulators,
            bytes_published,
            macs: digits.count * results * self.k,
            operand: digits.operand,
            vector_ops: digits.split_ops * elements + digits.merge_ops * results,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{Rates, Units};

    /// The table of section 4 in the specification, at 3 tokens, 5 channels, 7 contracted.
    #[test]
    fn the_paper_is_a_special_case() {
        let (b, m, n) = (3.0, 5.0, 7.0);
        let layer = Linear::paper(b, m, n);
        let dequant = layer.dequant(&Conversion::PAPER);
        assert_eq!(dequant.bytes_published, 3.0 * m * n + 2.0 * b * n + 2.0 * b * m);
        assert_eq!(dequant.bytes, 5.0 * m * n + 2.0 * b * n + 2.0 * b * m);
        assert_eq!((dequant.flops(), dequant.operand), (2.0 * b * m * n, DType::BF16));
        assert_eq!(dequant.vector_ops, 2.0 * m * n);
        for (reads, times) in [(WeightReads::Resident, 1.0), (WeightReads::PerDigit, 2.0)] {
            let msd = layer.msd(&Digits::paper(2.0), reads);
            assert_eq!(msd.bytes_published, times * m * n + 4.0 * b * n + 2.0 * b * m);
            assert_eq!(msd.bytes, msd.bytes_published);
            assert_eq!((msd.flops(), msd.operand), (4.0 * b * m * n, DType::I8));
            assert_eq!(msd.vector_ops, (3.0 * n + 5.0 * n + 2.0 * m) * b);
            // Digits are read once more, two INT32 accumulators per result written and read.
            let apart = layer.msd(&Digits::paper(2.0).through_memory(), reads);
            assert_eq!(apart.bytes_published, msd.bytes_published);
            assert_eq!(apart.bytes, msd.bytes + 2.0 * b * n + 2.0 * 2.0 * 4.0 * b * m);
        }
    }

    #[test]
    fn other_formats_and_digits() {
        let layer = Linear { weight_bits: 4.25, ..Linear::paper(2.0, 64.0, 32.0) };
        let weights = 64.0 * 32.0;
        let msd = layer.msd(&Digits::paper(3.0), WeightReads::PerDigit);
        assert_eq!(msd.bytes, 3.0 * weights * 4.25 / 8.0 + (2.0 + 3.0) * 64.0 + 2.0 * 128.0);
        assert_eq!(msd.vector_ops, 13.0 * 64.0 + 3.0 * 128.0);
        assert_eq!(msd.macs, 3.0 * 2.0 * weights);
        let dequant = layer.dequant(&Conversion { bytes: 4.0, ..Conversion::PAPER });
        assert_eq!(dequant.bytes - dequant.bytes_published, 4.0 * weights);
    }

    #[test]
    fn the_slowest_unit_decides() {
        let counts = Linear::paper(1.0, 64.0, 64.0).dequant(&Conversion::PAPER);
        let fast = Rates { memory: f64::INFINITY, matrix: 4096.0, vector: 2048.0, units: Units::Shared };
        // 4096 multiply-accumulates in 1 s, 8192 operations in 4 s.
        assert_eq!(counts.seconds(&fast), 5.0);
        let decoupled = Rates { units: Units::Decoupled { sync: 0.5 }, ..fast };
        assert_eq!(counts.seconds(&decoupled), 4.5);
        assert_eq!(counts.seconds(&Rates { memory: counts.bytes / 8.0, ..decoupled }), 8.5);
        assert_eq!(counts.times(2.0).seconds(&decoupled), 8.5);
    }
}
