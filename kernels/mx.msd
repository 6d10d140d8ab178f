// OCP MXFP4 weight: 4-bit floats with a power-of-two scale for each 32 values along K.
// `mxfp4[N, K]` is short for `e2m1[N, K] scale e8m0[N, K/32]`.
kernel mx(W: mxfp4[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
