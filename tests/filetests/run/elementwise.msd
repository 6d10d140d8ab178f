// test: run
// open: M
// sizes: M=3, N=17
// sizes: M=1, N=1
// sizes: M=5, N=0
// sizes: M=129, N=1000
kernel arithmetic(a: f32[M, N], b: bf16[M, N], c: f16[N], s: f32[]) -> (f32[M, N], bf16[M, N], f16[M, N]) {
    let x = a * b + c / s - 1;
    (min(x, abs(-a)), max(x, b), where(x > c, sqrt(a), b * b))
}
kernel transcendental(a: f32[M, N]) -> (f32[M, N], f32[M, N], f32[M, N], f32[M, N]) {
    (exp(a), log(a), tanh(a), gelu(a))
}
kernel integers(a: i8[M, N], b: u8[N], c: i32[M, 1], d: i4[M, N], e: u4[M, N]) -> (i32[M, N], i8[M, N], f32[M, N], bool[M, N]) {
    (a * b + c - d * e, max(a, b) - d, a / b, a <= b)
}
