//! The transcendental functions, each one F32 polynomial written once over [`Lanes`]. The
//! evaluator instantiates it with scalars, the JIT with vectors of IR values, so both compute the
//! same bits. No libm: its results differ between machines.

/// The arithmetic the polynomials are written in. Every operation is elementwise and correctly
/// rounded; `Mask` is the result of a comparison.
pub trait Lanes {
    /// F32 lanes.
    type F: Copy;
    /// I32 lanes.
    type I: Copy;
    /// Truth lanes.
    type Mask: Copy;

    /// A constant in every lane.
    fn float(&mut self, value: f32) -> Self::F;
    /// A constant in every lane.
    fn int(&mut self, value: i32) -> Self::I;
    /// `a + b`
    fn add(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`
    fn sub(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`
    fn mul(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`
    fn div(&mut self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once
    fn fma(&mut self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// To an integer value, ties to even.
    fn nearest(&mut self, a: Self::F) -> Self::F;
    /// `a < b`, false for NaN
    fn lt(&mut self, a: Self::F, b: Self::F) -> Self::Mask;
    /// `a == b`, false for NaN
    fn eq(&mut self, a: Self::F, b: Self::F) -> Self::Mask;
    /// `a` where the mask holds, else `b`
    fn select(&mut self, mask: Self::Mask, a: Self::F, b: Self::F) -> Self::F;
    /// The bits of each lane.
    fn bits(&mut self, a: Self::F) -> Self::I;
    /// The float with these bits.
    fn from_bits(&mut self, a: Self::I) -> Self::F;
    /// Conversion of an integer value of magnitude below 2^31, toward zero.
    fn to_int(&mut self, a: Self::F) -> Self::I;
    /// Conversion, nearest even.
    fn to_float(&mut self, a: Self::I) -> Self::F;
    /// `a + b` modulo 2^32
    fn iadd(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// `a - b` modulo 2^32
    fn isub(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise and.
    fn and(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// Bitwise or.
    fn or(&mut self, a: Self::I, b: Self::I) -> Self::I;
    /// Shift left by a constant.
    fn shl(&mut self, a: Self::I, by: u8) -> Self::I;
    /// Arithmetic shift right by a constant.
    fn sar(&mut self, a: Self::I, by: u8) -> Self::I;
}
