// What is no scalar stays: a factor per channel makes the weight an ordinary tensor.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
// sizes: M=1, N=5, K=0
kernel vector(W: i8[N, K] scale f32[N], X: bf16[M, K], c: f32[K]) -> f32[M, N] { X @ (dequant(W) * c).T }

// expected:
// kernel vector(W: i8[N, K] scale f32[N], X: bf16[M, K], c: f32[K]) -> f32[M, N] {
//     let v3 = dequant(W);
//     let v4 = v3 * c;
//     let v5 = v4.T;
//     X @ v5
// }
