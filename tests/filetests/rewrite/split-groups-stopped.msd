// Groups that overlap have no common unit, and a slice must not cut through one.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=96
// sizes: M=1, N=5, K=192
kernel overlap(W: u4[N, K] scale f16[N, K/32] zero u4[N, K/48], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel cut(W: i8[N, 64] scale f16[N, 2], X: bf16[M, 48]) -> f32[M, N] { X @ slice(dequant(W), 1, 0, 48).T }

// expected:
// split-groups: stopped group-sizes: groups of 48 and of 32 along `K` overlap
// post-scale: stopped group-sizes: groups of 48 and of 32 along `K` overlap
// kernel overlap(W: u4[N, K] scale f16[N, K/32] zero u4[N, K/48], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
// split-groups: stopped slice: the slice from `0` to `48` may cut groups of 32
// post-scale: stopped slice: the slice from `0` to `48` may cut groups of 32
// kernel cut(W: i8[N, 64] scale f16[N, 2], X: bf16[M, 48]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = slice(v2, 1, 0, 48);
//     let v4 = v3.T;
//     X @ v4
// }
