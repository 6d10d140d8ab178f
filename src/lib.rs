//! Multi-Scale Dequant: multiply quantized weights as stored, with a proved error bound.
//!
//! A kernel is a function over tensors, some of them quantized. Written as a Rust function it
//! becomes one that takes views and returns arrays; checked when the crate is built, compiled to
//! machine code on its first call:
//!
//! ```
//! use msd::{View, Weight, msd_kernel};
//!
//! #[msd_kernel]
//! fn linear(w: t!(i8[N, K] scale f32[N]), x: t!(f32[M, K])) -> t!(f32[M, N]) {
//!     matmul(x, dequant(w).t())
//! }
//!
//! // 2 output channels, 3 inputs; one token.
//! let w = Weight::from(linear::kernel()?.quantize("w", &[1.0, -0.5, 0.25, 0.75, 0.5, -1.0], &[2, 3])?);
//! let y = linear(&w, View::new(&[1.0, 2.0, 4.0], [1, 3])?)?;
//! assert_eq!(y.shape(), [1, 2]);
//! assert!((y.data()[0] - 1.0).abs() < 0.02 && (y.data()[1] + 2.25).abs() < 0.02);
//! # Ok::<(), msd::Error>(())
//! ```
//!
//! | you have | you want | use |
//! |---|---|---|
//! | a kernel as Rust or `.msd` text at build time | a typed function | [`msd_kernel`], [`msd!`], [`msd_file!`] |
//! | a kernel as text at run time | calls on dynamic tensors | [`Kernel`] |
//! | weights as floats | codes and scales | [`Kernel::quantize`] |
//! | codes and scales | a weight that is packed once | [`QuantTensor`], then [`Weight`] |
//! | activations | an argument | [`View`] over a slice; [`Tensor`] where type and rank are known at run time only |
//! | to choose scheme, tolerance, threads, instruction set | | [`Options`] |
//! | to know what is done and why | | [`Kernel::explain`], [`Kernel::plan`] |
//!
//! Tools that look between source and result use the stages, each a type that consumes or borrows
//! the one before: [`Source`] -> [`Checked`] -> [`Rewritten`] -> [`Compiled`]. The crates behind
//! them are re-exported whole: [`grammar`], [`ir`], [`jit`], [`io`].

pub use half::{bf16, f16};
pub use msd_grammar as grammar;
pub use msd_io as io;
pub use msd_ir as ir;
pub use msd_ir::dtype::DType;
pub use msd_ir::graph::Lowering;
pub use msd_ir::quant::scheme::Scheme;
pub use msd_ir::quant::tensor::{QuantTensor, QuantView};
pub use msd_ir::tensor::{Tensor, TensorView, TensorViewMut};
pub use msd_jit as jit;
pub use msd_jit::argument::Argument;
pub use msd_jit::isa::Level;
pub use msd_jit::weight::Weight;

mod array;
mod cache;
mod element;
mod error;
mod explain;
mod kernel;
#[cfg(feature = "ndarray")]
mod ndarray;
mod options;
mod session;
mod view;

pub use array::Array;
pub use element::Element;
pub use error::Error;
pub use explain::{Explanation, SiteReport, StoppedRule};
pub use kernel::{ClassReport, Kernel};
pub use options::Options;
pub use session::{Checked, Compiled, PassEvent, Rewritten, Source};
pub use view::{View, ViewMut};

/// What fallible functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
