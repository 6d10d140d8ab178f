// One split of X serves every product with it, equal products are one, and what nobody uses is gone.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=1, N=5, K=0
kernel qkv(Q: i8[N, K] scale f32[N], K1: i8[N, K] scale f32[N], V: i8[N, K] scale f32[N], X: bf16[M, K])
    -> (f32[M, N], f32[M, N], f32[M, N])
{
    (X @ dequant(Q).T, X @ dequant(K1).T, X @ dequant(V).T)
}
kernel joined(Q: i8[N, K] scale f32[N], K1: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N + N] {
    X @ concat(dequant(Q), dequant(K1), 0).T
}
kernel twice(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {
    X @ dequant(W).T + silu(X @ (dequant(W) * 1).T)
}
kernel unused(W: i8[N, K] scale f32[N], V: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {
    let dead = exp(X @ dequant(V).T);
    X @ dequant(W).T
}

// expected:
// digit-split: fired
// digit-split: fired
// digit-split: fired
// kernel qkv(
//     Q: i8[N, K] scale f32[N],
//     K1: i8[N, K] scale f32[N],
//     V: i8[N, K] scale f32[N],
//     X: bf16[M, K],
// ) -> (f32[M, N], f32[M, N], f32[M, N]) {
//     let (v4_0, v4_1) = msd.decompose(X, "int8x2-pow2");
//     let v5 = msd.codes(Q);
//     let v6 = v5.T;
//     let v7 = msd.dot(v4_0, v6);
//     let v8 = msd.combine(v7, "int8x2-pow2");
//     let v9 = msd.scale(Q);
//     let v10 = reshape(v9, [N, 1]);
//     let v11 = v10.T;
//     let v12 = v8 * v11;
//     let v13 = v12 * v4_1;
//     let v14 = cast(v13, f32);
//     let v15 = msd.codes(K1);
//     let v16 = v15.T;
//     let v17 = msd.dot(v4_0, v16);
//     let v18 = msd.combine(v17, "int8x2-pow2");
//     let v19 = msd.scale(K1);
//     let v20 = reshape(v19, [N, 1]);
//     let v21 = v20.T;
//     let v22 = v18 * v21;
//     let v23 = v22 * v4_1;
//     let v24 = cast(v23, f32);
//     let v25 = msd.codes(V);
//     let v26 = v25.T;
//     let v27 = msd.dot(v4_0, v26);
//     let v28 = msd.combine(v27, "int8x2-pow2");
//     let v29 = msd.scale(V);
//     let v30 = reshape(v29, [N, 1]);
//     let v31 = v30.T;
//     let v32 = v28 * v31;
//     let v33 = v32 * v4_1;
//     let v34 = cast(v33, f32);
//     (v14, v24, v34)
// }
// hoist-concat: fired
// digit-split: fired
// digit-split: fired
// kernel joined(Q: i8[N, K] scale f32[N], K1: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, 2*N] {
//     let (v3_0, v3_1) = msd.decompose(X, "int8x2-pow2");
//     let v4 = msd.codes(Q);
//     let v5 = v4.T;
//     let v6 = msd.dot(v3_0, v5);
//     let v7 = msd.combine(v6, "int8x2-pow2");
//     let v8 = msd.scale(Q);
//     let v9 = reshape(v8, [N, 1]);
//     let v10 = v9.T;
//     let v11 = v7 * v10;
//     let v12 = v11 * v3_1;
//     let v13 = cast(v12, f32);
//     let v14 = msd.codes(K1);
//     let v15 = v14.T;
//     let v16 = msd.dot(v3_0, v15);
//     let v17 = msd.combine(v16, "int8x2-pow2");
//     let v18 = msd.scale(K1);
//     let v19 = reshape(v18, [N, 1]);
//     let v20 = v19.T;
//     let v21 = v17 * v20;
//     let v22 = v21 * v3_1;
//     let v23 = cast(v22, f32);
//     concat(v13, v23, 1)
// }
// hoist-scalar: fired
// digit-split: fired
// kernel twice(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-pow2");
//     let v3 = msd.codes(W);
//     let v4 = v3.T;
//     let v5 = msd.dot(v2_0, v4);
//     let v6 = msd.combine(v5, "int8x2-pow2");
//     let v7 = msd.scale(W);
//     let v8 = reshape(v7, [N, 1]);
//     let v9 = v8.T;
//     let v10 = v6 * v9;
//     let v11 = v10 * v2_1;
//     let v12 = cast(v11, f32);
//     let v14 = v12 * 1;
//     let v15 = -v14;
//     let v16 = exp(v15);
//     let v17 = 1 + v16;
//     let v18 = v14 / v17;
//     v12 + v18
// }
// digit-split: fired
// kernel unused(W: i8[N, K] scale f32[N], V: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {
//     let (v3_0, v3_1) = msd.decompose(X, "int8x2-pow2");
//     let v4 = msd.codes(W);
//     let v5 = v4.T;
//     let v6 = msd.dot(v3_0, v5);
//     let v7 = msd.combine(v6, "int8x2-pow2");
//     let v8 = msd.scale(W);
//     let v9 = reshape(v8, [N, 1]);
//     let v10 = v9.T;
//     let v11 = v7 * v10;
//     v11 * v3_1
// }
