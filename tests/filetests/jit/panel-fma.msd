// Where tiles are Cranelift's, float products accumulate with fused multiply-add, never with a product and a sum.
// test: asm
// target: x86_64-pc-windows-msvc has_sse3 has_ssse3 has_sse41 has_sse42 has_avx has_avx2 has_fma
// sizes: M=4, N=48, K=64
// function: tile_
// has: vfmadd213ps
// lacks: mulps
// lacks: addps
kernel product(a: f32[M, K], b: f32[K, N]) -> f32[M, N] { a @ b }
