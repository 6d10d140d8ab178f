// The product becomes digits times stored codes, merged, rounded once and scaled.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
// sizes: M=1, N=5, K=0
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K], bias: f32[N]) -> f32[M, N] { X @ dequant(W).T + bias }
kernel per_tensor(W: u8[K, N] scale f32[1], X: f32[M, K]) -> f32[M, N] { X @ dequant(W) }
kernel shared(G: i8[N, K] scale f32[N], U: i8[N, K] scale f32[N], X: bf16[M, K]) -> bf16[M, N] {
    silu(X @ dequant(G).T) * (X @ dequant(U).T)
}

// expected:
// digit-split: fired
// kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K], bias: f32[N]) -> f32[M, N] {
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
//     v13 + bias
// }
// digit-split: fired
// kernel per_tensor(W: u8[K, N] scale f32[1], X: f32[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-radix");
//     let v3 = msd.codes(W);
//     let v4 = msd.dot(v2_0, v3);
//     let v5 = msd.combine(v4, "int8x2-radix");
//     let v6 = msd.scale(W);
//     let v7 = reshape(v6, [1, 1]);
//     let v8 = v5 * v7;
//     v8 * v2_1
// }
// digit-split: fired
// digit-split: fired
// kernel shared(G: i8[N, K] scale f32[N], U: i8[N, K] scale f32[N], X: bf16[M, K]) -> bf16[M, N] {
//     let (v3_0, v3_1) = msd.decompose(X, "int8x2-pow2");
//     let v4 = msd.codes(G);
//     let v5 = v4.T;
//     let v6 = msd.dot(v3_0, v5);
//     let v7 = msd.combine(v6, "int8x2-pow2");
//     let v8 = msd.scale(G);
//     let v9 = reshape(v8, [N, 1]);
//     let v10 = v9.T;
//     let v11 = v7 * v10;
//     let v12 = v11 * v3_1;
//     let v13 = cast(v12, f32);
//     let v14 = 1;
//     let v15 = -v13;
//     let v16 = exp(v15);
//     let v17 = v14 + v16;
//     let v18 = v13 / v17;
//     let v19 = msd.codes(U);
//     let v20 = v19.T;
//     let v21 = msd.dot(v3_0, v20);
//     let v22 = msd.combine(v21, "int8x2-pow2");
//     let v23 = msd.scale(U);
//     let v24 = reshape(v23, [N, 1]);
//     let v25 = v24.T;
//     let v26 = v22 * v25;
//     let v27 = v26 * v3_1;
//     let v28 = cast(v27, f32);
//     v18 * v28
// }
