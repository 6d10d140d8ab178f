// A zero point for single weights, or a float one along the contraction, has no sum to join.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=1, N=5, K=0
kernel single(W: u8[N, K] scale f32[N] zero u8[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel float(W: u8[N, K] scale f32[N] zero f32[K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// fold-zero: stopped zero-placement: the zero point `u8[N, K]` varies along the contracted dimension `K`, which takes integers of 8 bits that are the same for all output channels
// post-scale: stopped zero-placement: the zero point `u8[N, K]` varies along the contracted dimension `K`, which takes integers of 8 bits that are the same for all output channels
// kernel single(W: u8[N, K] scale f32[N] zero u8[N, K], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
// fold-zero: stopped zero-placement: the zero point `f32[K]` varies along the contracted dimension `K`, which takes integers of 8 bits that are the same for all output channels
// post-scale: stopped zero-placement: the zero point `f32[K]` varies along the contracted dimension `K`, which takes integers of 8 bits that are the same for all output channels
// kernel float(W: u8[N, K] scale f32[N] zero f32[K], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
