// Weights of 8 bits become floats on their way into a fused multiply-add: dequantization in registers. The channels
// are no whole panels, so that scales wait for another loop.
// test: asm
// target: x86_64 has_sse3 has_ssse3 has_sse41 has_sse42 has_avx has_avx2 has_fma has_avx512f has_avx512vl has_avx512dq has_avx512vnni
// lowering: dequant
// sizes: M=4, N=40, K=64
// function: tile_
// has: vpmovsxbd zmm
// has: vcvtdq2ps zmm
// has: vfmadd231ps zmm
// lacks: vmulps
// lacks: vaddps
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
