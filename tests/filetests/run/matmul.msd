// test: run
// open: B, M
// sizes: B=2, M=3, N=17, K=64
// sizes: B=1, M=1, N=1, K=1
// sizes: B=3, M=5, N=25, K=0
// sizes: B=2, M=0, N=5, K=7
// sizes: B=2, M=33, N=127, K=65
kernel floats(a: f32[M, K], b: bf16[K, N], c: f16[B, N, K], d: i8[K, N]) -> (f32[M, N], f32[B, M, N], f32[M, N]) {
    (a @ b, a @ c.T, a @ d)
}
kernel integers(a: i8[M, K], b: u8[K, N], c: i32[N, K]) -> (i32[M, N], i32[M, N]) { (a @ b, a @ c.T) }
kernel chained(a: f32[M, K], b: f32[K, N]) -> f32[K, N] { a.T @ (a @ b) }
