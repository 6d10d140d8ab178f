// An integer zero point joins the exact sum, a float one is taken off it in F64.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
// sizes: M=1, N=5, K=0
kernel per_channel(W: u8[N, K] scale f32[N] zero u8[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel per_tensor(W: u4[K, N] scale f32[1] zero u4[1], X: f32[M, K]) -> f32[M, N] { X @ dequant(W) }
kernel float(W: u4[N, K] scale bf16[N] zero f16[N], X: f16[K, M]) -> f32[N, M] { dequant(W) @ X }
kernel wide(W: i8[N, K] scale f32[N] zero i32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel each(W: u8[N, K] scale f32[N] zero u8[K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// fold-zero: fired
// kernel per_channel(W: u8[N, K] scale f32[N] zero u8[N], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-pow2");
//     let v3 = msd.codes(W);
//     let v4 = v3.T;
//     let v5 = msd.dot(v2_0, v4);
//     let v6 = msd.zero(W);
//     let v7 = reshape(v6, [N, 1]);
//     let v8 = v7.T;
//     let v9 = cast(v2_0, i64);
//     let v10 = sum(v9);
//     let v11 = msd.combine_zero(v5, v10, v8, "int8x2-pow2");
//     let v12 = msd.scale(W);
//     let v13 = reshape(v12, [N, 1]);
//     let v14 = v13.T;
//     let v15 = v11 * v14;
//     v15 * v2_1
// }
// fold-zero: fired
// kernel per_tensor(W: u4[K, N] scale f32[1] zero u4[1], X: f32[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-radix");
//     let v3 = msd.codes(W);
//     let v4 = msd.dot(v2_0, v3);
//     let v5 = msd.zero(W);
//     let v6 = reshape(v5, [1, 1]);
//     let v7 = cast(v2_0, i64);
//     let v8 = sum(v7);
//     let v9 = msd.combine_zero(v4, v8, v6, "int8x2-radix");
//     let v10 = msd.scale(W);
//     let v11 = reshape(v10, [1, 1]);
//     let v12 = v9 * v11;
//     v12 * v2_1
// }
// orient-left: fired
// fold-zero: fired
// kernel float(W: u4[N, K] scale bf16[N] zero f16[N], X: f16[K, M]) -> f32[N, M] {
//     let v2 = X.T;
//     let (v3_0, v3_1) = msd.decompose(v2, "int8x2-radix");
//     let v4 = msd.codes(W);
//     let v5 = v4.T;
//     let v6 = msd.dot(v3_0, v5);
//     let v7 = msd.zero(W);
//     let v8 = reshape(v7, [N, 1]);
//     let v9 = v8.T;
//     let v10 = cast(v3_0, i64);
//     let v11 = sum(v10);
//     let v12 = msd.combine_zero(v6, v11, v9, "int8x2-radix");
//     let v13 = msd.scale(W);
//     let v14 = reshape(v13, [N, 1]);
//     let v15 = v14.T;
//     let v16 = v12 * v15;
//     let v17 = v16 * v3_1;
//     let v18 = cast(v17, f32);
//     v18.T
// }
// fold-zero: fired
// kernel wide(W: i8[N, K] scale f32[N] zero i32[N], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-pow2");
//     let v3 = msd.codes(W);
//     let v4 = v3.T;
//     let v5 = msd.dot(v2_0, v4);
//     let v6 = msd.zero(W);
//     let v7 = cast(v6, f64);
//     let v8 = reshape(v7, [N, 1]);
//     let v9 = v8.T;
//     let v10 = cast(v2_0, i64);
//     let v11 = sum(v10);
//     let v12 = msd.combine_zero(v5, v11, v9, "int8x2-pow2");
//     let v13 = msd.scale(W);
//     let v14 = reshape(v13, [N, 1]);
//     let v15 = v14.T;
//     let v16 = v12 * v15;
//     v16 * v2_1
// }
// fold-zero: fired
// kernel each(W: u8[N, K] scale f32[N] zero u8[K], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-pow2");
//     let v3 = msd.codes(W);
//     let v4 = v3.T;
//     let v5 = msd.dot(v2_0, v4);
//     let v6 = msd.zero(W);
//     let v7 = reshape(v6, [1, K]);
//     let v8 = v7.T;
//     let v9 = msd.dot(v2_0, v8);
//     let v11 = msd.combine_zero(v5, v9, 1, "int8x2-pow2");
//     let v12 = msd.scale(W);
//     let v13 = reshape(v12, [N, 1]);
//     let v14 = v13.T;
//     let v15 = v11 * v14;
//     v15 * v2_1
// }
