// The plan may choose against it.
// test: rewrite
// lowering: dequant
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=1, N=5, K=0
kernel grouped(W: i4[N, K] scale f16[N, K/32], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// split-groups: stopped plan: `dequant` asked for
// post-scale: stopped scale-placement: the scale `f16[N, K/32]` varies along the contracted dimension `K`
// kernel grouped(W: i4[N, K] scale f16[N, K/32], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
