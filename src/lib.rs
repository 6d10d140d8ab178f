//! Multi-Scale Dequant: multiply quantized weights as stored, with a proved error bound.
//! This facade owns nothing yet; it gathers the crates people depend on.

pub use msd_grammar as grammar;
pub use msd_io as io;
pub use msd_ir as ir;
pub use msd_jit as jit;
