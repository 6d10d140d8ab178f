//! IR to CPU code: scheduling, Cranelift lowering, packed weights, thread pool, and the handle
//! that owns the machine code. All `unsafe` of the project lives here, block by block with its
//! argument. Rewriting, numerics and file formats are other crates' business.

pub mod isa;
pub mod kernel;
mod lower;
mod micro;
mod module;
mod pack;
pub mod pool;
mod schedule;
mod tile;
