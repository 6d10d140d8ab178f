// FP4 weights are integers to the code: the tile of bytes multiplies their steps.
// test: asm
// target: x86_64 has_sse3 has_ssse3 has_sse41 has_sse42 has_avx has_avx2 has_fma has_avx512f has_avx512vl has_avx512dq has_avx512vnni
// lowering: msd
// sizes: N=64, K=64
// function: tile_
// has: vpdpbusd zmm
// lacks: pmaddwd
// lacks: vfmadd231ps
kernel mxfp4(W: mxfp4[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
kernel per_channel(W: e1m2[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
