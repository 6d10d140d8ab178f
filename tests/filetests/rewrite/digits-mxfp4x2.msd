// Digits of `mxfp4x2`, with a weight of each kind of code.
// test: rewrite
// lowering: msd
// scheme: mxfp4x2
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=1, N=4, K=128
kernel mxfp4(W: mxfp4[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel mxfp8(W: mxfp8[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel int8(W: i8[N, K] scale f32[N], X: f32[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// split-groups: fired
// kernel mxfp4(W: e2m1[N, K] scale e8m0[N, K/32], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1, v2_2) = msd.decompose_blocks(X, "mxfp4x2", 32);
//     let v3 = msd.codes(W);
//     let v4 = reshape(v3, [N, K/32, 32]);
//     let v5 = transpose(v4, [1, 2, 0]);
//     let v6 = msd.steps(v5);
//     let v7 = msd.dot(v2_0, v6);
//     let v8 = msd.scale(W);
//     let v9 = cast(v8, f32);
//     let v10 = reshape(v9, [N, K/32, 1]);
//     let v11 = transpose(v10, [1, 2, 0]);
//     let v12 = msd.accumulate_wide(v7, v11, v2_1, "mxfp4x2");
//     let v14 = v2_2 * 0.5;
//     v12 * v14
// }
// split-groups: fired
// kernel mxfp8(W: e4m3[N, K] scale e8m0[N, K/32], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1, v2_2) = msd.decompose_blocks(X, "mxfp4x2", 32);
//     let v3 = msd.codes(W);
//     let v4 = reshape(v3, [N, K/32, 32]);
//     let v5 = transpose(v4, [1, 2, 0]);
//     let v6 = v2_0 @ v5;
//     let v7 = msd.combine(v6, "mxfp4x2");
//     let v8 = msd.scale(W);
//     let v9 = cast(v8, f32);
//     let v10 = reshape(v9, [N, K/32, 1]);
//     let v11 = transpose(v10, [1, 2, 0]);
//     let v12 = msd.accumulate(v7, v11, v2_1);
//     v12 * v2_2
// }
// split-groups: fired
// kernel int8(W: i8[N, K] scale f32[N], X: f32[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1, v2_2) = msd.decompose_blocks(X, "mxfp4x2", 32);
//     let v3 = msd.codes(W);
//     let v4 = reshape(v3, [N, K/32, 32]);
//     let v5 = transpose(v4, [1, 2, 0]);
//     let v6 = msd.dot(v2_0, v5);
//     let v7 = msd.combine(v6, "mxfp4x2");
//     let v8 = msd.scale(W);
//     let v9 = reshape(v8, [N, 1, 1]);
//     let v10 = transpose(v9, [1, 2, 0]);
//     let v11 = msd.accumulate(v7, v10, v2_1);
//     v11 * v2_2
// }
