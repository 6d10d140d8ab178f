// test: run
// open: M
// sizes: M=3, N=17
// sizes: M=2, N=1
// sizes: M=5, N=0
// sizes: M=70, N=1000
kernel reductions(a: f32[M, N], b: i8[M, N]) -> (f32[M, 1], f32[M, 1], f32[M, N], i32[M, 1], i32[M, 1]) {
    (sum(a * 2), amax(-a), softmax(a), sum(b), amax(b))
}
kernel norms(x: bf16[M, N], w: f32[N], b: f32[N]) -> (bf16[M, N], f16[M, N]) {
    (rms_norm(x, w, 0.00001), layer_norm(x, w, b, 0.00001))
}
kernel masked(s: f32[2, M, N]) -> f32[2, M, N] { softmax(causal(s) * 0.125) }
