// linear.msd: INT8 weight, one scale per output channel, BF16 activations
kernel linear(
    W: i8[N, K] scale f32[N],
    X: bf16[M, K],
    bias: f32[N],
) -> bf16[M, N] {
    X @ dequant(W).T + bias
}

kernel linear_columns(W: i8[N, K] scale f32[N], X: bf16[K, M]) -> f32[N, M] { dequant(W) @ X }

#[tolerance(1e-4)]
kernel grouped(W: u4[N, K] scale f16[N, K/128] zero u4[N, K/128], X: bf16[M, K]) -> bf16[M, N] { X @ dequant(W).T }

kernel mx(W: mxfp4[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }      // = e2m1[N, K] scale e8m0[N, K/32]

kernel gate_up(G: i8[F, K] scale f32[F], U: i8[F, K] scale f32[F], X: bf16[M, K]) -> bf16[M, F] {
    silu(X @ dequant(G).T) * (X @ dequant(U).T)      // X is split into digits once
}

kernel decode_attention(
    Q: bf16[H, G, D],
    K: i8[H, T, D] scale f32[H, T],
    V: i8[H, T, D] scale f32[H, D],
) -> bf16[H, G, D] {
    let S = Q @ dequant(K).T * rsqrt(D);
    softmax(S) @ dequant(V)
}
