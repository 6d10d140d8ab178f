// expect: E0208 3:30
kernel f(K: i8[N, K] scale f32[N], X: f32[M, K]) -> f32[M, N] {
    X @ dequant(K).T * rsqrt(K)
}
