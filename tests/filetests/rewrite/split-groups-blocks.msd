// Activations in blocks: each has a scale of its own, which joins that of the weight's group.
// test: rewrite
// lowering: msd
// block: 16
// sizes: M=3, N=17, K=64
// sizes: M=1, N=4, K=32
kernel plain(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel grouped(W: u4[N, K] scale f16[N, K/32] zero u4[N], X: f32[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel absorbed(W: i8[N, K] scale f32[K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// split-groups: fired
// kernel plain(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1, v2_2) = msd.decompose_blocks(X, "int8x2-pow2", 16);
//     let v3 = msd.codes(W);
//     let v4 = reshape(v3, [N, K/16, 16]);
//     let v5 = transpose(v4, [1, 2, 0]);
//     let v6 = msd.dot(v2_0, v5);
//     let v7 = msd.combine(v6, "int8x2-pow2");
//     let v8 = msd.scale(W);
//     let v9 = reshape(v8, [N, 1, 1]);
//     let v10 = transpose(v9, [1, 2, 0]);
//     let v11 = msd.accumulate(v7, v10, v2_1);
//     v11 * v2_2
// }
// split-groups: fired
// kernel grouped(W: u4[N, K] scale f16[N, K/32] zero u4[N], X: f32[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1, v2_2) = msd.decompose_blocks(X, "int8x2-radix", 16);
//     let v3 = msd.codes(W);
//     let v4 = reshape(v3, [N, K/16, 16]);
//     let v5 = transpose(v4, [1, 2, 0]);
//     let v6 = msd.dot(v2_0, v5);
//     let v7 = msd.zero(W);
//     let v8 = reshape(v7, [N, 1, 1]);
//     let v9 = transpose(v8, [1, 2, 0]);
//     let v10 = cast(v2_0, i64);
//     let v11 = sum(v10);
//     let v12 = msd.combine_zero(v6, v11, v9, "int8x2-radix");
//     let v13 = msd.scale(W);
//     let v14 = cast(v13, f32);
//     let v15 = reshape(v14, [N, K/32, 1]);
//     let v16 = broadcast(v15, [N, K/32, 2]);
//     let v17 = reshape(v16, [N, K/16, 1]);
//     let v18 = transpose(v17, [1, 2, 0]);
//     let v19 = msd.accumulate(v12, v18, v2_1);
//     v19 * v2_2
// }
// double-transpose: fired
// absorb-scale: fired
// kernel absorbed(W: i8[N, K] scale f32[K], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = msd.scale(W);
//     let v3 = reshape(v2, [1, K]);
//     let v4 = X * v3;
//     let (v5_0, v5_1, v5_2) = msd.decompose_blocks(v4, "int8x2-pow2", 16);
//     let v6 = msd.codes(W);
//     let v7 = reshape(v6, [N, K/16, 16]);
//     let v8 = transpose(v7, [1, 2, 0]);
//     let v9 = msd.dot(v5_0, v8);
//     let v10 = msd.combine(v9, "int8x2-pow2");
//     let v12 = msd.accumulate(v10, 1, v5_1);
//     v12 * v5_2
// }
