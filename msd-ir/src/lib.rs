//! The pure core of msd: types, graph, op table, reference evaluator, quantized formats and
//! decomposition schemes, rewrite rules, cost models. No IO, clock, threads, terminal or
//! `unsafe`; everything here is a function of its arguments.

pub mod builder;
pub mod certificate;
pub mod class;
pub mod cost;
pub mod diag;
pub mod dim;
pub mod dtype;
pub mod eval;
pub mod functions;
pub mod graph;
pub mod input;
pub mod machine;
pub mod math;
pub mod melt;
pub mod ops;
pub mod pass;
pub mod plan;
pub mod reference;
pub mod rewrite;
pub mod span;
pub mod tensor;
pub mod text;
pub mod types;
pub mod verify;

/// Quantized formats and the splitting of activations.
pub mod quant {
    pub mod decompose;
    pub mod format;
    pub mod nvfp4;
    pub mod quantize;
    pub mod scheme;
    pub mod tensor;
}
