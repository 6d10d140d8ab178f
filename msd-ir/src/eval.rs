//! The reference evaluator.
pub(crate) mod float64;
