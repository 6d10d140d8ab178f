//! Closed-form costs of products with a quantized weight (docs/cost.md; the paper, sections 3.5,
//! 4.4, 5.2 and 5.3): bytes under both ways of counting them, multiply-accumulates, elementwise
//! operations, and the time that rates make of these. Owns the forms as functions of plain numbers;
//! what rates a machine has is [`crate::machine`]'s to say, what is done about it the planner's.
//!
//! The paper's tables are 8 bits per weight, two digits, BF16 around them. The forms for other
//! numbers are ours, and equal the paper's there.

pub mod attention;
pub mod cpu;
pub mod linear;

use crate::dtype::DType;

/// What a lowering moves and computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counts {
    /// Bytes read and written, every transfer counted.
    pub bytes: f64,
    /// Bytes as the paper counts them: what one unit leaves in memory for another counts when it is
    /// written, not when it is read back, and accumulators not at all.
    pub bytes_published: f64,
    /// Multiply-accumulates of the matrix products.
    pub macs: f64,
    /// Element type these multiply: it decides their rate.
    pub operand: DType,
    /// Elementwise operations around them.
    pub vector_ops: f64,
}

impl Counts {
    /// Operations of the matrix products, two per multiply-accumulate.
    pub fn flops(&self) -> f64 {
        2.0 * self.macs
    }

    /// The counts of so many of the same.
    pub fn times(self, n: f64) -> Counts {
        Counts {
            bytes: n * self.bytes,
            bytes_published: n * self.bytes_published,
            macs: n * self.macs,
            vector_ops: n * self.vector_ops,
            ..self
        }
    }

    /// Predicted seconds. Memory is another resource of the roofline, with every transfer counted:
    /// the paper's `T = max(T_vector, T_cube) + T_sync` is that of rates without a limit of memory.
    pub fn seconds(&self, rates: &Rates) -> f64 {
        let matrix = self.macs / rates.matrix;
        let vector = self.vector_ops / rates.vector;
        let products = matrix.max(self.bytes / rates.memory);
        match rates.units {
            Units::Shared => products + vector,
            Units::Decoupled { sync } => products.max(vector) + sync,
        }
    }
}

/// What a machine does in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Bytes of memory; infinite to leave memory out.
    pub memory: f64,
    /// Multiply-accumulates of [`Counts::operand`].
    pub matrix: f64,
    /// Elementwise operations.
    pub vector: f64,
    /// Who does which.
    pub units: Units,
}

/// Which units compute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Units {
    /// One core does elementwise work and products in turn.
    Shared,
    /// Vector and cube cores work at the same time, and wait for each other for `sync` seconds in all.
    Decoupled {
        /// `T_sync`.
        sync: f64,
    },
}

/// How often the products with the digits read the weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightReads {
    /// Once: all digits are multiplied while a tile of the weight is there.
    Resident,
    /// Once for each digit: one product after the other. The paper's "two-read".
    PerDigit,
}

impl WeightReads {
    fn of(self, digits: f64) -> f64 {
        match self {
            WeightReads::Resident => 1.0,
            WeightReads::PerDigit => digits,
        }
    }
}

/// What the lowering `dequant` makes of a weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conversion {
    /// Elementwise operations per weight.
    pub ops: f64,
    /// Bytes per weight that pass through memory, once written and once read; 0 where weights are
    /// converted on their way into the product.
    pub bytes: f64,
    /// Elementwise operations per result, for a scale that is left to the results.
    pub result_ops: f64,
    /// Element type of the converted weights.
    pub operand: DType,
}

impl Conversion {
    /// The paper's: vector cores convert and scale to BF16, which cube cores read back.
    pub const PAPER: Conversion = Conversion { ops: 2.0, bytes: 2.0, result_ops: 0.0, operand: DType::BF16 };
}

/// Elementwise operations of the paper to split one element: `3` for the first digit (magnitude,
/// quotient, rounding), `5` for each further one, which first needs what is left over.
pub fn greedy_split_ops(digits: f64) -> f64 {
    3.0 + 5.0 * (digits - 1.0)
}
