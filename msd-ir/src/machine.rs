//! Machine profiles: what the cost model believes about the CPU. Fixed by default, so that the
//! same command makes the same plan, and so the same bits, everywhere.

use crate::cost::{Rates, Units};
use crate::dtype::DType;

/// Rates of one thread.
#[derive(Clone, Debug, PartialEq)]
pub struct Machine {
    /// Name in `explain`.
    pub name: String,
    /// Memory read bandwidth, 10^9 bytes per second.
    pub read_gbs: f64,
    /// 8-bit integer multiply-accumulates of our tiles, 10^9 per second.
    pub int8_gmacs: f64,
    /// F32 multiply-accumulates of our tiles, conversion of the codes included.
    pub f32_gmacs: f64,
    /// Elementwise operations, 10^9 per second.
    pub vector_gops: f64,
}

impl Machine {
    /// A server core of 2019 (Cascade Lake) with AVX-512 and its VNNI: the rates of our tiles there.
    pub fn default_profile() -> Machine {
        Machine { name: "default".to_string(), read_gbs: 12.0, int8_gmacs: 250.0, f32_gmacs: 48.0, vector_gops: 24.0 }
    }

    /// The rates of products of `operand`: bytes, or floats that are multiplied as F32.
    pub fn rates(&self, operand: DType) -> Rates {
        let matrix = if operand.is_int() { self.int8_gmacs } else { self.f32_gmacs };
        Rates {
            memory: 1e9 * self.read_gbs,
            matrix: 1e9 * matrix,
            vector: 1e9 * self.vector_gops,
            units: Units::Shared,
        }
    }
}
