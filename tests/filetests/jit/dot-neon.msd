// Signed bytes times signed bytes on 64-bit Arm, weights as they are.
// test: asm
// target: aarch64 has_dotprod
// lowering: msd
// sizes: N=64, K=64
// function: tile_
// has: sdot
// lacks: smull
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
