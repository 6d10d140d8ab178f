// Few rows are left to vectors, which read them in units of sixty-four bytes.
// test: asm
// level: amx
// lowering: msd
// sizes: M=4, N=1024, K=64
// function: tile_alone_4x2_3x16
// has: vpdpbusd
// lacks: tdpbsud
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
