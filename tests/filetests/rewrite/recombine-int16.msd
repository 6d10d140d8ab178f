// For a target that multiplies 16-bit integers as fast as bytes, both digits become one.
// test: rewrite
// lowering: msd
// int16: yes
// open: M
// sizes: M=3, N=32, K=64
// sizes: M=2, N=4, K=32
// sizes: M=1, N=5, K=0
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel radix(W: u8[N, K] scale f32[N] zero u8[N], X: f32[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel grouped(W: u4[N, K] scale f16[N, K/32] zero u4[N, K/32], X: f16[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// recombine-int16: fired
// digit-split: fired
// kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int16-pow2");
//     let v3 = msd.codes(W);
//     let v4 = v3.T;
//     let v5 = msd.dot(v2_0, v4);
//     let v6 = msd.combine(v5, "int16-pow2");
//     let v7 = msd.scale(W);
//     let v8 = reshape(v7, [N, 1]);
//     let v9 = v8.T;
//     let v10 = v6 * v9;
//     v10 * v2_1
// }
// recombine-int16: fired
// fold-zero: fired
// kernel radix(W: u8[N, K] scale f32[N] zero u8[N], X: f32[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int16-radix");
//     let v3 = msd.codes(W);
//     let v4 = v3.T;
//     let v5 = msd.dot(v2_0, v4);
//     let v6 = msd.zero(W);
//     let v7 = reshape(v6, [N, 1]);
//     let v8 = v7.T;
//     let v9 = cast(v2_0, i64);
//     let v10 = sum(v9);
//     let v11 = msd.combine_zero(v5, v10, v8, "int16-radix");
//     let v12 = msd.scale(W);
//     let v13 = reshape(v12, [N, 1]);
//     let v14 = v13.T;
//     let v15 = v11 * v14;
//     v15 * v2_1
// }
// recombine-int16: fired
// split-groups: fired
// kernel grouped(W: u4[N, K] scale f16[N, K/32] zero u4[N, K/32], X: f16[M, K]) -> f32[M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int16-radix");
//     let v3 = reshape(v2_0, [M, K/32, 32]);
//     let v4 = transpose(v3, [1, 0, 2]);
//     let v5 = msd.codes(W);
//     let v6 = reshape(v5, [N, K/32, 32]);
//     let v7 = transpose(v6, [1, 2, 0]);
//     let v8 = msd.dot(v4, v7);
//     let v9 = msd.zero(W);
//     let v10 = reshape(v9, [N, K/32, 1]);
//     let v11 = transpose(v10, [1, 2, 0]);
//     let v12 = cast(v4, i64);
//     let v13 = sum(v12);
//     let v14 = msd.combine_zero(v8, v13, v11, "int16-radix");
//     let v15 = 1;
//     let v16 = msd.scale(W);
//     let v17 = cast(v16, f32);
//     let v18 = reshape(v17, [N, K/32, 1]);
//     let v19 = transpose(v18, [1, 2, 0]);
//     let v20 = msd.accumulate(v14, v19, v15);
//     v20 * v2_1
// }
