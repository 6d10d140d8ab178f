// 64-bit Arm without the dot product still widens and multiplies in pairs.
// test: asm
// target: aarch64
// lowering: msd
// sizes: N=64, K=64
// function: tile_
// has: smull
// has: addp
// lacks: sdot
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
