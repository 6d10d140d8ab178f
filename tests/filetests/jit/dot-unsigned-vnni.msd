// Unsigned digits are the unsigned side of the product: signed weights stay as they are.
// test: asm
// target: x86_64 has_sse3 has_ssse3 has_sse41 has_sse42 has_avx has_avx2 has_fma has_avx512f has_avx512vl has_avx512dq has_avx512vnni
// sizes: N=64, K=64
// function: tile_
// has: vpdpbusd zmm
// lacks: pmaddwd
// lacks: pmullw
kernel product(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] {
    let (d, g) = msd.decompose(X, "uint8x2");
    msd.combine(msd.dot(d, msd.codes(W).T), "uint8x2")
}
