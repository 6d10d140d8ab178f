// NVIDIA's NVFP4 weight: 4-bit floats with an FP8 scale for each 16 values along K, and one factor
// for the whole tensor, which is a parameter of its own.
// `nvfp4[N, K]` is short for `e2m1[N, K] scale e4m3[N, K/16]`.
kernel nvfp4(W: nvfp4[N, K], s: f32[1], X: bf16[M, K]) -> f32[M, N] { X @ (dequant(W) * s).T }
