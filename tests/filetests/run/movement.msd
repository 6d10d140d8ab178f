// test: run
// open: M
// sizes: M=3, N=17
// sizes: M=1, N=1
// sizes: M=8, N=64
// sizes: M=300, N=257
kernel moved(a: f32[M, N], b: bf16[M, 2*N], c: i8[N, M], f: e4m3[M, N]) -> (f32[N, M], f32[M, 3*N], bf16[M, N], f32[M*N], i8[M, N], e4m3[N, M]) {
    (a.T, concat(a, b, 1), slice(b, 1, N, 2*N), reshape(a, [M*N]), c.T, f.T)
}
kernel rotated(x: f32[M, 2*N], cos: f32[N], sin: f32[M, N]) -> f32[M, 2*N] { rope(x, cos, sin) }
