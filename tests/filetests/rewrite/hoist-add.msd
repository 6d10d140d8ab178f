// A product with a sum is a sum of products, so that a weight among the terms is multiplied as stored.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
// sizes: M=1, N=5, K=0
kernel with_plain(W: i8[N, K] scale f32[N], L: f32[N, K], X: bf16[M, K]) -> f32[M, N] { X @ (dequant(W) + L).T }
kernel both(A: i8[K, N] scale f32[N], B: i4[K, N] scale f32[1], X: bf16[M, K]) -> f32[M, N] {
    X @ (dequant(A) - dequant(B))
}
kernel columns(W: i8[N, K] scale f32[N], L: bf16[N, K], X: bf16[K, M]) -> f32[N, M] { (L - dequant(W)) @ X }
kernel nested(A: i8[N, K] scale f32[N], B: i8[K, N] scale f32[N], c: f32[N, K], X: bf16[M, K]) -> f32[M, N] {
    X @ (2 * (dequant(A) + dequant(B).T / 3) - c).T
}
kernel integers(W: i8[K, N] scale f32[N], c: i8[K, N], X: i8[M, K]) -> f32[M, N] { X @ (dequant(W) + c) }
kernel none(A: f32[K, N], B: f32[K, N], X: f32[M, K]) -> f32[M, N] { X @ (A + B) }

