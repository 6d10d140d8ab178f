// One decoding step over an INT8 KV cache: H heads, G query rows each, T cached tokens.
// K has a scale per token and V one per channel, so neither stands in the way of its product.
kernel decode_attention(
    Q: bf16[H, G, D],
    K: i8[H, T, D] scale f32[H, T],
    V: i8[H, T, D] scale f32[H, D],
) -> bf16[H, G, D] {
    let S = Q @ dequant(K).T * rsqrt(D);
    softmax(S) @ dequant(V)
}
