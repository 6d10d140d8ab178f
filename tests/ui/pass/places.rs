//! Kernels in functions, modules and macros, with conditions and visibilities, and no prelude.
#![deny(warnings)]
#![no_implicit_prelude]

use ::msd::{View, msd_kernel};

mod inner {
    #[::msd::msd_kernel]
    #[cfg(not(any()))]
    #[inline]
    pub(super) fn twice(x: t!(f32[N])) -> t!(f32[N]) {
        x + x
    }

    #[::msd::msd_kernel]
    #[cfg(any())]
    pub(super) fn twice(x: t!(f32[N])) -> t!(f32[N]) {
        nothing
    }
}

macro_rules! scaled {
    ($name:ident, $ty:ident, $size:ident, $factor:expr) => {
        #[msd_kernel]
        fn $name(x: t!($ty[$size])) -> t!($ty[$size]) {
            x * $factor
        }
    };
}

scaled!(tripled, f32, N, 1 + 2);

fn main() -> ::msd::Result<()> {
    #[msd_kernel]
    fn local(local: t!(f32[N]), out: t!(f32[N])) -> t!(f32[N]) {
        local - out
    }
    let (x, y) = ([1.0, 2.0], [3.0, 5.0]);
    let (x, y) = (View::new(&x, [2])?, View::new(&y, [2])?);
    ::std::assert_eq!(inner::twice(x)?.data(), [2.0, 4.0]);
    ::std::assert_eq!(tripled(x)?.data(), [3.0, 6.0]);
    ::std::assert_eq!(local(x, y)?.data(), [-2.0, -3.0]);
    ::std::result::Result::Ok(())
}
