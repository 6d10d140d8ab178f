// Groups along the contraction are summed as integers each, then scaled and added up. Blocks of
// output channels share a scale, several small groups one zero point.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=32, K=128
// sizes: M=2, N=16, K=64
// sizes: M=1, N=48, K=0
kernel grouped(W: i4[N, K] scale f16[N, K/32], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel asymmetric(W: u4[N, K] scale f16[N, K/32] zero u4[N, K/32], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel columns(W: u4[K, N] scale bf16[K/16, N] zero f16[K/64, N], X: f32[M, K]) -> f32[M, N] { X @ dequant(W) }
kernel blocks(W: i8[N, K] scale f32[N/16, K/32], X: bf16[2, M, K]) -> f32[2, M, N] { X @ dequant(W).T }
kernel zero_alone(W: u8[N, K] scale f32[N] zero u8[N, K/32], X: f16[K, M]) -> f32[N, M] { dequant(W) @ X }
kernel channel_zero(W: u8[N, K] scale f32[N, K/32] zero u8[K], X: f16[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// split-groups: fired
// kernel grouped(W: i4[N, K] scale f16[N, K/32], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-pow2");
//     let v3 = reshape(v2_0, [2*M, K/32, 32]);
//     let v4 = transpose(v3, [1, 0, 2]);
//     let v5 = msd.codes(W);
//     let v6 = reshape(v5, [N, K/32, 32]);
//     let v7 = transpose(v6, [1, 2, 0]);
//     let v8 = msd.dot(v4, v7);
//     let v9 = msd.combine(v8, "int8x2-pow2");
//     let v10 = 1;
//     let v11 = msd.scale(W);
//     let v12 = cast(v11, f32);
//     let v13 = reshape(v12, [N, K/32, 1]);
//     let v14 = transpose(v13, [1, 2, 0]);
//     let v15 = msd.accumulate(v9, v14, v10);
//     v15 * v2_1
// }
// split-groups: fired
// kernel asymmetric(W: u4[N, K] scale f16[N, K/32] zero u4[N, K/32], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-pow2");
//     let v3 = reshape(v2_0, [2*M, K/32, 32]);
//     let v4 = transpose(v3, [1, 0, 2]);
//     let v5 = msd.codes(W);
//     let v6 = reshape(v5, [N, K/32, 32]);
//     let v7 = transpose(v6, [1, 2, 0]);
//     let v8 = msd.dot(v4, v7);
//     let v9 = msd.zero(W);
//     let v10 = reshape(v9, [N, K/32, 1]);
//     let v11 = transpose(v10, [1, 2, 0]);
//     let v12 = cast(v4, i64);
//     let v13 = sum(v12);
//     let v14 = msd.combine_zero(v8, v13, v11, "int8x2-pow2");
//     let v15 = 1;
//     let v16 = msd.scale(W);
//     let v17 = cast(v16, f32);
//     let v18 = reshape(v17, [N, K/32, 1]);
//     let v19 = transpose(v18, [1, 2, 0]);
//     let v20 = msd.accumulate(v14, v19, v15);
//     v20 * v2_1
// }
// split-groups: fired
// kernel columns(W: u4[K, N] scale bf16[K/16, N] zero f16[K/64, N], X: f32[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-radix");
//     let v3 = reshape(v2_0, [2*M, K/16, 16]);
//     let v4 = transpose(v3, [1, 0, 2]);
//     let v5 = msd.codes(W);
//     let v6 = reshape(v5, [K/16, 16, N]);
//     let v7 = msd.dot(v4, v6);
//     let v8 = msd.zero(W);
//     let v9 = reshape(v8, [K/64, 1, N]);
//     let v10 = broadcast(v9, [K/64, 4, N]);
//     let v11 = reshape(v10, [K/16, 1, N]);
//     let v12 = cast(v4, i64);
//     let v13 = sum(v12);
//     let v14 = msd.combine_zero(v7, v13, v11, "int8x2-radix");
//     let v15 = 1;
//     let v16 = msd.scale(W);
//     let v17 = cast(v16, f32);
//     let v18 = reshape(v17, [K/16, 1, N]);
//     let v19 = msd.accumulate(v14, v18, v15);
//     v19 * v2_1
// }
// split-groups: fired
// kernel blocks(W: i8[N, K] scale f32[N/16, K/32], X: bf16[2, M, K]) -> f32[2, M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-pow2");
//     let v3 = reshape(v2_0, [2, 2*M, K/32, 32]);
//     let v4 = transpose(v3, [0, 2, 1, 3]);
//     let v5 = msd.codes(W);
//     let v6 = reshape(v5, [N, K/32, 32]);
//     let v7 = transpose(v6, [1, 2, 0]);
//     let v8 = msd.dot(v4, v7);
//     let v9 = msd.combine(v8, "int8x2-pow2");
//     let v10 = 1;
//     let v11 = msd.scale(W);
//     let v12 = reshape(v11, [N/16, 1, K/32]);
//     let v13 = broadcast(v12, [N/16, 16, K/32]);
//     let v14 = reshape(v13, [N, K/32, 1]);
//     let v15 = transpose(v14, [1, 2, 0]);
//     let v16 = msd.accumulate(v9, v15, v10);
//     v16 * v2_1
// }
// orient-left: fired
// split-groups: fired
// kernel zero_alone(W: u8[N, K] scale f32[N] zero u8[N, K/32], X: f16[K, M]) -> f32[N, M] {
//     let v2 = X.T;
//     let (v3_0, v3_1) = msd.decompose(v2, "int8x2-radix");
//     let v4 = reshape(v3_0, [2*M, K/32, 32]);
//     let v5 = transpose(v4, [1, 0, 2]);
//     let v6 = msd.codes(W);
//     let v7 = reshape(v6, [N, K/32, 32]);
//     let v8 = transpose(v7, [1, 2, 0]);
//     let v9 = msd.dot(v5, v8);
//     let v10 = msd.zero(W);
//     let v11 = reshape(v10, [N, K/32, 1]);
//     let v12 = transpose(v11, [1, 2, 0]);
//     let v13 = cast(v5, i64);
//     let v14 = sum(v13);
//     let v15 = msd.combine_zero(v9, v14, v12, "int8x2-radix");
//     let v16 = 1;
//     let v17 = msd.scale(W);
//     let v18 = reshape(v17, [N, 1, 1]);
//     let v19 = transpose(v18, [1, 2, 0]);
//     let v20 = msd.accumulate(v15, v19, v16);
//     let v21 = v20 * v3_1;
//     let v22 = cast(v21, f32);
//     v22.T
// }
// split-groups: fired
// kernel channel_zero(W: u8[N, K] scale f32[N, K/32] zero u8[K], X: f16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-radix");
//     let v3 = reshape(v2_0, [2*M, K/32, 32]);
//     let v4 = transpose(v3, [1, 0, 2]);
//     let v5 = msd.codes(W);
//     let v6 = reshape(v5, [N, K/32, 32]);
//     let v7 = transpose(v6, [1, 2, 0]);
//     let v8 = msd.dot(v4, v7);
//     let v9 = msd.zero(W);
//     let v10 = reshape(v9, [1, K]);
//     let v11 = v10.T;
//     let v12 = reshape(v11, [K/32, 32, 1]);
//     let v13 = msd.dot(v4, v12);
//     let v15 = msd.combine_zero(v8, v13, 1, "int8x2-radix");
//     let v16 = msd.scale(W);
//     let v17 = reshape(v16, [N, K/32, 1]);
//     let v18 = transpose(v17, [1, 2, 0]);
//     let v19 = msd.accumulate(v15, v18, 1);
//     v19 * v2_1
// }
