// test: asm
// target: aarch64
// sizes: M=4, N=48, K=64
// function: tile_
// has: fmla
// lacks: fmul
// lacks: fadd
kernel product(a: f32[M, K], b: f32[K, N]) -> f32[M, N] { a @ b }
