// A weight on the left is brought to the right; then the same rules apply as there.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
// sizes: M=1, N=5, K=0
kernel columns(W: i8[N, K] scale f32[N], X: bf16[K, M]) -> f32[N, M] { dequant(W) @ X }

// expected:
// orient-left: fired
// digit-split: fired
// kernel columns(W: i8[N, K] scale f32[N], X: bf16[K, M]) -> f32[N, M] {
//     let v2 = X.T;
//     let (v3_0, v3_1) = msd.decompose(v2, "int8x2-pow2");
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
//     v13.T
// }
