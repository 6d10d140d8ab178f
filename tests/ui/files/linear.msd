// A linear layer: INT8 weight with one scale per output channel, BF16 activations, a bias.
// The scale is applied after the product, next to the digit scales; the bias is added last.
kernel linear(
    W: i8[N, K] scale f32[N],
    X: bf16[M, K],
    bias: f32[N],
) -> bf16[M, N] {
    X @ dequant(W).T + bias
}
