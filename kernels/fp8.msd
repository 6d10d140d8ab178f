// FP8 weights: with a scale for each output channel, for each block of 128x128, and OCP MXFP8, short
// for `e4m3[N, K] scale e8m0[N, K/32]`.
kernel fp8(W: e4m3[N, K] scale f32[N], X: bf16[M, K]) -> bf16[M, N] { X @ dequant(W).T }

kernel fp8_blocks(W: e4m3[N, K] scale f32[N/128, K/128], X: bf16[M, K]) -> bf16[M, N] { X @ dequant(W).T }

kernel mxfp8(W: mxfp8[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
