// The plan may choose against it.
// test: rewrite
// lowering: dequant
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=1, N=5, K=0
kernel per_channel(W: u8[N, K] scale f32[N] zero u8[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }

// expected:
// fold-zero: stopped plan: `dequant` asked for
// post-scale: stopped zero-point: the weight has a zero point `u8[N]`
// kernel per_channel(W: u8[N, K] scale f32[N] zero u8[N], X: bf16[M, K]) -> f32[M, N] {
//     let v2 = dequant(W);
//     let v3 = v2.T;
//     X @ v3
// }
