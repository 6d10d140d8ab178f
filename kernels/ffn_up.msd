// The first feed-forward layer of all-MiniLM-L6-v2, on the tensors in tests/data/minilm.
// Parameters are named like the tensors of the file; F32 results show the scheme's own error.
kernel ffn_up(
    weight: i8[N, K] scale f32[N],
    bias: f32[N],
    x: bf16[M, K],
) -> f32[M, N] {
    x @ dequant(weight).T + bias
}
