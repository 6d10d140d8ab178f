// The least x86-64 the project supports.
// test: asm
// target: x86_64 has_sse3 has_ssse3 has_sse41
// lowering: msd
// sizes: N=64, K=64
// function: tile_
// has: pmaddwd
// lacks: vpmaddwd
// lacks: pmulld
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
