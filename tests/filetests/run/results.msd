// What a kernel returns may be a parameter, a literal, a size, one value twice, or a melted loop.
// test: run
// open: M
// sizes: M=3, N=17
// sizes: M=0, N=4
kernel plain(a: f32[M, N], b: bf16[N], c: f32[]) -> (f32[M, N], bf16[N], f32[], f32[M, N], f32[], f32[]) { (a, b, 1.5, a, M, c + N) }
kernel twice(a: f32[M, N]) -> (f32[M, N], f32[M, N], bf16[M, N], f32[M, 1]) {
    let b = a * 2 + 1;
    (b, b, b, sum(b))
}
kernel views(a: f32[M, N]) -> (f32[1, N, M], f32[M, N], f32[2, M, N]) {
    (reshape(a.T, [1, N, M]), slice(concat(a, a, 0), 0, M, 2*M), reshape(concat(a.T, a.T, 1), [2, M, N]))
}
