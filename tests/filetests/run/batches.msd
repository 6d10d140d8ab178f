// Batch dimensions broadcast on either side.
// test: run
// lowering: msd
// open: B, M
// sizes: B=2, M=3, N=5, K=17
// sizes: B=1, M=1, N=1, K=1
// sizes: B=0, M=3, N=5, K=17
kernel floats(a: f32[B, 1, M, K], b: bf16[3, K, N]) -> f32[B, 3, M, N] { a @ b }
kernel digits(W: i8[3, N, K] scale f32[3, N], X: bf16[B, 1, M, K]) -> f32[B, 3, M, N] { X @ dequant(W).T }
kernel one_weight(W: i8[N, K] scale f32[N], X: bf16[B, 2, M, K]) -> bf16[B, 2, M, N] { X @ dequant(W).T }
kernel one_input(W: i8[B, N, K] scale f32[1], X: bf16[M, K]) -> f32[B, M, N] { X @ dequant(W).T }
kernel left(W: i8[B, N, K] scale f32[B, N], X: f16[K, M]) -> f32[B, N, M] { dequant(W) @ X }
