// Groups on 64-bit Arm: a float zero point is one fused step in F64, a group another in F32.
// test: asm
// target: aarch64 has_dotprod
// lowering: msd
// sizes: N=64, K=512
// function: _groups
// has: fmls
// has: fmla
kernel grouped(W: i4[N, K] scale f32[N, K/128] zero f32[N, K/128], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }
