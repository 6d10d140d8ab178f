// FP8 weights: with a scale for each output channel, and for each block of 128x128.
kernel fp8(W: e4m3[N, K] scale f32[N], X: bf16[M, K]) -> bf16[M, N] { X @ dequant(W).T }

kernel fp8_blocks(W: e4m3[N, K] scale f32[N/128, K/128], X: bf16[M, K]) -> bf16[M, N] { X @ dequant(W).T }
