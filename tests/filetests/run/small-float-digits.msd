// Digits that are floats, by themselves, of rows and of blocks; and steps of a weight that are read
// by more than a product.
// test: run
// open: M
// sizes: M=3, N=5, K=96
// sizes: M=1, N=4, K=32
// sizes: M=2, N=3, K=0
kernel rows(X: f32[M, K], Y: bf16[M, K]) -> (f32[2*M, K], f32[M, K], i8[2*M, K], i8[2*M, K], f32[M, 1]) {
    let (a, g) = msd.decompose(X, "fp8x2");
    let (b, h) = msd.decompose(Y, "mxfp8x1");
    let (c, i) = msd.decompose(X, "mxfp4x2-e2m1");
    let (d, j) = msd.decompose(Y, "mxfp4x2-v1");
    (a, b, c, d, cast(g * 1e20 + h + i * j, f32))
}
kernel blocks(X: f16[M, K], Y: f32[M, K]) -> (i8[K/32, 2*M, 32], f32[K/32, M, 1], f32[M, 1], f32[K/8, M, 8], f32[K/8, M, 1]) {
    let (a, u, g) = msd.decompose_blocks(X, "mxfp4x2", 32);
    let (b, v, h) = msd.decompose_blocks(Y, "fp8x1", 8);
    (a, u, cast(g + h, f32), b, v)
}
kernel reused(W: e2m1[N, K] scale f32[N], V: e1m2[N, K] scale f32[N], X: bf16[M, K]) -> (f32[M, N], i8[N, K], f32[N, 1], i32[K, N], f32[N, N]) {
    let (d, g) = msd.decompose(X, "int8x2-pow2");
    let steps = msd.steps(msd.codes(W));
    (cast(msd.combine(msd.dot(d, steps.T), "int8x2-pow2") * g, f32),
     steps,
     sum(cast(steps, f32)),
     steps.T * 2,
     cast(msd.dot(steps, msd.steps(msd.codes(V)).T), f32))
}
