// A scale along the contraction stops it, and codes that are no integers.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
// sizes: M=1, N=5, K=0
kernel along(A: i8[M, K] scale f32[K], B: i8[N, K] scale f32[N]) -> f32[M, N] { dequant(A) @ dequant(B).T }
kernel floats(A: e2m1[M, K] scale f32[M], B: i8[N, K] scale f32[N]) -> f32[M, N] { dequant(A) @ dequant(B).T }

// expected:
// native-product: stopped scale-placement: the scale `f32[K]` varies along the contracted dimension `K`
// digit-split: fired
// kernel along(A: i8[M, K] scale f32[K], B: i8[N, K] scale f32[N]) -> f32[M, N] {
//     let v2 = dequant(A);
//     let (v3_0, v3_1) = msd.decompose(v2, "int8x2-radix");
//     let v4 = msd.codes(B);
//     let v5 = v4.T;
//     let v6 = msd.dot(v3_0, v5);
//     let v7 = msd.combine(v6, "int8x2-radix");
//     let v8 = msd.scale(B);
//     let v9 = reshape(v8, [N, 1]);
//     let v10 = v9.T;
//     let v11 = v7 * v10;
//     v11 * v3_1
// }
// native-product: stopped weight-format: `e2m1` codes are no integers
// digit-split: fired
// kernel floats(A: e2m1[M, K] scale f32[M], B: i8[N, K] scale f32[N]) -> f32[M, N] {
//     let v2 = dequant(A);
//     let (v3_0, v3_1) = msd.decompose(v2, "int8x2-radix");
//     let v4 = msd.codes(B);
//     let v5 = v4.T;
//     let v6 = msd.dot(v3_0, v5);
//     let v7 = msd.combine(v6, "int8x2-radix");
//     let v8 = msd.scale(B);
//     let v9 = reshape(v8, [N, 1]);
//     let v10 = v9.T;
//     let v11 = v7 * v10;
//     v11 * v3_1
// }
