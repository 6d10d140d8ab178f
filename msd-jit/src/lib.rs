//! IR to CPU code: scheduling, Cranelift lowering, packed weights, thread pool, the handle that
//! owns the machine code, and probes of the machine's own limits. All `unsafe` of the project
//! lives here, but for file mapping in msd-io; each block with its argument. Rewriting, numerics and
//! file formats are other crates' business.

#[cfg(target_arch = "x86_64")]
mod amx;
pub mod argument;
mod blocking;
pub mod bound;
mod compiler;
pub mod inspect;
pub mod isa;
pub mod kernel;
mod lower;
mod micro;
mod module;
mod pack;
mod placement;
pub mod pool;
pub mod probe;
mod schedule;
mod shares;
mod tile;
pub mod weight;
