// Weights of small floats: FP4 in steps as integers, their E8M0 groups added up in F64; FP8 as floats.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=1, N=4, K=128
kernel mxfp4(W: mxfp4[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel e1m2(W: e1m2[K, N] scale e8m0[K/32, N], X: f32[K, M]) -> f32[N, M] { dequant(W).T @ X }
kernel per_channel(W: e2m1[N, K] scale f32[N], X: f16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel nvfp4(W: e2m1[N, K] scale e4m3[N, K/16], s: f32[1], X: bf16[M, K]) -> f32[M, N] { X @ (dequant(W) * s).T }
kernel mxfp8(W: mxfp8[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel fp8(W: e5m2[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel mxint8(W: i8[N, K] scale e8m0[N, K/32], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// split-groups: fired
// kernel mxfp4(W: e2m1[N, K] scale e8m0[N, K/32], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-pow2");
//     let v3 = reshape(v2_0, [2*M, K/32, 32]);
//     let v4 = transpose(v3, [1, 0, 2]);
//     let v5 = msd.codes(W);
//     let v6 = reshape(v5, [N, K/32, 32]);
//     let v7 = transpose(v6, [1, 2, 0]);
//     let v8 = msd.steps(v7);
//     let v9 = msd.dot(v4, v8);
//     let v10 = 1;
//     let v11 = msd.scale(W);
//     let v12 = cast(v11, f32);
//     let v13 = reshape(v12, [N, K/32, 1]);
//     let v14 = transpose(v13, [1, 2, 0]);
//     let v15 = msd.accumulate_wide(v9, v14, v10, "int8x2-pow2");
//     let v17 = v2_1 * 0.5;
//     v15 * v17
// }
// double-transpose: fired
// orient-left: fired
// split-groups: fired
// kernel e1m2(W: e1m2[K, N] scale e8m0[K/32, N], X: f32[K, M]) -> f32[N, M] {
//     let v2 = X.T;
//     let (v3_0, v3_1) = msd.decompose(v2, "int8x2-radix");
//     let v4 = reshape(v3_0, [2*M, K/32, 32]);
//     let v5 = transpose(v4, [1, 0, 2]);
//     let v6 = msd.codes(W);
//     let v7 = reshape(v6, [K/32, 32, N]);
//     let v8 = msd.steps(v7);
//     let v9 = msd.dot(v5, v8);
//     let v10 = 1;
//     let v11 = msd.scale(W);
//     let v12 = cast(v11, f32);
//     let v13 = reshape(v12, [K/32, 1, N]);
//     let v14 = msd.accumulate_wide(v9, v13, v10, "int8x2-radix");
//     let v16 = v3_1 * 0.25;
//     let v17 = v14 * v16;
//     let v18 = cast(v17, f32);
//     v18.T
// }
// digit-split: fired
// kernel per_channel(W: e2m1[N, K] scale f32[N], X: f16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-radix");
//     let v3 = msd.codes(W);
//     let v4 = v3.T;
//     let v5 = msd.steps(v4);
//     let v6 = msd.dot(v2_0, v5);
//     let v7 = msd.combine(v6, "int8x2-radix");
//     let v8 = msd.scale(W);
//     let v9 = reshape(v8, [N, 1]);
//     let v10 = v9.T;
//     let v11 = v7 * v10;
//     let v13 = v2_1 * 0.5;
//     v11 * v13
// }
// hoist-scalar: fired
// split-groups: fired
// kernel nvfp4(W: e2m1[N, K] scale e4m3[N, K/16], s: f32[1], X: bf16[M, K]) -> f32[M, N] {
//     let (v3_0, v3_1) = msd.decompose(X, "int8x2-pow2");
//     let v4 = reshape(v3_0, [2*M, K/16, 16]);
//     let v5 = transpose(v4, [1, 0, 2]);
//     let v6 = msd.codes(W);
//     let v7 = reshape(v6, [N, K/16, 16]);
//     let v8 = transpose(v7, [1, 2, 0]);
//     let v9 = msd.steps(v8);
//     let v10 = msd.dot(v5, v9);
//     let v11 = msd.combine(v10, "int8x2-pow2");
//     let v12 = 1;
//     let v13 = msd.scale(W);
//     let v14 = cast(v13, f32);
//     let v15 = reshape(v14, [N, K/16, 1]);
//     let v16 = transpose(v15, [1, 2, 0]);
//     let v17 = msd.accumulate(v11, v16, v12);
//     let v19 = v3_1 * 0.5;
//     let v20 = v17 * v19;
//     let v21 = cast(v20, f32);
//     v21 * s
// }
// split-groups: fired
// kernel mxfp8(W: e4m3[N, K] scale e8m0[N, K/32], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-pow2");
//     let v3 = reshape(v2_0, [2*M, K/32, 32]);
//     let v4 = transpose(v3, [1, 0, 2]);
//     let v5 = msd.codes(W);
//     let v6 = reshape(v5, [N, K/32, 32]);
//     let v7 = transpose(v6, [1, 2, 0]);
//     let v8 = v4 @ v7;
//     let v9 = msd.combine(v8, "int8x2-pow2");
//     let v10 = 1;
//     let v11 = msd.scale(W);
//     let v12 = cast(v11, f32);
//     let v13 = reshape(v12, [N, K/32, 1]);
//     let v14 = transpose(v13, [1, 2, 0]);
//     let v15 = msd.accumulate(v9, v14, v10);
//     v15 * v2_1
// }
// digit-split: fired
// kernel fp8(W: e5m2[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-pow2");
//     let v3 = msd.codes(W);
//     let v4 = v3.T;
//     let v5 = v2_0 @ v4;
//     let v6 = msd.combine(v5, "int8x2-pow2");
//     let v7 = msd.scale(W);
//     let v8 = reshape(v7, [N, 1]);
//     let v9 = v8.T;
//     let v10 = v6 * v9;
//     v10 * v2_1
// }
// split-groups: fired
// kernel mxint8(W: i8[N, K] scale e8m0[N, K/32], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-pow2");
//     let v3 = reshape(v2_0, [2*M, K/32, 32]);
//     let v4 = transpose(v3, [1, 0, 2]);
//     let v5 = msd.codes(W);
//     let v6 = reshape(v5, [N, K/32, 32]);
//     let v7 = transpose(v6, [1, 2, 0]);
//     let v8 = msd.dot(v4, v7);
//     let v9 = 1;
//     let v10 = msd.scale(W);
//     let v11 = cast(v10, f32);
//     let v12 = reshape(v11, [N, K/32, 1]);
//     let v13 = transpose(v12, [1, 2, 0]);
//     let v14 = msd.accumulate_wide(v8, v13, v9, "int8x2-pow2");
//     v14 * v2_1
// }
