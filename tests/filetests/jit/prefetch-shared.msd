// Tiles that share panels fetch the next block into the second cache, and leave what is near to the first of them.
// test: asm
// target: x86_64 has_sse3 has_ssse3 has_sse41 has_sse42 has_avx has_avx2 has_fma has_avx512f has_avx512vl has_avx512dq has_avx512vnni
// lowering: msd
// sizes: M=64, N=1024, K=64
// function: tile_shared
// has: prefetcht1
// lacks: prefetcht0
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
