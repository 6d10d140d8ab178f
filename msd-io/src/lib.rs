//! Tensors in files: npy and safetensors, read and written.
//!
//! A reader ([`npy::read`], [`safetensors::File::read`]) returns a [`RawTensor`]: the element type,
//! shape and bytes that the file states, all checked against the file's size. What the elements
//! *mean* is decided by the declared type of the parameter they feed, so [`convert`] is a second
//! step. A writer stages its output in a temporary file beside its target; [`commit`] then makes
//! one or several outputs appear.
//!
//! Headers are untrusted: none makes this crate panic, overflow or recurse, or allocate beyond a
//! small multiple of the size of its file, and every fault is a [`msd_ir::diag::Diagnostic`] that
//! names the file. Names of parameters are unknown here; whoever binds inputs adds them.

mod input;
mod layout;
#[cfg(feature = "mmap")]
mod mapped;
pub mod npy;
mod npy_header;
mod output;
mod raw;
pub mod safetensors;

pub use layout::convert;
pub use output::{Staged, commit};
pub use raw::{Order, Origin, RawTensor, Stored};
