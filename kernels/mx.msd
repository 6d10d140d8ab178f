// OCP MX weights: small floats with a power-of-two scale for each 32 values along K.
// `mxfp4[N, K]` is short for `e2m1[N, K] scale e8m0[N, K/32]`, `mxfp8` for the same with `e4m3`.
kernel mxfp4(W: mxfp4[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }

kernel mxfp8(W: mxfp8[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
