// Contractions longer than an I32 lane is sure to hold are cut into blocks, and the blocks add up in I64.
// test: run
// lowering: msd
// sizes: M=1, N=5, K=32768
// sizes: M=3, N=4, K=32769
// sizes: M=1, N=1, K=140003
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel native(A: u8[M, K] scale f32[M], B: u8[N, K] scale f32[N]) -> f32[M, N] { dequant(A) @ dequant(B).T }
