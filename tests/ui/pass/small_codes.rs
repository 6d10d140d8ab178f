//! Types that Rust lacks are stored in those it has; a code outside its type is refused.
use msd::{View, msd_kernel};

#[msd_kernel]
fn widen(a: t!(i4[N]), b: t!(u4[N]), c: t!(e2m1[N])) -> (t!(f32[N]), t!(i4[N])) {
    (a + b + cast(c, f32), a)
}

fn main() -> msd::Result<()> {
    let (a, b, c) = ([-8i8, 7], [15u8, 0], [1u8, 7]);
    let (c, b) = (View::new(&c, [2])?, View::new(&b, [2])?);
    let (sum, same) = widen(View::new(&a, [2])?, b, c)?;
    assert_eq!(sum.data(), [7.5, 13.0]);
    assert_eq!(same.data(), a);
    let outside = [8i8, 0];
    assert!(widen(View::new(&outside, [2])?, b, c).is_err());
    Ok(())
}
