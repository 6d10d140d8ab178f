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
//! | | those of OCP's rule, or of NVFP4 | [`Kernel::quantize_with`], [`quantize_nvfp4`] |
//! | codes and scales | a weight that is packed once | [`QuantTensor`], then [`Weight`] |
//! | activations | an argument | [`View`] over a slice; [`Tensor`] where type and rank are known at run time only |
//! | to choose scheme, tolerance, threads, instruction set | | [`Options`] |
//! | to know what is done and why | | [`Kernel::explain`], [`Kernel::plan`] |
//!
//! Tools that look between source and result use the stages, each a type that consumes or borrows
//! the one before: [`Source`] -> [`Checked`] -> [`Rewritten`] -> [`Compiled`]. The crates behind
//! them are re-exported whole: [`grammar`], [`ir`], [`jit`], [`ascend`], [`io`].

pub use half::{bf16, f16};
pub use msd_ascend as ascend;
pub use msd_grammar as grammar;
pub use msd_io as io;
pub use msd_ir as ir;
/// ```
/// use msd::{Composed, Kernel, Options};
///
/// let text = "kernel f(w: i8[N, K] scale f32[N], x: bf16[M, K]) -> f32[M, 1] { sum(x @ dequant(w).T) }";
/// let f = Kernel::new(text, &Options::new())?;
/// // How often a sum rounds depends on its size.
/// let open: Composed = f.certificate(&[])?;
/// assert_eq!(open.results[0].as_ref().unwrap_err().reason, "ends at `sum` over a size that is open");
/// assert!(f.certificate(&[("N", 64)])?.kernel.is_some());
/// # Ok::<(), msd::Error>(())
/// ```
#[doc(inline)]
pub use msd_ir::certificate::compose::Composed;
pub use msd_ir::dtype::DType;
/// ```
/// use msd::{Lowering, Options};
///
/// // The weight as F32, whatever the cost model finds: what others do, to compare with.
/// let options = Options::new().lowering(Lowering::Dequant);
/// assert_eq!("dequant".parse().ok(), options.request.lowering);
/// ```
#[doc(inline)]
pub use msd_ir::graph::Lowering;
/// ```
/// use msd::{Argument, Kernel, Options, View, quantize_nvfp4};
///
/// let text = "kernel linear(w: nvfp4[N, K], s: f32[1], x: f32[M, K]) -> f32[M, N] { x @ (dequant(w) * s).T }";
/// let linear = Kernel::new(text, &Options::new())?;
/// let (w, s) = quantize_nvfp4(&[0.5; 32], &[2, 16])?;
/// let (s, x) = ([s], [2.0; 16]);
/// let (s, x) = (View::new(&s, [1])?, View::new(&x, [1, 16])?);
/// let y = linear.call(&[Argument::from(&w), Argument::from(s.tensor()), Argument::from(x.tensor())])?;
/// assert!((y[0].value(1) - 16.0).abs() < 1e-4);
/// # Ok::<(), msd::Error>(())
/// ```
#[doc(inline)]
pub use msd_ir::quant::nvfp4::quantize_nvfp4;
#[doc(inline)]
pub use msd_ir::quant::quantize::PowerRule;
/// ```
/// use msd::Scheme;
///
/// // Certified: no activation is off by more than this part of the largest of its row.
/// assert_eq!(Scheme::Int8x2Pow2.bound(), 1.0 / 32639.0);
/// // How many integer products an activation costs.
/// assert_eq!(Scheme::Int8x3Pow2.weights().len(), 3);
/// assert_eq!("int8x2-radix".parse(), Ok(Scheme::Int8x2Radix));
/// ```
#[doc(inline)]
pub use msd_ir::quant::scheme::Scheme;
pub use msd_ir::quant::tensor::{QuantTensor, QuantView};
pub use msd_ir::tensor::{Tensor, TensorView, TensorViewMut};
pub use msd_jit as jit;
/// ```
/// use msd::{Argument, Kernel, Options, QuantTensor, Tensor, View, Weight};
///
/// let text = "kernel scores(q: f32[M, D], k: i8[T, D] scale f32[T]) -> f32[M, T] { q @ dequant(k).T }";
/// let scores = Kernel::new(text, &Options::new())?;
/// let q = [1.0f32, 2.0];
/// let q = View::new(&q, [1, 2])?;
/// // A cache of keys that grows with every token: borrowed, packed on each call.
/// let keys = scores.quantize("k", &[1.0, 0.0, 0.0, 1.0], &[2, 2])?;
/// let once = scores.call(&[Argument::from(q.tensor()), Argument::from(&keys)])?;
/// // The same as a weight: packed by the first call that reads it.
/// let kept = Weight::from(keys);
/// let twice = scores.call(&[Argument::from(q.tensor()), Argument::from(&kept)])?;
/// assert_eq!(once, twice);
/// # Ok::<(), msd::Error>(())
/// ```
#[doc(inline)]
pub use msd_jit::argument::Argument;
/// ```
/// use msd::{Level, Options};
///
/// // The instructions that every machine has, to the same bits.
/// let options = Options::new().isa(Level::Portable);
/// assert!(Level::Portable.is_available());
/// assert_eq!("avx2".parse(), Ok(Level::Avx2));
/// ```
#[doc(inline)]
pub use msd_jit::isa::Level;
/// ```
/// use std::sync::Arc;
/// use msd::{Argument, Kernel, Options, Tensor, Weight};
///
/// let text = "kernel linear(w: i8[N, K] scale f32[N], x: f32[M, K]) -> f32[M, N] { x @ dequant(w).T }";
/// let linear = Kernel::new(text, &Options::new())?;
/// let w = Arc::new(Weight::from(linear.quantize("w", &vec![0.5; 512 * 256], &[512, 256])?));
/// let threads: Vec<_> = (1..=4)
///     .map(|tokens| {
///         let (linear, w) = (linear.clone(), w.clone());
///         std::thread::spawn(move || {
///             let x = Tensor::from(vec![1.0f32; tokens * 256]).reshaped(vec![tokens, 256])?;
///             linear.call(&[Argument::from(&*w), Argument::from(&x)])
///         })
///     })
///     .collect();
/// for thread in threads {
///     assert!((thread.join().unwrap()?[0].value(0) - 128.0).abs() < 1e-2);
/// }
/// // Packed once for all of them.
/// assert_eq!(w.packed_bytes(), 512 * 256);
/// # Ok::<(), msd::Error>(())
/// ```
#[doc(inline)]
pub use msd_jit::weight::Weight;
/// ```
/// msd::msd! {
///     /// The larger of two, element by element.
///     kernel larger(a: f32[N], b: f32[N]) -> f32[N] { where(a > b, a, b) }
/// }
///
/// let y = larger(msd::View::new(&[1.0, 4.0], [2])?, msd::View::new(&[2.0, 3.0], [2])?)?;
/// assert_eq!(y.data(), [2.0, 4.0]);
/// # Ok::<(), msd::Error>(())
/// ```
///
pub use msd_macros::msd;
/// ```
/// msd::msd_file!("kernels/linear.msd");
///
/// assert_eq!(linear::kernel()?.name(), "linear");
/// # Ok::<(), msd::Error>(())
/// ```
///
pub use msd_macros::msd_file;
/// ```
/// use msd::{View, msd_kernel};
///
/// #[msd_kernel]
/// fn scaled(x: t!(f32[M, N]), factor: t!(f32[])) -> (t!(f32[M, N]), t!(f32[M, 1])) {
///     let product = x * factor;
///     (product, msd!(sum(x) * 2))
/// }
///
/// let x = View::new(&[1.0, 2.0, 3.0], [1, 3])?;
/// let (product, sum) = scaled(x, View::new(&[10.0], [])?)?;
/// assert_eq!(product.data(), [10.0, 20.0, 30.0]);
/// assert_eq!(sum.data(), [12.0]);
/// # Ok::<(), msd::Error>(())
/// ```
///
pub use msd_macros::msd_kernel;

mod array;
mod cache;
mod element;
mod error;
#[doc(hidden)]
pub mod expansion;
mod explain;
mod kernel;
#[cfg(feature = "ndarray")]
mod ndarray;
mod npu;
mod options;
mod quant_argument;
mod session;
mod view;

pub use array::Array;
pub use element::Element;
pub use error::Error;
pub use explain::{Explanation, SiteReport, StoppedRule};
pub use kernel::{ClassReport, Kernel};
pub use npu::{Npu, NpuVariant};
pub use options::Options;
pub use quant_argument::QuantArgument;
pub use session::{Checked, Compiled, PassEvent, Rewritten, Source};
pub use view::{View, ViewMut};

/// What fallible functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
