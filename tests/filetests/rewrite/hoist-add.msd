// A product with a sum is a sum of products, so that a weight among the terms is multiplied as stored.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
// sizes: M=1, N=5, K=0
kernel with_plain(W: i8[N, K] scale f32[N], L: f32[N, K], X: bf16[M, K]) -> f32[M, N] { X @ (dequant(W) + L).T }
kernel both(A: i8[K, N] scale f32[N], B: i4[K, N] scale f32[1], X: bf16[M, K]) -> f32[M, N] {
    X @ (dequant(A) - dequant(B))
}
kernel columns(W: i8[N, K] scale f32[N], L: bf16[N, K], X: bf16[K, M]) -> f32[N, M] { (L - dequant(W)) @ X }
kernel nested(A: i8[N, K] scale f32[N], B: i8[K, N] scale f32[N], c: f32[N, K], X: bf16[M, K]) -> f32[M, N] {
    X @ (2 * (dequant(A) + dequant(B).T / 3) - c).T
}
kernel integers(W: i8[K, N] scale f32[N], c: i8[K, N], X: i8[M, K]) -> f32[M, N] { X @ (dequant(W) + c) }
kernel none(A: f32[K, N], B: f32[K, N], X: f32[M, K]) -> f32[M, N] { X @ (A + B) }

// expected:
// hoist-add: fired
// digit-split: fired
// kernel with_plain(W: i8[N, K] scale f32[N], L: f32[N, K], X: bf16[M, K]) -> f32[M, N] {
//     let (v3_0, v3_1) = msd.decompose(X, "int8x2-pow2");
//     let v4 = msd.codes(W);
//     let v5 = v4.T;
//     let v6 = msd.dot(v3_0, v5);
//     let v7 = msd.combine(v6, "int8x2-pow2");
//     let v8 = msd.scale(W);
//     let v9 = reshape(v8, [N, 1]);
//     let v10 = v9.T;
//     let v11 = v7 * v10;
//     let v12 = v11 * v3_1;
//     let v13 = cast(v12, f32);
//     let v14 = L.T;
//     let v15 = X @ v14;
//     v13 + v15
// }
// hoist-add: fired
// digit-split: fired
// digit-split: fired
// kernel both(A: i8[K, N] scale f32[N], B: i4[K, N] scale f32[1], X: bf16[M, K]) -> f32[M, N] {
//     let (v3_0, v3_1) = msd.decompose(X, "int8x2-pow2");
//     let v4 = msd.codes(A);
//     let v5 = msd.dot(v3_0, v4);
//     let v6 = msd.combine(v5, "int8x2-pow2");
//     let v7 = msd.scale(A);
//     let v8 = reshape(v7, [1, N]);
//     let v9 = v6 * v8;
//     let v10 = v9 * v3_1;
//     let v11 = cast(v10, f32);
//     let v12 = msd.codes(B);
//     let v13 = msd.dot(v3_0, v12);
//     let v14 = msd.combine(v13, "int8x2-pow2");
//     let v15 = msd.scale(B);
//     let v16 = reshape(v15, [1, 1]);
//     let v17 = v14 * v16;
//     let v18 = v17 * v3_1;
//     let v19 = cast(v18, f32);
//     v11 - v19
// }
// hoist-add: fired
// orient-left: fired
// digit-split: fired
// kernel columns(W: i8[N, K] scale f32[N], L: bf16[N, K], X: bf16[K, M]) -> f32[N, M] {
//     let v3 = X.T;
//     let v4 = L.T;
//     let v5 = v3 @ v4;
//     let (v6_0, v6_1) = msd.decompose(v3, "int8x2-pow2");
//     let v7 = msd.codes(W);
//     let v8 = v7.T;
//     let v9 = msd.dot(v6_0, v8);
//     let v10 = msd.combine(v9, "int8x2-pow2");
//     let v11 = msd.scale(W);
//     let v12 = reshape(v11, [N, 1]);
//     let v13 = v12.T;
//     let v14 = v10 * v13;
//     let v15 = v14 * v6_1;
//     let v16 = cast(v15, f32);
//     let v17 = v5 - v16;
//     v17.T
// }
// hoist-scalar: fired
// hoist-add: fired
// hoist-scalar: fired
// hoist-add: fired
// digit-split: fired
// digit-split: fired
// kernel nested(A: i8[N, K] scale f32[N], B: i8[K, N] scale f32[N], c: f32[N, K], X: bf16[M, K]) -> f32[M, N] {
//     let v4 = 2;
//     let v5 = 3;
//     let (v6_0, v6_1) = msd.decompose(X, "int8x2-pow2");
//     let v7 = msd.codes(A);
//     let v8 = v7.T;
//     let v9 = msd.dot(v6_0, v8);
//     let v10 = msd.combine(v9, "int8x2-pow2");
//     let v11 = msd.scale(A);
//     let v12 = reshape(v11, [N, 1]);
//     let v13 = v12.T;
//     let v14 = v10 * v13;
//     let v15 = v14 * v6_1;
//     let v16 = cast(v15, f32);
//     let v17 = msd.codes(B);
//     let v18 = msd.dot(v6_0, v17);
//     let v19 = msd.combine(v18, "int8x2-pow2");
//     let v20 = msd.scale(B);
//     let v21 = reshape(v20, [1, N]);
//     let v22 = v19 * v21;
//     let v23 = v22 * v6_1;
//     let v24 = cast(v23, f32);
//     let v25 = v24 / v5;
//     let v26 = v16 + v25;
//     let v27 = v26 * v4;
//     let v28 = c.T;
//     let v29 = X @ v28;
//     v27 - v29
// }
// hoist-add: fired
// digit-split: stopped activation-type: the other operand is `i8[M, K]`, no float to split
// post-scale: stopped activation-type: the other operand is `i8[M, K]`, no float to split
// kernel integers(W: i8[K, N] scale f32[N], c: i8[K, N], X: i8[M, K]) -> f32[M, N] {
//     let v3 = dequant(W);
//     let v4 = X @ v3;
//     let v5 = cast(c, f32);
//     let v6 = X @ v5;
//     v4 + v6
// }
// kernel none(A: f32[K, N], B: f32[K, N], X: f32[M, K]) -> f32[M, N] {
//     let v3 = A + B;
//     X @ v3
// }
