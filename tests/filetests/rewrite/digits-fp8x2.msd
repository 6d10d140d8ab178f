// Digits of `fp8x2`, with a weight of each kind of code.
// test: rewrite
// lowering: msd
// scheme: fp8x2
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=1, N=4, K=128
kernel mxfp4(W: mxfp4[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel mxfp8(W: mxfp8[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel int8(W: i8[N, K] scale f32[N], X: f32[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// split-groups: fired
// kernel mxfp4(W: e2m1[N, K] scale e8m0[N, K/32], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "fp8x2");
//     let v3 = reshape(v2_0, [2*M, K/32, 32]);
//     let v4 = transpose(v3, [1, 0, 2]);
//     let v5 = msd.codes(W);
//     let v6 = reshape(v5, [N, K/32, 32]);
//     let v7 = transpose(v6, [1, 2, 0]);
//     let v8 = v4 @ v7;
//     let v9 = msd.combine(v8, "fp8x2");
//     let v10 = 1;
//     let v11 = msd.scale(W);
//     let v12 = cast(v11, f32);
//     let v13 = reshape(v12, [N, K/32, 1]);
//     let v14 = transpose(v13, [1, 2, 0]);
//     let v15 = msd.accumulate(v9, v14, v10);
//     v15 * v2_1
// }
// split-groups: fired
// kernel mxfp8(W: e4m3[N, K] scale e8m0[N, K/32], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "fp8x2");
//     let v3 = reshape(v2_0, [2*M, K/32, 32]);
//     let v4 = transpose(v3, [1, 0, 2]);
//     let v5 = msd.codes(W);
//     let v6 = reshape(v5, [N, K/32, 32]);
//     let v7 = transpose(v6, [1, 2, 0]);
//     let v8 = v4 @ v7;
//     let v9 = msd.combine(v8, "fp8x2");
//     let v10 = 1;
//     let v11 = msd.scale(W);
//     let v12 = cast(v11, f32);
//     let v13 = reshape(v12, [N, K/32, 1]);
//     let v14 = transpose(v13, [1, 2, 0]);
//     let v15 = msd.accumulate(v9, v14, v10);
//     v15 * v2_1
// }
// digit-split: fired
// kernel int8(W: i8[N, K] scale f32[N], X: f32[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "fp8x2");
//     let v3 = msd.codes(W);
//     let v4 = v3.T;
//     let v5 = v2_0 @ v4;
//     let v6 = msd.combine(v5, "fp8x2");
//     let v7 = msd.scale(W);
//     let v8 = reshape(v7, [N, 1]);
//     let v9 = v8.T;
//     let v10 = v6 * v9;
//     v10 * v2_1
// }
