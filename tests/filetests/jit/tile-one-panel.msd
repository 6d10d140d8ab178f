// Many tokens of few channels: one panel, each row read by the instruction that multiplies it.
// test: asm
// target: x86_64 has_sse3 has_ssse3 has_sse41 has_sse42 has_avx has_avx2 has_fma has_avx512f has_avx512vl has_avx512dq has_avx512vnni
// lowering: msd
// sizes: M=64, N=64, K=64
// function: tile_shared_7x2_1x16
// has: vpdpbusd zmm1,zmm14,dword bcst [r11+4h]
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
