// Activations that are no floats. Guards of scales and zero points
// are in the files of the rules for them.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=32, K=64
kernel activation(W: i8[N, K] scale f32[N], X: i8[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// digit-split: stopped activation-type: the other operand is `i8[M, K]`, no float to split
// post-scale: stopped activation-type: the other operand is `i8[M, K]`, no float to split
// kernel activation(W: i8[N, K] scale f32[N], X: i8[M, K]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
