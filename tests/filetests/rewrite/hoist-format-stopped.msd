// A weight that is not multiplied as stored is not brought out of anything: that would cost a product.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=16, K=64
// sizes: M=1, N=4, K=32
kernel sum(W: e4m3[K, N] scale f32[N], L: f32[K, N], X: bf16[M, K]) -> f32[M, N] { X @ (dequant(W) + L) }
kernel zeros(W: u4[N, K] scale f16[N] zero f16[K], v: f32[K], X: bf16[M, K]) -> f32[M, N] { X @ (dequant(W) * v).T }
kernel both(A: i8[K, N] scale f32[N], B: i8[K, N] scale f32[N], L: f32[K, K]) -> f32[N, N] {
    (dequant(A) + L @ dequant(B)).T @ dequant(B)
}
kernel other_ops(W: i8[K, N] scale f32[N], X: bf16[M, K]) -> (f32[M, N], f32[M, N]) {
    (X @ reshape(dequant(W), [K, N]), X @ max(dequant(W), 0))
}

// expected:
// hoist-add: stopped weight-format: `e4m3` codes may as well be dequantized before
// kernel sum(W: e4m3[K, N] scale f32[N], L: f32[K, N], X: bf16[M, K]) -> f32[M, N] {
//     let v3 = dequant(W);
//     let v4 = v3 + L;
//     X @ v4
// }
// hoist-vector: stopped zero-placement: the zero point `f16[K]` varies along the contracted dimension `K`, which takes integers of 8 bits that are the same for all output channels
// kernel zeros(W: u4[N, K] scale f16[N] zero f16[K], v: f32[K], X: bf16[M, K]) -> f32[M, N] {
//     let v3 = dequant(W);
//     let v4 = v3 * v;
//     let v5 = v4.T;
//     X @ v5
// }
// hoist-add: stopped side: the other side of the product is a weight as well
// digit-split: fired
// digit-split: fired
// kernel both(A: i8[K, N] scale f32[N], B: i8[K, N] scale f32[N], L: f32[K, K]) -> f32[N, N] {
//     let v3 = dequant(A);
//     let (v4_0, v4_1) = msd.decompose(L, "int8x2-radix");
//     let v5 = msd.codes(B);
//     let v6 = msd.dot(v4_0, v5);
//     let v7 = msd.combine(v6, "int8x2-radix");
//     let v8 = msd.scale(B);
//     let v9 = reshape(v8, [1, N]);
//     let v10 = v7 * v9;
//     let v11 = v10 * v4_1;
//     let v12 = cast(v11, f32);
//     let v13 = v3 + v12;
//     let v14 = v13.T;
//     let (v15_0, v15_1) = msd.decompose(v14, "int8x2-radix");
//     let v16 = msd.dot(v15_0, v5);
//     let v17 = msd.combine(v16, "int8x2-radix");
//     let v18 = v17 * v9;
//     v18 * v15_1
// }
// hoist-vector: stopped op: `reshape` stands between the product and the weight
// hoist-vector: stopped op: `max` stands between the product and the weight
// kernel other_ops(W: i8[K, N] scale f32[N], X: bf16[M, K]) -> (f32[M, N], f32[M, N]) {
//     let v2 = dequant(W);
//     let v3 = reshape(v2, [K, N]);
//     let v4 = X @ v3;
//     let v6 = max(v2, 0);
//     let v7 = X @ v6;
//     (v4, v7)
// }
