// The plan may choose against it.
// test: rewrite
// lowering: dequant
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=1, N=5, K=0
kernel rows(W: i8[N, K] scale f32[K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// absorb-scale: stopped plan: `dequant` asked for
// post-scale: stopped scale-placement: the scale `f32[K]` varies along the contracted dimension `K`
// kernel rows(W: i8[N, K] scale f32[K], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
