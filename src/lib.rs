//! Multi-Scale Dequant: multiply quantized weights as stored, with a proved error bound.
//!
//! A `.msd` source goes through stages, each a type that consumes or borrows the one before:
//! [`Source`] -> [`Checked`] -> [`Rewritten`] -> [`Compiled`]. The crates behind them are
//! re-exported for those who need more than the stages.
//!
//! ```
//! use msd::{Options, Source};
//!
//! let source = Source::new("double.msd", "kernel double(x: f32[N]) -> f32[N] { x + x }");
//! let checked = source.check()?;
//! let rewritten = checked.rewrite(checked.kernel(None)?, &Default::default(), &Options::default())?;
//! let compiled = rewritten.compile(&Options::default())?;
//! let x = msd::ir::tensor::Tensor::from_f32(msd::ir::dtype::DType::F32, vec![3], &[1.0, 2.0, 3.0]).unwrap();
//! let y = compiled.run(&[x.into()])?;
//! assert_eq!(y[0].to_f32(), [2.0, 4.0, 6.0]);
//! # Ok::<(), Vec<msd::ir::diag::Diagnostic>>(())
//! ```

pub use msd_grammar as grammar;
pub use msd_io as io;
pub use msd_ir as ir;
pub use msd_jit as jit;

mod session;

pub use session::{Checked, Compiled, Options, PassEvent, Rewritten, Source};
