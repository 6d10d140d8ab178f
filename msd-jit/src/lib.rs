//! msd IR to CPU code through Cranelift, and the machine it runs on: threads and measured limits.

pub mod pool;
pub mod probe;
