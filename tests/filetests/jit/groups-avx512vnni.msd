// Groups are merged and added up in registers: no product of a group goes to memory as an integer.
// test: asm
// target: x86_64 has_sse3 has_ssse3 has_sse41 has_sse42 has_avx has_avx2 has_fma has_avx512f has_avx512vl has_avx512dq has_avx512vnni
// lowering: msd
// sizes: N=64, K=512
// function: _groups
// has: vpdpbusd zmm
// has: vpmulld zmm
// has: vcvtdq2ps zmm
// has: vfmadd213ps zmm
kernel grouped(W: u4[N, K] scale f16[N, K/128] zero u4[N, K/128], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
