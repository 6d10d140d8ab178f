// A weight that stands on the right already, or on both sides, is left there.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
// sizes: M=1, N=5, K=0
kernel right(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel both(A: i8[M, K] scale f32[M], B: i8[N, K] scale f32[1]) -> f32[M, N] { dequant(A) @ dequant(B).T }
kernel neither(a: f32[M, K], b: f32[N, K]) -> f32[M, N] { a @ b.T }

// expected:
// digit-split: fired
// kernel right(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-pow2");
//     let v3 = msd.codes(W);
//     let v4 = v3.T;
//     let v5 = msd.dot(v2_0, v4);
//     let v6 = msd.combine(v5, "int8x2-pow2");
//     let v7 = msd.scale(W);
//     let v8 = reshape(v7, [N, 1]);
//     let v9 = v8.T;
//     let v10 = v6 * v9;
//     v10 * v2_1
// }
// native-product: fired
// kernel both(A: i8[M, K] scale f32[M], B: i8[N, K] scale f32[1]) -> f32[M, N] {
//     let v2 = msd.codes(A);
//     let v3 = msd.codes(B);
//     let v4 = v3.T;
//     let v5 = msd.dot(v2, v4);
//     let v6 = cast(v5, f32);
//     let v7 = msd.scale(A);
//     let v8 = reshape(v7, [M, 1]);
//     let v9 = v6 * v8;
//     let v10 = msd.scale(B);
//     let v11 = reshape(v10, [1, 1]);
//     let v12 = v11.T;
//     v9 * v12
// }
// kernel neither(a: f32[M, K], b: f32[N, K]) -> f32[M, N] {
//     let v2 = b.T;
//     a @ v2
// }
