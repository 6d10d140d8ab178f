// What is NaN, no F32, or known only with the sizes stays as it is written.
// test: rewrite
// sizes: M=3, N=17
kernel nan(x: f32[M, N]) -> f32[M, N] { max(x, 0 / 0) }
kernel types(x: f32[M, N]) -> f32[M, N] { where(1 < 2, x, cast(2.5, i32)) }
kernel size(x: f32[M, N]) -> f32[M, N] { x * rsqrt(N) }

// expected:
// kernel nan(x: f32[M, N]) -> f32[M, N] {
//     let v2 = 0 / 0;
//     max(x, v2)
// }
// kernel types(x: f32[M, N]) -> f32[M, N] {
//     let v3 = 1 < 2;
//     let v5 = cast(2.5, i32);
//     where(v3, x, v5)
// }
// kernel size(x: f32[M, N]) -> f32[M, N] {
//     let v1 = N;
//     let v2 = 1;
//     let v3 = sqrt(v1);
//     let v4 = v2 / v3;
//     x * v4
// }
