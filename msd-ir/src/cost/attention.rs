//! Costs of attention with a quantized cache, per head of keys and values (paper, sections 4.4 and
//! 5.3). Owns the forms; queries, scores and results are left out of the bytes, as in the paper:
//! rows of queries are few beside cached keys.

use super::{Conversion, Counts, WeightReads};
use crate::dtype::DType;

/// `softmax(q [n, d] @ keys [m, d].T) @ values [m, d]`, in blocks of keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Query rows that share the cache: of speculative tokens and grouped heads.
    pub n: f64,
    /// Cached keys.
    pub m: f64,
    /// Head dimension.
    pub d: f64,
    /// Keys of a block, after each of which results are rescaled; the paper's `Bc`.
    pub block: f64,
    /// Bits per cached number, its share of scales included.
    pub cache_bits: f64,
}

impl Attention {
    /// A cache of the paper: INT8, blocks of 64 keys.
    pub fn paper(n: f64, m: f64, d: f64) -> Attention {
        Attention { n, m, d, block: 64.0, cache_bits: 8.0 }
    }

    /// Numbers of the keys, and as many of the values.
    fn cached(&self) -> f64 {
        self.m * self.d
    }

    fn scores(&self) -> f64 {
        self.n * self.m
    }

    /// Numbers of the result that are rescaled, over all blocks: `N d Tc`.
    fn rescaled(&self) -> f64 {
        self.n * self.d * self.m / self.block
    }

    /// Keys and values converted, then multiplied. With [`Conversion::PAPER`] and `Tc` blocks: `5Md`
    /// bytes as published, which is one of keys and values read, written and read back; `10Md` with
    /// every transfer of both; `4NMd` FLOPs; `4Md + 4NM + 3NdTc` elementwise operations.
    pub fn dequant(&self, conversion: &Conversion) -> Counts {
        let one = self.cached() * (self.cache_bits / 8.0 + 2.0 * conversion.bytes);
        let results = self.scores() + self.n * self.d;
        let converting = 2.0 * conversion.ops * self.cached() + conversion.result_ops * results;
        Counts {
            bytes: 2.0 * one,
            bytes_published: one,
            macs: 2.0 * self.scores() * self.d,
            operand: conversion.operand,
            vector_ops: converting + 4.0 * self.scores() + 3.0 * self.rescaled(),
        }
    }

    /// Queries and probabilities in INT8 digits. With two of them: `2Md` bytes either way, `4Md` if
    /// the cache is read for each; `8NMd` FLOPs; `6Nd + 12NM + 7NdTc` elementwise operations, which
    /// are 3 per digit to split a query or a probability, 1 per digit to merge a score, 2 per digit
    /// to merge what a block adds to a result, and those of softmax.
    pub fn msd(&self, digits: f64, reads: WeightReads) -> Counts {
        let bytes = reads.of(digits) * 2.0 * self.cached() * self.cache_bits / 8.0;
        let splitting = 3.0 * digits * (self.n * self.d + self.scores());
        let merging = digits * (self.scores() + 2.0 * self.rescaled());
        Counts {
            bytes,
            bytes_published: bytes,
            macs: digits * 2.0 * self.scores() * self.d,
            operand: DType::I8,
            vector_ops: splitting + merging + 4.0 * self.scores() + 3.0 * self.rescaled(),
        }
    }

    /// Elementwise operations of the paper's `dequant` over those of two digits (tables 6 and 7).
    pub fn vector_ratio(&self) -> f64 {
        self.dequant(&Conversion::PAPER).vector_ops / self.msd(2.0, WeightReads::Resident).vector_ops
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables 6 and 7 as printed: two significant digits.
    #[test]
    fn vector_ratios_of_the_paper() {
        let table = [
            (128.0, 1.0, "20"),
            (128.0, 4.0, "5.3"),
            (128.0, 12.0, "2.0"),
            (128.0, 24.0, "1.2"),
            (128.0, 32.0, "1.0"),
            (576.0, 1.0, "31"),
            (576.0, 12.0, "3.0"),
            (576.0, 32.0, "1.4"),
            (576.0, 48.0, "1.0"),
        ];
        for (d, n, printed) in table {
            let ratio = Attention::paper(n, 8192.0, d).vector_ratio();
            let decimals = printed.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            assert_eq!(format!("{ratio:.decimals$}"), printed, "d={d} N={n}: {ratio}");
        }
    }

    #[test]
    fn the_paper_is_a_special_case() {
        let (n, m, d, blocks) = (3.0, 128.0, 5.0, 2.0);
        let attention = Attention::paper(n, m, d);
        let dequant = attention.dequant(&Conversion::PAPER);
        assert_eq!((dequant.bytes_published, dequant.bytes), (5.0 * m * d, 10.0 * m * d));
        assert_eq!((dequant.flops(), dequant.operand), (4.0 * n * m * d, DType::BF16));
        assert_eq!(dequant.vector_ops, 4.0 * m * d + 4.0 * n * m + 3.0 * n * d * blocks);
        for (reads, bytes) in [(WeightReads::Resident, 2.0), (WeightReads::PerDigit, 4.0)] {
            let msd = attention.msd(2.0, reads);
            assert_eq!((msd.bytes_published, msd.bytes), (bytes * m * d, bytes * m * d));
            assert_eq!((msd.flops(), msd.operand), (8.0 * n * m * d, DType::I8));
            assert_eq!(msd.vector_ops, 6.0 * n * d + 12.0 * n * m + 7.0 * n * d * blocks);
        }
    }
}
