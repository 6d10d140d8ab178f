// Scalars around the weight move behind the product, innermost first.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
// sizes: M=1, N=5, K=0
kernel halved(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ (0.5 * dequant(W)).T }
kernel several(W: i8[N, K] scale f32[N], X: f16[M, K], c: f32[]) -> f32[M, N] { X @ (-dequant(W) / 3 * c).T }

// expected:
// hoist-scalar: fired
// digit-split: fired
// kernel halved(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = 0.5;
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
//     v13 * v2
// }
// hoist-scalar: fired
// digit-split: fired
// kernel several(W: i8[N, K] scale f32[N], X: f16[M, K], c: f32[]) -> f32[M, N] {
//     let v3 = 3;
//     let (v4_0, v4_1) = msd.decompose(X, "int8x2-radix");
//     let v5 = msd.codes(W);
//     let v6 = v5.T;
//     let v7 = msd.dot(v4_0, v6);
//     let v8 = msd.combine(v7, "int8x2-radix");
//     let v9 = msd.scale(W);
//     let v10 = reshape(v9, [N, 1]);
//     let v11 = v10.T;
//     let v12 = v8 * v11;
//     let v13 = v12 * v4_1;
//     let v14 = cast(v13, f32);
//     let v15 = -v14;
//     let v16 = v15 / v3;
//     v16 * c
// }
