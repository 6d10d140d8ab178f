// Without digits the codes are still multiplied as stored, and the scale comes after.
// test: rewrite
// lowering: dequant
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
// sizes: M=1, N=5, K=0
kernel per_channel(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel per_tensor(W: i4[K, N] scale f32[1], X: f16[2, M, K]) -> f32[2, M, N] { X @ dequant(W) }
kernel columns(W: i8[N, K] scale f32[N], X: f32[K, M]) -> bf16[N, M] { dequant(W) @ X }

// expected:
// digit-split: stopped plan: `dequant` asked for
// post-scale: fired
// kernel per_channel(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = msd.codes(W);
//     let v3 = v2.T;
//     let v4 = X @ v3;
//     let v5 = msd.scale(W);
//     let v6 = reshape(v5, [N, 1]);
//     let v7 = v6.T;
//     v4 * v7
// }
// digit-split: stopped plan: `dequant` asked for
// post-scale: fired
// kernel per_tensor(W: i4[K, N] scale f32[1], X: f16[2, M, K]) -> f32[2, M, N] {
//     let v2 = msd.codes(W);
//     let v3 = X @ v2;
//     let v4 = msd.scale(W);
//     let v5 = reshape(v4, [1, 1]);
//     v3 * v5
// }
// orient-left: fired
// digit-split: stopped plan: `dequant` asked for
// post-scale: fired
// kernel columns(W: i8[N, K] scale f32[N], X: f32[K, M]) -> bf16[N, M] {
//     let v2 = X.T;
//     let v3 = msd.codes(W);
//     let v4 = v3.T;
//     let v5 = v2 @ v4;
//     let v6 = msd.scale(W);
//     let v7 = reshape(v6, [N, 1]);
//     let v8 = v7.T;
//     let v9 = v5 * v8;
//     v9.T
// }
