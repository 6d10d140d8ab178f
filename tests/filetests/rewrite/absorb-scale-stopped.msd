// The plan may choose against it; a float zero point of each contraction channel has no integer form.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=32
// sizes: M=1, N=5, K=0
kernel single(W: i8[N, K] scale f32[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel zero(W: u8[N, K] scale f32[K] zero f16[K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// absorb-scale: stopped scale-placement: the scale `f32[N, K]` belongs to single elements of `i8[N, K]`
// post-scale: stopped scale-placement: the scale `f32[N, K]` belongs to single elements of `i8[N, K]`
// kernel single(W: i8[N, K] scale f32[N, K], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
// fold-zero: stopped zero-placement: the zero point `f16[K]` varies along the contracted dimension `K`, which takes integers of 8 bits that are the same for all output channels
// post-scale: stopped zero-placement: the zero point `f16[K]` varies along the contracted dimension `K`, which takes integers of 8 bits that are the same for all output channels
// kernel zero(W: u8[N, K] scale f32[K] zero f16[K], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
