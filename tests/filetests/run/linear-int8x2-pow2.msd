// test: run
// lowering: msd
// scheme: int8x2-pow2
// open: M
// sizes: M=3, N=17, K=65
// sizes: M=1, N=4, K=1000
// sizes: M=33, N=31, K=16
// sizes: M=2, N=3, K=0
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K], bias: f32[N]) -> bf16[M, N] { X @ dequant(W).T + bias }
kernel half(W: i8[N, K] scale f16[1], X: f16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel batched(W: i4[N, K] scale bf16[N], X: f32[3, M, K], r: f32[3, M, N]) -> f32[3, M, N] { silu(X @ dequant(W).T) + r }
