//! The closed forms for the code this project makes for CPUs, as the planner uses them. Owns what is
//! particular to that code: digits go through memory, sums of integers and of groups do not, and weights
//! become F32 on their way into a product unless nothing multiplies them as stored.

use super::linear::{Digits, Linear};
use super::{Conversion, Counts, WeightReads, greedy_split_ops};
use crate::dtype::DType;
use crate::machine::Machine;
use crate::quant::scheme::{Family, Scheme};

/// A product with a weight, as a graph has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Product {
    /// One of the batches.
    pub layer: Linear,
    /// How many there are.
    pub batches: f64,
    /// Whether codes of the weight are integers, or floats that are multiplied as integers. Others
    /// are multiplied as F32 by any digits.
    pub has_integer_codes: bool,
}

/// What a lowering costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// What it moves and computes.
    pub counts: Counts,
    /// Predicted seconds on one thread of the machine.
    pub seconds: f64,
}

/// Parts of a contraction that are summed, and merged, one by one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Groups {
    /// How many there are.
    pub count: u64,
    /// Whether activations have a unit for each.
    pub has_units: bool,
}

/// Codes become F32 in registers, as fast as products with F32 go; the scale is left to the results.
const IN_REGISTERS: Conversion = Conversion { ops: 0.0, bytes: 0.0, result_ops: 1.0, operand: DType::F32 };

/// The weight is written as F32.
const MATERIALIZED: Conversion = Conversion { ops: 2.0, bytes: 4.0, result_ops: 0.0, operand: DType::F32 };

impl Product {
    /// The digits of `scheme`, whose accumulators are merged once, or in groups.
    pub fn msd(&self, scheme: Scheme, groups: Option<Groups>, machine: &Machine) -> Cost {
        let digits = self.digits(scheme, groups);
        self.cost(self.layer.msd(&digits, WeightReads::Resident), machine)
    }

    /// Both operands multiplied as they are stored: no digits, a scale of each to apply.
    pub fn native(&self, machine: &Machine) -> Cost {
        let stored = Conversion { result_ops: 2.0, operand: DType::I8, ..IN_REGISTERS };
        self.cost(self.layer.dequant(&stored), machine)
    }

    /// The weight as F32: each result scaled once, or once for each group, or else the weight written
    /// out, where no rule multiplies its codes.
    pub fn dequant(&self, scalings: Option<u64>, machine: &Machine) -> Cost {
        let scaled = |count| Conversion { result_ops: count as f64, ..IN_REGISTERS };
        self.cost(self.layer.dequant(&scalings.map_or(MATERIALIZED, scaled)), machine)
    }

    fn cost(&self, one: Counts, machine: &Machine) -> Cost {
        let counts = one.times(self.batches);
        Cost { counts, seconds: counts.seconds(&machine.rates(counts.operand)) }
    }

    fn digits(&self, scheme: Scheme, groups: Option<Groups>) -> Digits {
        let count = scheme.weights().len() as f64;
        let digit = scheme.digit_dtype();
        let is_integer = self.has_integer_codes && digit.is_int();
        let parts = groups.map_or(1.0, |g| g.count as f64);
        // Digits come together in an operation each. A group adds one to its sum, and may have its
        // scale multiplied by the unit of the activations.
        let merge_ops = match groups {
            None => count,
            Some(g) => parts * (count + 1.0 + f64::from(u8::from(g.has_units))),
        };
        let has_units = groups.is_some_and(|g| g.has_units);
        Digits {
            count,
            bytes: digit.host_bytes() as f64,
            operand: if is_integer { DType::I8 } else { DType::F32 },
            split_ops: split_ops(scheme),
            merge_ops,
            is_read_back: true,
            stored_accumulators: if is_integer || groups.is_some() { 0.0 } else { 1.0 },
            unit_bytes: if has_units { 4.0 * parts } else { 0.0 },
        }
    }
}

/// Elementwise operations to split one element: 4 per digit where one integer is found and split by
/// shifts, those of the paper where a digit is what the digits before it left over.
fn split_ops(scheme: Scheme) -> f64 {
    let digits = scheme.weights().len() as f64;
    match scheme.family() {
        Family::Pow2 { .. } | Family::Radix { .. } => 4.0 * digits,
        Family::Greedy { .. } | Family::Minifloat { .. } => greedy_split_ops(digits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCT: Product = Product {
        layer: Linear { m: 4.0, n: 256.0, k: 512.0, weight_bits: 8.0, activation_bits: 16.0, result_bits: 32.0 },
        batches: 3.0,
        has_integer_codes: true,
    };
    const ELEMENTS: f64 = 3.0 * 4.0 * 512.0;
    const RESULTS: f64 = 3.0 * 4.0 * 256.0;
    const WEIGHTS: f64 = 3.0 * 256.0 * 512.0;

    fn msd(product: Product, scheme: Scheme, groups: Option<Groups>) -> Counts {
        product.msd(scheme, groups, &Machine::default_profile()).counts
    }

    #[test]
    fn greedy_digits_are_those_of_the_paper_through_memory() {
        let found = msd(PRODUCT, Scheme::Int8x2Greedy, None);
        let paper = Digits { is_read_back: true, ..Digits::paper(2.0) };
        assert_eq!(found, PRODUCT.layer.msd(&paper, WeightReads::Resident).times(3.0));
    }

    #[test]
    fn digits_of_one_integer_and_groups() {
        let whole = msd(PRODUCT, Scheme::Int8x2Pow2, None);
        assert_eq!(whole.vector_ops, 8.0 * ELEMENTS + 2.0 * RESULTS);
        assert_eq!(whole.bytes, WEIGHTS + 2.0 * ELEMENTS + 4.0 * RESULTS + 2.0 * 2.0 * ELEMENTS);
        let groups = msd(PRODUCT, Scheme::Int8x2Pow2, Some(Groups { count: 4, has_units: false }));
        assert_eq!(groups, Counts { vector_ops: 8.0 * ELEMENTS + 3.0 * 4.0 * RESULTS, ..whole });
        let blocks = msd(PRODUCT, Scheme::Int8x2Pow2, Some(Groups { count: 4, has_units: true }));
        assert_eq!(blocks.vector_ops, 8.0 * ELEMENTS + 4.0 * 4.0 * RESULTS);
        // An F32 for each of 4 blocks of 4 tokens in 3 batches, written and read.
        assert_eq!(blocks.bytes - whole.bytes, 2.0 * 4.0 * 4.0 * 4.0 * 3.0);
    }

    #[test]
    fn codes_that_are_no_integers_are_multiplied_as_f32() {
        let fp8 = Product { has_integer_codes: false, ..PRODUCT };
        let (integers, floats) = (msd(PRODUCT, Scheme::Int8x2Pow2, None), msd(fp8, Scheme::Int8x2Pow2, None));
        assert_eq!((integers.operand, floats.operand), (DType::I8, DType::F32));
        assert_eq!((integers.macs, integers.vector_ops), (floats.macs, floats.vector_ops));
        // Two partial products of F32, written and read; those of groups are added up as they are made.
        assert_eq!(floats.bytes - integers.bytes, 2.0 * 4.0 * 2.0 * RESULTS);
        let groups = Some(Groups { count: 4, has_units: false });
        let [floats, integers] = [fp8, PRODUCT].map(|product| msd(product, Scheme::Int8x2Pow2, groups));
        assert_eq!(floats.bytes, integers.bytes);
        let machine = Machine::default_profile();
        assert!(machine.rates(floats.operand).matrix < machine.rates(integers.operand).matrix);
    }

    #[test]
    fn what_is_stored_twice_has_no_digits() {
        let machine = Machine::default_profile();
        let (native, dequant) = (PRODUCT.native(&machine), PRODUCT.dequant(Some(1), &machine));
        assert_eq!((native.counts.bytes, native.counts.operand), (dequant.counts.bytes, DType::I8));
        assert_eq!((native.counts.vector_ops, dequant.counts.vector_ops), (2.0 * RESULTS, RESULTS));
        let groups = PRODUCT.dequant(Some(4), &machine).counts;
        assert_eq!((groups.bytes, groups.vector_ops), (dequant.counts.bytes, 4.0 * RESULTS));
        let materialized = PRODUCT.dequant(None, &machine).counts;
        assert_eq!(materialized.bytes - dequant.counts.bytes, 2.0 * 4.0 * WEIGHTS);
        assert_eq!(materialized.bytes_published - dequant.counts.bytes, 4.0 * WEIGHTS);
    }
}
