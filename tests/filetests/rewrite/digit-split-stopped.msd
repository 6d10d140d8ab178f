// Each guard: the format, a zero point, a scale along the contraction, a scale in groups.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=32, K=64
kernel weight_format(W: mxfp4[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel zero_point(W: u4[N, K] scale f16[N] zero u4[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel along_k(W: i8[N, K] scale f32[K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel grouped(W: i8[N, K] scale f32[N, K/32], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel blocks(W: i8[N, K] scale f32[N/16], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel activation(W: i8[N, K] scale f32[N], X: i8[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// digit-split: stopped weight-format: `e2m1` codes are no integers
// post-scale: stopped weight-format: `e2m1` codes are no integers
// kernel weight_format(W: e2m1[N, K] scale e8m0[N, K/32], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
// digit-split: stopped zero-point: the weight has a zero point `u4[N]`
// post-scale: stopped zero-point: the weight has a zero point `u4[N]`
// kernel zero_point(W: u4[N, K] scale f16[N] zero u4[N], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
// digit-split: stopped scale-placement: the scale `f32[K]` varies along the contracted dimension `K`
// post-scale: stopped scale-placement: the scale `f32[K]` varies along the contracted dimension `K`
// kernel along_k(W: i8[N, K] scale f32[K], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
// digit-split: stopped scale-placement: the scale `f32[N, K/32]` varies along the contracted dimension `K`
// post-scale: stopped scale-placement: the scale `f32[N, K/32]` varies along the contracted dimension `K`
// kernel grouped(W: i8[N, K] scale f32[N, K/32], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
// digit-split: stopped scale-placement: the scale `f32[N/16]` has groups of 16 output channels
// post-scale: stopped scale-placement: the scale `f32[N/16]` has groups of 16 output channels
// kernel blocks(W: i8[N, K] scale f32[N/16], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
// digit-split: stopped activation-type: the other operand is `i8[M, K]`, no float to split
// post-scale: stopped activation-type: the other operand is `i8[M, K]`, no float to split
// kernel activation(W: i8[N, K] scale f32[N], X: i8[M, K]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
