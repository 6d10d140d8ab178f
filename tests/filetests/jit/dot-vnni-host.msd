// The same at the level of the command line, run on a machine that has it.
// test: asm
// test: run
// level: avx512vnni
// lowering: msd
// sizes: M=3, N=64, K=64
// function: tile_
// has: vpdpbusd
// lacks: pmaddwd
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
