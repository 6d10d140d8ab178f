// Digits that are not the two bytes of an integer stay as they are, and so do those whose products with
// floats are rounded.
// test: rewrite
// lowering: msd
// int16: yes
// scheme: int8x3-pow2
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=1, N=5, K=0
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel floats(W: e4m3[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// recombine-int16: stopped digits: the integers of `int8x3-pow2` are not two digits of 8 bits
// digit-split: fired
// kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x3-pow2");
//     let v3 = msd.codes(W);
//     let v4 = v3.T;
//     let v5 = msd.dot(v2_0, v4);
//     let v6 = msd.combine(v5, "int8x3-pow2");
//     let v7 = msd.scale(W);
//     let v8 = reshape(v7, [N, 1]);
//     let v9 = v8.T;
//     let v10 = v6 * v9;
//     v10 * v2_1
// }
// recombine-int16: stopped products: sums of products with floats are rounded, those of each digit by themselves
// digit-split: fired
// kernel floats(W: e4m3[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x3-pow2");
//     let v3 = msd.codes(W);
//     let v4 = v3.T;
//     let v5 = v2_0 @ v4;
//     let v6 = msd.combine(v5, "int8x3-pow2");
//     let v7 = msd.scale(W);
//     let v8 = reshape(v7, [N, 1]);
//     let v9 = v8.T;
//     let v10 = v6 * v9;
//     v10 * v2_1
// }
