// The plan may choose against it.
// test: rewrite
// lowering: dequant
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
// sizes: M=1, N=5, K=0
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// digit-split: stopped plan: `dequant` asked for
// post-scale: fired
// kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = msd.codes(W);
//     let v3 = v2.T;
//     let v4 = X @ v3;
//     let v5 = msd.scale(W);
//     let v6 = reshape(v5, [N, 1]);
//     let v7 = v6.T;
//     v4 * v7
// }
