// Asymmetric 4-bit weight, one scale and one zero point for each 128 values along K.
// The tolerance bounds |y - y*| by 1e-4 * max|x| * sum|w|; where nothing is certified to it, the kernel is refused.
#[tolerance(1e-4)]
kernel grouped(
    W: u4[N, K] scale f16[N, K/128] zero u4[N, K/128],
    X: bf16[M, K],
) -> bf16[M, N] {
    X @ dequant(W).T
}
