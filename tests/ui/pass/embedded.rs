//! Kernels in the language itself, documented or not, with names that Rust reserves.
#![deny(warnings, missing_docs)]

use msd::{View, msd};

/// Kernels of this crate.
pub mod kernels {
    msd::msd! {
        /// Adds.
        #[lowering(auto)]
        kernel add(A: f32[N], B: f32[N]) -> f32[N] { A + B }

        kernel type(in: f32[N], self: f32[N], out: f32[N]) -> f32[N] { where(in > self, in, out) }
    }
}

msd! { kernel negate(x: f32[N]) -> f32[N] { -x } }

fn main() -> msd::Result<()> {
    let (a, b) = (View::new(&[1.0, 2.0], [2])?, View::new(&[2.0, 1.0], [2])?);
    assert_eq!(kernels::add(a, b)?.data(), [3.0, 3.0]);
    assert_eq!(kernels::r#type(a, b, b)?.data(), [2.0, 2.0]);
    assert_eq!(negate(a)?.data(), [-1.0, -2.0]);
    Ok(())
}
