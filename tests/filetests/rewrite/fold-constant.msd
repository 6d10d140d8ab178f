// What follows from literals alone is a literal, with the evaluator's bits.
// test: rewrite
// sizes: M=3, N=17
kernel half(x: f32[M, N]) -> f32[M, N] { x * (1 / 2) }
kernel several(x: f32[M, N]) -> f32[M, N] { x + exp(-(1 / 3)) * max(sqrt(2), 1) }
kernel limits(x: f32[M, N]) -> f32[M, N] { max(x, -1 / 0) - 0 * -1 }
kernel result(x: f32[M, N]) -> f32[] { 1 - 2 }

// expected:
// fold-constant: fired
// kernel half(x: f32[M, N]) -> f32[M, N] {
//     x * 0.5
// }
// fold-constant: fired
// fold-constant: fired
// fold-constant: fired
// fold-constant: fired
// fold-constant: fired
// fold-constant: fired
// kernel several(x: f32[M, N]) -> f32[M, N] {
//     x + 1.0133282
// }
// fold-constant: fired
// fold-constant: fired
// fold-constant: fired
// kernel limits(x: f32[M, N]) -> f32[M, N] {
//     let v2 = max(x, msd.f32("0xff800000"));
//     v2 - msd.f32("0x80000000")
// }
// fold-constant: fired
// kernel result(x: f32[M, N]) -> f32[] {
//     msd.f32("0xbf800000")
// }
