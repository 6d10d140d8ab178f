// The gated first half of a transformer's feed-forward block: two weights, one input.
// X is split into digits once, and both products use them.
kernel gate_up(G: i8[F, K] scale f32[F], U: i8[F, K] scale f32[F], X: bf16[M, K]) -> bf16[M, F] {
    silu(X @ dequant(G).T) * (X @ dequant(U).T)
}
