// A join along N joins products, one along K adds them; along a batch dimension x is cut where it has that too.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64, P=5
// sizes: M=2, N=4, K=33, P=1
// sizes: M=1, N=5, K=0, P=2
kernel channels(A: i8[N, K] scale f32[N], B: i8[P, K] scale f32[P], X: bf16[M, K]) -> f32[M, N + P] {
    X @ concat(dequant(A), dequant(B), 0).T
}
kernel contraction(A: i8[K, N] scale f32[N], B: f32[P, N], X: bf16[M, K + P]) -> f32[M, N] {
    X @ concat(dequant(A), B, 0)
}
kernel columns(A: i8[N, K] scale f32[N], B: i8[N, P] scale f32[N], X: f16[K + P, M]) -> bf16[N, M] {
    concat(dequant(A), dequant(B), 1) @ X
}
kernel heads(A: i8[2, N, K] scale f32[2, N], B: i8[1, N, K] scale f32[1, N], X: bf16[3, M, K]) -> f32[3, M, N] {
    X @ concat(dequant(A), dequant(B), 0).T
}
kernel shared_x(A: i8[2, K, N] scale f32[2, N], B: f32[2, K, N], X: bf16[M, K]) -> f32[4, M, N] {
    X @ concat(B, dequant(A), 0)
}

// expected:
// hoist-concat: fired
// digit-split: fired
// digit-split: fired
// kernel channels(A: i8[N, K] scale f32[N], B: i8[P, K] scale f32[P], X: bf16[M, K]) -> f32[M, N + P] {
//     let (v3_0, v3_1) = msd.decompose(X, "int8x2-pow2");
//     let v4 = msd.codes(A);
//     let v5 = v4.T;
//     let v6 = msd.dot(v3_0, v5);
//     let v7 = msd.combine(v6, "int8x2-pow2");
//     let v8 = msd.scale(A);
//     let v9 = reshape(v8, [N, 1]);
//     let v10 = v9.T;
//     let v11 = v7 * v10;
//     let v12 = v11 * v3_1;
//     let v13 = cast(v12, f32);
//     let v14 = msd.codes(B);
//     let v15 = v14.T;
//     let v16 = msd.dot(v3_0, v15);
//     let v17 = msd.combine(v16, "int8x2-pow2");
//     let v18 = msd.scale(B);
//     let v19 = reshape(v18, [P, 1]);
//     let v20 = v19.T;
//     let v21 = v17 * v20;
//     let v22 = v21 * v3_1;
//     let v23 = cast(v22, f32);
//     concat(v13, v23, 1)
// }
// hoist-concat: fired
// digit-split: fired
// kernel contraction(A: i8[K, N] scale f32[N], B: f32[P, N], X: bf16[M, K + P]) -> f32[M, N] {
//     let v3 = slice(X, 1, 0, K);
//     let (v4_0, v4_1) = msd.decompose(v3, "int8x2-pow2");
//     let v5 = msd.codes(A);
//     let v6 = msd.dot(v4_0, v5);
//     let v7 = msd.combine(v6, "int8x2-pow2");
//     let v8 = msd.scale(A);
//     let v9 = reshape(v8, [1, N]);
//     let v10 = v7 * v9;
//     let v11 = v10 * v4_1;
//     let v12 = cast(v11, f32);
//     let v13 = slice(X, 1, K, K + P);
//     let v14 = v13 @ B;
//     v12 + v14
// }
// hoist-concat: fired
// orient-left: fired
// digit-split: fired
// digit-split: fired
// kernel columns(A: i8[N, K] scale f32[N], B: i8[N, P] scale f32[N], X: f16[K + P, M]) -> bf16[N, M] {
//     let v3 = X.T;
//     let v4 = slice(v3, 1, 0, K);
//     let (v5_0, v5_1) = msd.decompose(v4, "int8x2-radix");
//     let v6 = msd.codes(A);
//     let v7 = v6.T;
//     let v8 = msd.dot(v5_0, v7);
//     let v9 = msd.combine(v8, "int8x2-radix");
//     let v10 = msd.scale(A);
//     let v11 = reshape(v10, [N, 1]);
//     let v12 = v11.T;
//     let v13 = v9 * v12;
//     let v14 = v13 * v5_1;
//     let v15 = cast(v14, f32);
//     let v16 = slice(v3, 1, K, K + P);
//     let (v17_0, v17_1) = msd.decompose(v16, "int8x2-radix");
//     let v18 = msd.codes(B);
//     let v19 = v18.T;
//     let v20 = msd.dot(v17_0, v19);
//     let v21 = msd.combine(v20, "int8x2-radix");
//     let v22 = msd.scale(B);
//     let v23 = reshape(v22, [N, 1]);
//     let v24 = v23.T;
//     let v25 = v21 * v24;
//     let v26 = v25 * v17_1;
//     let v27 = cast(v26, f32);
//     let v28 = v15 + v27;
//     v28.T
// }
// hoist-concat: fired
// digit-split: fired
// digit-split: fired
// kernel heads(A: i8[2, N, K] scale f32[2, N], B: i8[1, N, K] scale f32[1, N], X: bf16[3, M, K]) -> f32[3, M, N] {
//     let v3 = slice(X, 0, 0, 2);
//     let (v4_0, v4_1) = msd.decompose(v3, "int8x2-pow2");
//     let v5 = msd.codes(A);
//     let v6 = v5.T;
//     let v7 = msd.dot(v4_0, v6);
//     let v8 = msd.combine(v7, "int8x2-pow2");
//     let v9 = msd.scale(A);
//     let v10 = reshape(v9, [2, N, 1]);
//     let v11 = v10.T;
//     let v12 = v8 * v11;
//     let v13 = v12 * v4_1;
//     let v14 = cast(v13, f32);
//     let v15 = slice(X, 0, 2, 3);
//     let (v16_0, v16_1) = msd.decompose(v15, "int8x2-pow2");
//     let v17 = msd.codes(B);
//     let v18 = v17.T;
//     let v19 = msd.dot(v16_0, v18);
//     let v20 = msd.combine(v19, "int8x2-pow2");
//     let v21 = msd.scale(B);
//     let v22 = v21.T;
//     let v23 = reshape(v22, [1, N, 1]);
//     let v24 = v23.T;
//     let v25 = v20 * v24;
//     let v26 = v25 * v16_1;
//     let v27 = cast(v26, f32);
//     concat(v14, v27, 0)
// }
// hoist-concat: fired
// digit-split: fired
// kernel shared_x(A: i8[2, K, N] scale f32[2, N], B: f32[2, K, N], X: bf16[M, K]) -> f32[4, M, N] {
//     let v3 = X @ B;
//     let (v4_0, v4_1) = msd.decompose(X, "int8x2-pow2");
//     let v5 = msd.codes(A);
//     let v6 = msd.dot(v4_0, v5);
//     let v7 = msd.combine(v6, "int8x2-pow2");
//     let v8 = msd.scale(A);
//     let v9 = reshape(v8, [2, 1, N]);
//     let v10 = v7 * v9;
//     let v11 = v10 * v4_1;
//     let v12 = cast(v11, f32);
//     concat(v3, v12, 0)
// }
