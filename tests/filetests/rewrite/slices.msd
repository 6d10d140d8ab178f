// A slice of a weight reads part of the codes: no rule is needed, and Q, K and V of one weight share
// the digits of X.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=48, K=64
// sizes: M=1, N=16, K=32
kernel qkv(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> (f32[M, N/2], f32[M, N/4], f32[M, N/4]) {
    let w = dequant(W);
    (X @ slice(w, 0, 0, N/2).T, X @ slice(w, 0, N/2, 3*N/4).T, X @ slice(w, 0, 3*N/4, N).T)
}
kernel nested(W: u4[N, 64] scale f16[N, 4] zero u4[N, 4], X: f32[M, 32]) -> f32[M, N] {
    X @ slice(slice(dequant(W), 1, 16, 64), 1, 0, 32).T
}

// expected:
// digit-split: fired
// digit-split: fired
// digit-split: fired
// kernel qkv(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> (f32[M, N/2], f32[M, N/4], f32[M, N/4]) {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-pow2");
//     let v3 = msd.codes(W);
//     let v4 = slice(v3, 0, 0, N/2);
//     let v5 = v4.T;
//     let v6 = msd.dot(v2_0, v5);
//     let v7 = msd.combine(v6, "int8x2-pow2");
//     let v8 = msd.scale(W);
//     let v9 = reshape(v8, [N, 1]);
//     let v10 = slice(v9, 0, 0, N/2);
//     let v11 = v10.T;
//     let v12 = v7 * v11;
//     let v13 = v12 * v2_1;
//     let v14 = cast(v13, f32);
//     let v15 = slice(v3, 0, N/2, 3*N/4);
//     let v16 = v15.T;
//     let v17 = msd.dot(v2_0, v16);
//     let v18 = msd.combine(v17, "int8x2-pow2");
//     let v19 = slice(v9, 0, N/2, 3*N/4);
//     let v20 = v19.T;
//     let v21 = v18 * v20;
//     let v22 = v21 * v2_1;
//     let v23 = cast(v22, f32);
//     let v24 = slice(v3, 0, 3*N/4, N);
//     let v25 = v24.T;
//     let v26 = msd.dot(v2_0, v25);
//     let v27 = msd.combine(v26, "int8x2-pow2");
//     let v28 = slice(v9, 0, 3*N/4, N);
//     let v29 = v28.T;
//     let v30 = v27 * v29;
//     let v31 = v30 * v2_1;
//     let v32 = cast(v31, f32);
//     (v14, v23, v32)
// }
// split-groups: fired
// kernel nested(W: u4[N, 64] scale f16[N, 4] zero u4[N, 4], X: f32[M, 32]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-radix");
//     let v3 = reshape(v2_0, [2*M, 2, 16]);
//     let v4 = transpose(v3, [1, 0, 2]);
//     let v5 = msd.codes(W);
//     let v6 = slice(v5, 1, 16, 48);
//     let v7 = reshape(v6, [N, 2, 16]);
//     let v8 = transpose(v7, [1, 2, 0]);
//     let v9 = msd.dot(v4, v8);
//     let v10 = msd.zero(W);
//     let v11 = slice(v10, 1, 1, 3);
//     let v12 = reshape(v11, [N, 2, 1]);
//     let v13 = transpose(v12, [1, 2, 0]);
//     let v14 = cast(v4, i64);
//     let v15 = sum(v14);
//     let v16 = msd.combine_zero(v9, v15, v13, "int8x2-radix");
//     let v17 = 1;
//     let v18 = msd.scale(W);
//     let v19 = cast(v18, f32);
//     let v20 = slice(v19, 1, 1, 3);
//     let v21 = reshape(v20, [N, 2, 1]);
//     let v22 = transpose(v21, [1, 2, 0]);
//     let v23 = msd.accumulate(v16, v22, v17);
//     v23 * v2_1
// }
