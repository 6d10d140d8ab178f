// A single number of higher rank is no scalar: it adds a dimension to the weight.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
// sizes: M=1, N=5, K=0
kernel wide(W: i8[N, K] scale f32[N], X: bf16[M, K], c: f32[1, 1, 1]) -> f32[1, M, N] { X @ (dequant(W) * c).T }

// expected:
// hoist-vector: stopped shape: the weight is broadcast to `f32[1, N, K]`
// kernel wide(W: i8[N, K] scale f32[N], X: bf16[M, K], c: f32[1, 1, 1]) -> f32[1, M, N] {
//     let v3 = dequant(W);
//     let v4 = v3 * c;
//     let v5 = v4.T;
//     X @ v5
// }
