// Where the machine has no fused multiply-add, each lane calls it: slow, and the same bits.
// test: asm
// test: run
// level: portable
// sizes: M=4, N=5, K=7
// function: tile_
// lacks: mulps
// lacks: addps
kernel product(a: f32[M, K], b: f32[K, N]) -> f32[M, N] { a @ b }
