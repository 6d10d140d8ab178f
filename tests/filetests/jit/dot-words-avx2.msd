// Digits of 16 bits are multiplied as they lie in memory: four of them in one load, no widening of theirs.
// test: asm
// target: x86_64 has_sse3 has_ssse3 has_sse41 has_sse42 has_avx has_avx2 has_fma
// lowering: msd
// scheme: int16-pow2
// sizes: N=64, K=64
// function: tile_
// has: vpmaddwd ymm
// has: vpbroadcastq ymm
// lacks: vpmovsxwd
// lacks: vpmulld
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
