//! An Ascend-style NPU on a laptop: its instruction stream in a readable text form, a verifier, an interpreter
//! of values, a model of cycles and a race detector, each usable alone on any stream.
//!
//! Modelled cycles are not time on silicon; docs/npu-model.md says what the model is and how far it was checked.
//! This crate knows nothing of kernels' source text, of files or of the terminal.

pub mod check;
pub mod chip;
pub mod engine;
pub mod expr;
mod form;
pub mod isa;
pub mod lower;
mod order;
pub mod program;
pub mod race;
pub mod reference;
mod shadow;
pub mod text;
pub mod timing;
pub mod trace;
pub mod unroll;
pub mod values;
pub mod verify;
