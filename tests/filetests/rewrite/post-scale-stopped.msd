// A scale that varies along the contraction cannot wait until after it; the weight becomes a tensor.
// test: rewrite
// lowering: dequant
// open: M
// sizes: M=3, N=32, K=64
// sizes: M=1, N=16, K=32
kernel along_k(W: i8[N, K] scale f32[K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel grouped(W: u4[N, K] scale f16[N, K/32] zero u4[N, K/32], X: bf16[M, K]) -> bf16[M, N] { X @ dequant(W).T }
kernel blocks(W: i8[N, K] scale f32[N/16, K/32], X: f32[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// absorb-scale: stopped plan: `dequant` asked for
// post-scale: stopped scale-placement: the scale `f32[K]` varies along the contracted dimension `K`
// kernel along_k(W: i8[N, K] scale f32[K], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
// split-groups: stopped plan: `dequant` asked for
// post-scale: stopped zero-point: the weight has a zero point `u4[N, K/32]`
// kernel grouped(W: u4[N, K] scale f16[N, K/32] zero u4[N, K/32], X: bf16[M, K]) -> bf16[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
// split-groups: stopped plan: `dequant` asked for
// post-scale: stopped scale-placement: the scale `f32[N/16, K/32]` varies along the contracted dimension `K`
// kernel blocks(W: i8[N, K] scale f32[N/16, K/32], X: f32[M, K]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
