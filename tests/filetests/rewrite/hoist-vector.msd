// A factor along N moves behind the product, one along K before it.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
// sizes: M=1, N=5, K=0
kernel along_n(W: i8[K, N] scale f32[N], v: f32[N], X: bf16[M, K]) -> f32[M, N] { X @ (dequant(W) * v) }
kernel along_k(W: i8[N, K] scale f32[N], v: bf16[K], X: bf16[M, K]) -> f32[M, N] { X @ (v * dequant(W)).T }
kernel divided(W: i8[N, K] scale f32[N], u: f32[N, 1], v: f32[1, K], X: bf16[M, K]) -> f32[M, N] {
    X @ (dequant(W) / u / v).T
}
kernel columns(W: i8[N, K] scale f32[N], v: f32[N], X: bf16[K, M]) -> f32[N, M] { (dequant(W).T * v).T @ X }
kernel nested(W: i8[N, K] scale f32[N], u: f32[N, 1], v: i8[1, K], X: i8[M, K]) -> f32[M, N] {
    X @ (-(dequant(W) * u) * 0.5 * v).T
}
kernel batches(W: i8[2, N, K] scale f32[2, N], v: f32[2, 1, K], w: f32[2, 1, 1], X: bf16[M, K]) -> f32[2, M, N] {
    X @ transpose(dequant(W) * v / w, [0, 2, 1])
}
kernel in_sum(A: i8[N, K] scale f32[N], B: i8[N, K] scale f32[N], v: f32[K], X: bf16[M, K]) -> f32[M, N] {
    X @ (dequant(A) * v + dequant(B)).T
}

// expected:
// hoist-vector: fired
// digit-split: fired
// kernel along_n(W: i8[K, N] scale f32[N], v: f32[N], X: bf16[M, K]) -> f32[M, N] {
//     let (v3_0, v3_1) = msd.decompose(X, "int8x2-pow2");
//     let v4 = msd.codes(W);
//     let v5 = msd.dot(v3_0, v4);
//     let v6 = msd.combine(v5, "int8x2-pow2");
//     let v7 = msd.scale(W);
//     let v8 = reshape(v7, [1, N]);
//     let v9 = v6 * v8;
//     let v10 = v9 * v3_1;
//     let v11 = cast(v10, f32);
//     v11 * v
// }
// hoist-vector: fired
// digit-split: fired
// kernel along_k(W: i8[N, K] scale f32[N], v: bf16[K], X: bf16[M, K]) -> f32[M, N] {
//     let v3 = X * v;
//     let (v4_0, v4_1) = msd.decompose(v3, "int8x2-pow2");
//     let v5 = msd.codes(W);
//     let v6 = v5.T;
//     let v7 = msd.dot(v4_0, v6);
//     let v8 = msd.combine(v7, "int8x2-pow2");
//     let v9 = msd.scale(W);
//     let v10 = reshape(v9, [N, 1]);
//     let v11 = v10.T;
//     let v12 = v8 * v11;
//     v12 * v4_1
// }
// hoist-vector: fired
// hoist-vector: fired
// digit-split: fired
// kernel divided(W: i8[N, K] scale f32[N], u: f32[N, 1], v: f32[1, K], X: bf16[M, K]) -> f32[M, N] {
//     let v4 = X / v;
//     let v5 = u.T;
//     let (v6_0, v6_1) = msd.decompose(v4, "int8x2-pow2");
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
//     v16 / v5
// }
// double-transpose: fired
// hoist-vector: fired
// orient-left: fired
// digit-split: fired
// kernel columns(W: i8[N, K] scale f32[N], v: f32[N], X: bf16[K, M]) -> f32[N, M] {
//     let v3 = X.T;
//     let (v4_0, v4_1) = msd.decompose(v3, "int8x2-pow2");
//     let v5 = msd.codes(W);
//     let v6 = v5.T;
//     let v7 = msd.dot(v4_0, v6);
//     let v8 = msd.combine(v7, "int8x2-pow2");
//     let v9 = msd.scale(W);
//     let v10 = reshape(v9, [N, 1]);
//     let v11 = v10.T;
//     let v12 = v8 * v11;
//     let v13 = v12 * v4_1;
//     let v14 = cast(v13, f32);
//     let v15 = v14 * v;
//     v15.T
// }
// hoist-vector: fired
// hoist-scalar: fired
// hoist-vector: fired
// digit-split: fired
// kernel nested(W: i8[N, K] scale f32[N], u: f32[N, 1], v: i8[1, K], X: i8[M, K]) -> f32[M, N] {
//     let v4 = 0.5;
//     let v5 = cast(v, f32);
//     let v6 = X * v5;
//     let v7 = u.T;
//     let (v8_0, v8_1) = msd.decompose(v6, "int8x2-radix");
//     let v9 = msd.codes(W);
//     let v10 = v9.T;
//     let v11 = msd.dot(v8_0, v10);
//     let v12 = msd.combine(v11, "int8x2-radix");
//     let v13 = msd.scale(W);
//     let v14 = reshape(v13, [N, 1]);
//     let v15 = v14.T;
//     let v16 = v12 * v15;
//     let v17 = v16 * v8_1;
//     let v18 = cast(v17, f32);
//     let v19 = v18 * v7;
//     let v20 = -v19;
//     v20 * v4
// }
// hoist-vector: fired
// hoist-vector: fired
// digit-split: fired
// kernel batches(W: i8[2, N, K] scale f32[2, N], v: f32[2, 1, K], w: f32[2, 1, 1], X: bf16[M, K]) -> f32[2, M, N] {
//     let v4 = w.T;
//     let v5 = X * v;
//     let (v6_0, v6_1) = msd.decompose(v5, "int8x2-radix");
//     let v7 = msd.codes(W);
//     let v8 = v7.T;
//     let v9 = msd.dot(v6_0, v8);
//     let v10 = msd.combine(v9, "int8x2-radix");
//     let v11 = msd.scale(W);
//     let v12 = reshape(v11, [2, N, 1]);
//     let v13 = v12.T;
//     let v14 = v10 * v13;
//     let v15 = v14 * v6_1;
//     let v16 = cast(v15, f32);
//     v16 / v4
// }
// hoist-vector: fired
// hoist-add: fired
// digit-split: fired
// digit-split: fired
// kernel in_sum(A: i8[N, K] scale f32[N], B: i8[N, K] scale f32[N], v: f32[K], X: bf16[M, K]) -> f32[M, N] {
//     let v4 = X * v;
//     let (v5_0, v5_1) = msd.decompose(v4, "int8x2-pow2");
//     let v6 = msd.codes(A);
//     let v7 = v6.T;
//     let v8 = msd.dot(v5_0, v7);
//     let v9 = msd.combine(v8, "int8x2-pow2");
//     let v10 = msd.scale(A);
//     let v11 = reshape(v10, [N, 1]);
//     let v12 = v11.T;
//     let v13 = v9 * v12;
//     let v14 = v13 * v5_1;
//     let v15 = cast(v14, f32);
//     let (v16_0, v16_1) = msd.decompose(X, "int8x2-pow2");
//     let v17 = msd.codes(B);
//     let v18 = v17.T;
//     let v19 = msd.dot(v16_0, v18);
//     let v20 = msd.combine(v19, "int8x2-pow2");
//     let v21 = msd.scale(B);
//     let v22 = reshape(v21, [N, 1]);
//     let v23 = v22.T;
//     let v24 = v20 * v23;
//     let v25 = v24 * v16_1;
//     let v26 = cast(v25, f32);
//     v15 + v26
// }
