// Each guard of its own: the format, and activations that are no floats. Those of scales and zero points
// are in the files of the rules for them.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=32, K=64
kernel weight_format(W: mxfp4[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel activation(W: i8[N, K] scale f32[N], X: i8[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// digit-split: stopped weight-format: `e2m1` codes are no integers
// post-scale: stopped weight-format: `e2m1` codes are no integers
// kernel weight_format(W: e2m1[N, K] scale e8m0[N, K/32], X: bf16[M, K]) -> f32[M, N] {
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
