//! Closed-form cost of a product with a quantized weight (paper, section 3.5): bytes moved,
//! multiply-accumulates, elementwise operations, and their roofline time on a machine.

use crate::machine::Machine;

/// Sizes of `y [m, n] = x [m, k] @ w [k, n]`, batches multiplied in where they apply.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Product {
    /// Independent products.
    pub batches: f64,
    /// Tokens per product.
    pub m: f64,
    /// Output channels.
    pub n: f64,
    /// Contraction length.
    pub k: f64,
    /// Bits per stored weight element, its share of scales and zero points included.
    pub weight_bits: f64,
    /// Bits per activation element.
    pub activation_bits: f64,
}

/// What a lowering costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Bytes read and written, each transfer counted.
    pub bytes: f64,
    /// Multiply-accumulates of the matrix product.
    pub macs: f64,
    /// Elementwise operations around it.
    pub vector_ops: f64,
    /// Seconds on one thread of the machine.
    pub seconds: f64,
}

impl Product {
    fn weight_bytes(&self) -> f64 {
        self.n * self.k * self.weight_bits / 8.0
    }

    fn activation_bytes(&self) -> f64 {
        self.m * self.k * self.activation_bits / 8.0 + 4.0 * self.m * self.n
    }

    /// `digits` integer products over one reading of the weight: `3 + 2` operations per digit and
    /// element to split, 2 per result to merge, of `groups` along the contraction 3 for each.
    pub fn msd(&self, digits: usize, groups: Option<u64>, machine: &Machine) -> Cost {
        let digits = digits as f64;
        let bytes = self.weight_bytes() + self.activation_bytes() + 2.0 * digits * self.m * self.k;
        let macs = digits * self.m * self.n * self.k;
        let merging = groups.map_or(2.0, |groups| 3.0 * groups as f64);
        let vector_ops = 4.0 * digits * self.m * self.k + merging * self.m * self.n;
        self.roofline(bytes, macs / machine.int8_gmacs, macs, vector_ops, machine)
    }

    /// The weight converted to F32 in registers; `materialized` counts writing it out and reading
    /// it back, where no rule multiplies the stored codes.
    pub fn dequant(&self, materialized: bool, machine: &Machine) -> Cost {
        let detour = if materialized { 2.0 * 4.0 * self.n * self.k } else { 0.0 };
        let bytes = self.weight_bytes() + self.activation_bytes() + detour;
        let macs = self.m * self.n * self.k;
        let vector_ops = if materialized { 2.0 * self.n * self.k } else { self.m * self.n };
        self.roofline(bytes, macs / machine.f32_gmacs, macs, vector_ops, machine)
    }

    /// The slower of memory and products, then the elementwise work; compute comes in 10^9.
    fn roofline(&self, bytes: f64, compute: f64, macs: f64, vector_ops: f64, machine: &Machine) -> Cost {
        let seconds = (bytes / machine.read_gbs).max(compute) + vector_ops / machine.vector_gops;
        let b = self.batches;
        Cost { bytes: b * bytes, macs: b * macs, vector_ops: b * vector_ops, seconds: b * seconds * 1e-9 }
    }
}
