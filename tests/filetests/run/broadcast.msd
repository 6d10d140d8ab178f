// test: run
// open: M
// sizes: M=3, N=17
// sizes: M=1, N=1
// sizes: M=8, N=64
// sizes: M=2, N=0
kernel stretched(a: f32[M, 1], b: bf16[N], c: i8[1, N]) -> (f32[M, N], f32[3, M, N], i8[M, N], f32[M, 3*N], f32[M, 1], f32[N, M]) {
    let wide = broadcast(a, [3, M, N]);
    (broadcast(a, [M, N]), wide * b, broadcast(c, [M, N]), reshape(transpose(wide, [1, 0, 2]), [M, 3*N]), sum(broadcast(b, [M, N])), broadcast(a, [M, N]).T)
}
kernel multiplied(m: f32[M], a: f32[1, N], b: f32[N, N], c: i8[N, 1]) -> (f32[M, N], f32[M, N]) {
    (broadcast(a, [M, N]) @ b, broadcast(a, [M, N]) @ broadcast(c, [N, N]))
}
