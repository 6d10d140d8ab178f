// AVX-VNNI multiplies bytes in 256 bits, and fetches panels ahead.
// test: asm
// target: x86_64 has_sse3 has_ssse3 has_sse41 has_sse42 has_avx has_avx2 has_fma has_avx_vnni
// lowering: msd
// sizes: N=64, K=64
// function: tile_
// has: vpdpbusd ymm
// has: prefetcht
// lacks: vpmaddwd
// lacks: zmm
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
