// Slices are looked through like transposes: of sums, scaled weights and joins as of a weight alone.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=16, K=64, P=5
// sizes: M=1, N=4, K=32, P=2
kernel scalar(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N/2] {
    X @ slice(2 * dequant(W), 0, N/2, N).T
}
kernel sum(A: i8[N, K] scale f32[N], L: f32[N, K], X: bf16[M, K/2]) -> f32[M, N] {
    X @ slice(dequant(A) - L, 1, 0, K/2).T
}
kernel vectors(W: i8[N, K] scale f32[N], u: f32[N, 1], v: f32[K], X: bf16[M, K/2]) -> f32[M, N/2] {
    X @ slice(slice(dequant(W) * u * v, 0, N/2, N), 1, 0, K/2).T
}
kernel join_first(A: i8[N, K] scale f32[N], B: i8[P, K] scale f32[P], X: bf16[M, K]) -> f32[M, N/2] {
    X @ slice(concat(dequant(A), dequant(B), 0), 0, N/2, N).T
}
kernel join_second(A: i8[K, N] scale f32[N], B: i8[P, N] scale f32[N], X: bf16[M, P - 1]) -> f32[M, N] {
    X @ slice(concat(dequant(A), dequant(B), 0), 0, K + 1, K + P)
}
kernel join_across(A: i8[K, N] scale f32[N], B: f32[P, N], X: bf16[M, K/2 + P]) -> f32[M, N] {
    X @ slice(concat(dequant(A), B, 0), 0, K/2, K + P)
}

// expected:
// hoist-scalar: fired
// digit-split: fired
// kernel scalar(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N/2] {
//     let v2 = 2;
//     let (v3_0, v3_1) = msd.decompose(X, "int8x2-pow2");
//     let v4 = msd.codes(W);
//     let v5 = slice(v4, 0, N/2, N);
//     let v6 = v5.T;
//     let v7 = msd.dot(v3_0, v6);
//     let v8 = msd.combine(v7, "int8x2-pow2");
//     let v9 = msd.scale(W);
//     let v10 = reshape(v9, [N, 1]);
//     let v11 = slice(v10, 0, N/2, N);
//     let v12 = v11.T;
//     let v13 = v8 * v12;
//     let v14 = v13 * v3_1;
//     let v15 = cast(v14, f32);
//     v15 * v2
// }
// hoist-add: fired
// digit-split: fired
// kernel sum(A: i8[N, K] scale f32[N], L: f32[N, K], X: bf16[M, K/2]) -> f32[M, N] {
//     let (v3_0, v3_1) = msd.decompose(X, "int8x2-pow2");
//     let v4 = msd.codes(A);
//     let v5 = slice(v4, 1, 0, K/2);
//     let v6 = v5.T;
//     let v7 = msd.dot(v3_0, v6);
//     let v8 = msd.combine(v7, "int8x2-pow2");
//     let v9 = msd.scale(A);
//     let v10 = reshape(v9, [N, 1]);
//     let v11 = v10.T;
//     let v12 = v8 * v11;
//     let v13 = v12 * v3_1;
//     let v14 = cast(v13, f32);
//     let v15 = slice(L, 1, 0, K/2);
//     let v16 = v15.T;
//     let v17 = X @ v16;
//     v14 - v17
// }
// hoist-vector: fired
// hoist-vector: fired
// digit-split: fired
// kernel vectors(W: i8[N, K] scale f32[N], u: f32[N, 1], v: f32[K], X: bf16[M, K/2]) -> f32[M, N/2] {
//     let v4 = slice(v, 0, 0, K/2);
//     let v5 = X * v4;
//     let v6 = slice(u, 0, N/2, N);
//     let v7 = v6.T;
//     let (v8_0, v8_1) = msd.decompose(v5, "int8x2-pow2");
//     let v9 = msd.codes(W);
//     let v10 = slice(v9, 1, 0, K/2);
//     let v11 = slice(v10, 0, N/2, N);
//     let v12 = v11.T;
//     let v13 = msd.dot(v8_0, v12);
//     let v14 = msd.combine(v13, "int8x2-pow2");
//     let v15 = msd.scale(W);
//     let v16 = reshape(v15, [N, 1]);
//     let v17 = slice(v16, 0, N/2, N);
//     let v18 = v17.T;
//     let v19 = v14 * v18;
//     let v20 = v19 * v8_1;
//     let v21 = cast(v20, f32);
//     v21 * v7
// }
// hoist-concat: fired
// digit-split: fired
// kernel join_first(A: i8[N, K] scale f32[N], B: i8[P, K] scale f32[P], X: bf16[M, K]) -> f32[M, N/2] {
//     let (v3_0, v3_1) = msd.decompose(X, "int8x2-pow2");
//     let v4 = msd.codes(A);
//     let v5 = slice(v4, 0, N/2, N);
//     let v6 = v5.T;
//     let v7 = msd.dot(v3_0, v6);
//     let v8 = msd.combine(v7, "int8x2-pow2");
//     let v9 = msd.scale(A);
//     let v10 = reshape(v9, [N, 1]);
//     let v11 = slice(v10, 0, N/2, N);
//     let v12 = v11.T;
//     let v13 = v8 * v12;
//     v13 * v3_1
// }
// hoist-concat: fired
// digit-split: fired
// kernel join_second(A: i8[K, N] scale f32[N], B: i8[P, N] scale f32[N], X: bf16[M, P - 1]) -> f32[M, N] {
//     let (v3_0, v3_1) = msd.decompose(X, "int8x2-pow2");
//     let v4 = msd.codes(B);
//     let v5 = slice(v4, 0, 1, P);
//     let v6 = msd.dot(v3_0, v5);
//     let v7 = msd.combine(v6, "int8x2-pow2");
//     let v8 = msd.scale(B);
//     let v9 = reshape(v8, [1, N]);
//     let v10 = v7 * v9;
//     v10 * v3_1
// }
// hoist-concat: fired
// digit-split: fired
// kernel join_across(A: i8[K, N] scale f32[N], B: f32[P, N], X: bf16[M, (K + 2*P)/2]) -> f32[M, N] {
//     let v3 = slice(X, 1, 0, K/2);
//     let (v4_0, v4_1) = msd.decompose(v3, "int8x2-pow2");
//     let v5 = msd.codes(A);
//     let v6 = slice(v5, 0, K/2, K);
//     let v7 = msd.dot(v4_0, v6);
//     let v8 = msd.combine(v7, "int8x2-pow2");
//     let v9 = msd.scale(A);
//     let v10 = reshape(v9, [1, N]);
//     let v11 = v8 * v10;
//     let v12 = v11 * v4_1;
//     let v13 = cast(v12, f32);
//     let v14 = slice(X, 1, K/2, (K + 2*P)/2);
//     let v15 = v14 @ B;
//     v13 + v15
// }
