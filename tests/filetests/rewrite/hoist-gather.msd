// Terms that are not multiplied as stored stay one tensor, and one product.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=16, K=64
// sizes: M=1, N=4, K=32
kernel two_plain(W: i8[K, N] scale f32[N], a: f32[K, N], b: f32[K, N], X: bf16[M, K]) -> f32[M, N] {
    X @ (dequant(W) + a + b)
}
kernel signs(W: i8[N, K] scale f32[N], a: bf16[N, K], b: bf16[N, K], c: i8[K, N], X: bf16[M, K]) -> f32[M, N] {
    X @ (a - (dequant(W) - b) - c.T).T
}
kernel formats(W: i8[K, N] scale f32[N], F: e4m3[K, N] scale f32[N], L: f32[K, N], X: bf16[M, K]) -> f32[M, N] {
    X @ (dequant(F) + dequant(W) - L)
}

// expected:
// hoist-add: fired
// digit-split: fired
// kernel two_plain(W: i8[K, N] scale f32[N], a: f32[K, N], b: f32[K, N], X: bf16[M, K]) -> f32[M, N] {
//     let (v4_0, v4_1) = msd.decompose(X, "int8x2-pow2");
//     let v5 = msd.codes(W);
//     let v6 = msd.dot(v4_0, v5);
//     let v7 = msd.combine(v6, "int8x2-pow2");
//     let v8 = msd.scale(W);
//     let v9 = reshape(v8, [1, N]);
//     let v10 = v7 * v9;
//     let v11 = v10 * v4_1;
//     let v12 = cast(v11, f32);
//     let v13 = a + b;
//     let v14 = X @ v13;
//     v12 + v14
// }
// hoist-add: fired
// digit-split: fired
// kernel signs(W: i8[N, K] scale f32[N], a: bf16[N, K], b: bf16[N, K], c: i8[K, N], X: bf16[M, K]) -> f32[M, N] {
//     let v5 = c.T;
//     let v6 = cast(a, f32);
//     let v7 = cast(b, f32);
//     let v8 = v6 + v7;
//     let v9 = cast(v5, f32);
//     let v10 = v8 - v9;
//     let v11 = v10.T;
//     let v12 = X @ v11;
//     let (v13_0, v13_1) = msd.decompose(X, "int8x2-pow2");
//     let v14 = msd.codes(W);
//     let v15 = v14.T;
//     let v16 = msd.dot(v13_0, v15);
//     let v17 = msd.combine(v16, "int8x2-pow2");
//     let v18 = msd.scale(W);
//     let v19 = reshape(v18, [N, 1]);
//     let v20 = v19.T;
//     let v21 = v17 * v20;
//     let v22 = v21 * v13_1;
//     let v23 = cast(v22, f32);
//     v12 - v23
// }
// hoist-add: stopped weight-format: `e4m3` codes may as well be dequantized before
// hoist-add: fired
// digit-split: fired
// kernel formats(W: i8[K, N] scale f32[N], F: e4m3[K, N] scale f32[N], L: f32[K, N], X: bf16[M, K]) -> f32[M, N] {
//     let v4 = dequant(F);
//     let v5 = v4 - L;
//     let v6 = X @ v5;
//     let (v7_0, v7_1) = msd.decompose(X, "int8x2-pow2");
//     let v8 = msd.codes(W);
//     let v9 = msd.dot(v7_0, v8);
//     let v10 = msd.combine(v9, "int8x2-pow2");
//     let v11 = msd.scale(W);
//     let v12 = reshape(v11, [1, N]);
//     let v13 = v10 * v12;
//     let v14 = v13 * v7_1;
//     let v15 = cast(v14, f32);
//     v6 + v15
// }
