// Many tokens on a machine with matrix registers: sixteen rows by four panels, and no vector multiplies.
// test: asm
// level: amx
// lowering: msd
// sizes: M=64, N=1024, K=64
// function: tile_shared_8x2_4x16
// has: tdpbsud tmm0,tmm4,tmm5
// has: tdpbsud tmm3,tmm4,tmm5
// lacks: vpdpbusd
kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
