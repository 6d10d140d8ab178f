// A scale of each contraction channel goes into the activations, whose digits then meet the codes
// alone; a zero point stays with the codes.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=32
// sizes: M=1, N=5, K=0
kernel rows(W: i8[N, K] scale f32[K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel left(W: i4[N, K] scale f16[K], X: f32[K, M]) -> f32[N, M] { dequant(W) @ X }
kernel keys(Q: bf16[2, M, K], C: u8[2, N, K] scale f32[2, K] zero u8[2, K]) -> f32[2, M, N] { Q @ dequant(C).T }
kernel grouped_zero(W: u4[N, K] scale f32[K] zero u4[N, K/16], X: f16[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// double-transpose: fired
// absorb-scale: fired
// kernel rows(W: i8[N, K] scale f32[K], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = msd.scale(W);
//     let v3 = reshape(v2, [1, K]);
//     let v4 = X * v3;
//     let (v5_0, v5_1) = msd.decompose(v4, "int8x2-pow2");
//     let v6 = msd.codes(W);
//     let v7 = v6.T;
//     let v8 = msd.dot(v5_0, v7);
//     let v9 = msd.combine(v8, "int8x2-pow2");
//     v9 * v5_1
// }
// orient-left: fired
// double-transpose: fired
// absorb-scale: fired
// kernel left(W: i4[N, K] scale f16[K], X: f32[K, M]) -> f32[N, M] {
//     let v2 = X.T;
//     let v3 = msd.scale(W);
//     let v4 = reshape(v3, [1, K]);
//     let v5 = v2 * v4;
//     let (v6_0, v6_1) = msd.decompose(v5, "int8x2-radix");
//     let v7 = msd.codes(W);
//     let v8 = v7.T;
//     let v9 = msd.dot(v6_0, v8);
//     let v10 = msd.combine(v9, "int8x2-radix");
//     let v11 = v10 * v6_1;
//     let v12 = cast(v11, f32);
//     v12.T
// }
// double-transpose: fired
// absorb-scale: fired
// kernel keys(Q: bf16[2, M, K], C: u8[2, N, K] scale f32[2, K] zero u8[2, K]) -> f32[2, M, N] {
//     let v2 = msd.scale(C);
//     let v3 = reshape(v2, [2, 1, K]);
//     let v4 = Q * v3;
//     let (v5_0, v5_1) = msd.decompose(v4, "int8x2-pow2");
//     let v6 = msd.codes(C);
//     let v7 = v6.T;
//     let v8 = msd.dot(v5_0, v7);
//     let v9 = msd.zero(C);
//     let v10 = reshape(v9, [2, 1, K]);
//     let v11 = v10.T;
//     let v12 = msd.dot(v5_0, v11);
//     let v14 = msd.combine_zero(v8, v12, 1, "int8x2-pow2");
//     v14 * v5_1
// }
// double-transpose: fired
// absorb-scale: fired
// kernel grouped_zero(W: u4[N, K] scale f32[K] zero u4[N, K/16], X: f16[M, K]) -> f32[M, N] {
//     let v2 = msd.scale(W);
//     let v3 = reshape(v2, [1, K]);
//     let v4 = X * v3;
//     let (v5_0, v5_1) = msd.decompose(v4, "int8x2-radix");
//     let v6 = reshape(v5_0, [2*M, K/16, 16]);
//     let v7 = transpose(v6, [1, 0, 2]);
//     let v8 = msd.codes(W);
//     let v9 = reshape(v8, [N, K/16, 16]);
//     let v10 = transpose(v9, [1, 2, 0]);
//     let v11 = msd.dot(v7, v10);
//     let v12 = msd.zero(W);
//     let v13 = reshape(v12, [N, K/16, 1]);
//     let v14 = transpose(v13, [1, 2, 0]);
//     let v15 = cast(v7, i64);
//     let v16 = sum(v15);
//     let v17 = msd.combine_zero(v11, v16, v14, "int8x2-radix");
//     let v19 = msd.accumulate(v17, 1, 1);
//     v19 * v5_1
// }
