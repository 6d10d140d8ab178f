// With AVX-VNNI too the first of a few tiles fetches its panels near, and each its part of the next block into the second cache.
// test: asm
// target: x86_64 has_sse3 has_ssse3 has_sse41 has_sse42 has_avx has_avx2 has_fma has_avx_vnni
// lowering: msd
// sizes: M=8, N=1024, K=64
// function: tile_direct
// has: prefetcht0
// has: prefetcht1
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
