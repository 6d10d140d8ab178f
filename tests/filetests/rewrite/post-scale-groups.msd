// Codes that are floats are multiplied as stored also where scales vary by group: the groups are added up.
// test: rewrite
// lowering: dequant
// open: M
// sizes: M=3, N=32, K=64
// sizes: M=1, N=16, K=32
// sizes: M=2, N=16, K=0
kernel blocks(W: e4m3[N, K] scale f32[N/16, K/32], X: f32[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel mxfp8(W: mxfp8[N, K], X: bf16[2, M, K]) -> bf16[2, M, N] { X @ dequant(W).T }
kernel stored(W: e5m2[N, K] scale f16[N, K/32], X: e4m3[M, K] scale f32[M]) -> f32[M, N] { dequant(X) @ dequant(W).T }

// expected:
// split-groups: stopped plan: `dequant` asked for
// post-scale: fired
// kernel blocks(W: e4m3[N, K] scale f32[N/16, K/32], X: f32[M, K]) -> f32[M, N] {
//     let v2 = reshape(X, [M, K/32, 32]);
//     let v3 = transpose(v2, [1, 0, 2]);
//     let v4 = msd.codes(W);
//     let v5 = reshape(v4, [N, K/32, 32]);
//     let v6 = transpose(v5, [1, 2, 0]);
//     let v7 = v3 @ v6;
//     let v8 = msd.scale(W);
//     let v9 = reshape(v8, [N/16, 1, K/32]);
//     let v10 = broadcast(v9, [N/16, 16, K/32]);
//     let v11 = reshape(v10, [N, K/32, 1]);
//     let v12 = transpose(v11, [1, 2, 0]);
//     msd.accumulate(v7, v12, 1)
// }
// split-groups: stopped plan: `dequant` asked for
// post-scale: fired
// kernel mxfp8(W: e4m3[N, K] scale e8m0[N, K/32], X: bf16[2, M, K]) -> bf16[2, M, N] {
//     let v2 = reshape(X, [2, M, K/32, 32]);
//     let v3 = transpose(v2, [0, 2, 1, 3]);
//     let v4 = msd.codes(W);
//     let v5 = reshape(v4, [N, K/32, 32]);
//     let v6 = transpose(v5, [1, 2, 0]);
//     let v7 = v3 @ v6;
//     let v8 = msd.scale(W);
//     let v9 = cast(v8, f32);
//     let v10 = reshape(v9, [N, K/32, 1]);
//     let v11 = transpose(v10, [1, 2, 0]);
//     msd.accumulate(v7, v11, 1)
// }
// native-product: stopped plan: `dequant` asked for
// split-groups: stopped plan: `dequant` asked for
// post-scale: fired
// kernel stored(W: e5m2[N, K] scale f16[N, K/32], X: e4m3[M, K] scale f32[M]) -> f32[M, N] {
//     let v2 = dequant(X);
//     let v3 = reshape(v2, [M, K/32, 32]);
//     let v4 = transpose(v3, [1, 0, 2]);
//     let v5 = msd.codes(W);
//     let v6 = reshape(v5, [N, K/32, 32]);
//     let v7 = transpose(v6, [1, 2, 0]);
//     let v8 = v4 @ v7;
//     let v9 = msd.scale(W);
//     let v10 = cast(v9, f32);
//     let v11 = reshape(v10, [N, K/32, 1]);
//     let v12 = transpose(v11, [1, 2, 0]);
//     msd.accumulate(v8, v12, 1)
// }
