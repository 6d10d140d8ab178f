// A decoder layer but for its attention, in one kernel: the queries, keys and values of the tokens,
// turned by their positions, and the layer's output from what attention made of earlier ones.
// H heads of 2*E channels; the feed-forward weights are asymmetric 4-bit in groups of 64.
kernel decoder_layer(
    x: bf16[M, D],
    attention: bf16[M, H, 2*E],
    cos: f32[M, 1, E],
    sin: f32[M, 1, E],
    norm: f32[D],
    ffn_norm: f32[D],
    qkv: i8[6*H*E, D] scale f32[6*H*E],
    out: i8[D, 2*H*E] scale f32[D],
    gate: u4[F, D] scale f16[F, D/64] zero u4[F, D/64],
    up: u4[F, D] scale f16[F, D/64] zero u4[F, D/64],
    down: u4[D, F] scale f16[D, F/64] zero u4[D, F/64],
) -> (bf16[M, H, 2*E], bf16[M, H, 2*E], bf16[M, H, 2*E], bf16[M, D]) {
    let h = rms_norm(x, norm, 1e-5);
    let heads = reshape(h @ dequant(qkv).T, [M, 3*H, 2*E]);
    let q = rope(slice(heads, 1, 0, H), cos, sin);
    let k = rope(slice(heads, 1, H, 2 * H), cos, sin);
    let v = slice(heads, 1, 2 * H, 3 * H);
    let r = x + reshape(attention, [M, 2*H*E]) @ dequant(out).T;
    let g = rms_norm(r, ffn_norm, 1e-5);
    (q, k, v, r + (silu(g @ dequant(gate).T) * (g @ dequant(up).T)) @ dequant(down).T)
}
