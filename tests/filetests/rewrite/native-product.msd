// Both sides are stored integers: one integer product, and both scales.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
// sizes: M=1, N=5, K=0
kernel both(A: i8[M, K] scale f32[M], B: i8[N, K] scale f16[N]) -> f32[M, N] { dequant(A) @ dequant(B).T }
kernel mixed(A: u8[M, K] scale f32[1], B: i4[K, N] scale f32[1]) -> f32[M, N] { dequant(A) @ dequant(B) }

// expected:
// native-product: fired
// kernel both(A: i8[M, K] scale f32[M], B: i8[N, K] scale f16[N]) -> f32[M, N] {
//     let v2 = msd.codes(A);
//     let v3 = msd.codes(B);
//     let v4 = v3.T;
//     let v5 = msd.dot(v2, v4);
//     let v6 = cast(v5, f32);
//     let v7 = msd.scale(A);
//     let v8 = reshape(v7, [M, 1]);
//     let v9 = v6 * v8;
//     let v10 = msd.scale(B);
//     let v11 = reshape(v10, [N, 1]);
//     let v12 = v11.T;
//     v9 * v12
// }
// native-product: fired
// kernel mixed(A: u8[M, K] scale f32[1], B: i4[K, N] scale f32[1]) -> f32[M, N] {
//     let v2 = msd.codes(A);
//     let v3 = msd.codes(B);
//     let v4 = msd.dot(v2, v3);
//     let v5 = cast(v4, f32);
//     let v6 = msd.scale(A);
//     let v7 = reshape(v6, [1, 1]);
//     let v8 = v5 * v7;
//     let v9 = msd.scale(B);
//     let v10 = reshape(v9, [1, 1]);
//     v8 * v10
// }
