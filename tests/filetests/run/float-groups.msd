// Products of groups that are added up as they are made: any number of digits, tokens alone and in
// twos, scales and units wherever they vary, and the same products of other uses.
// test: run
// open: M
// sizes: M=3, N=29, K=5, G=4, B=2
// sizes: M=1, N=24, K=32, G=2, B=1
// sizes: M=2, N=48, K=7, G=0, B=3
kernel none(X: f32[G, M, K], W: f32[G, K, N], S: f32[G, 1, N]) -> f32[M, N] { msd.accumulate(X @ W, S, 1) }
kernel units(X: bf16[B, G, M, K], W: f32[G, K, N], S: f32[G, 1, 1], U: f32[B, G, M, 1]) -> f32[B, M, N] {
    msd.accumulate(X @ W, S, U)
}
kernel three(X: f32[G, M, K], W: f32[G, K, N], S: f32[G, 1, N]) -> f32[M, N] {
    msd.accumulate(msd.combine(concat(concat(X, X * X, 1), 1 - X, 1) @ W, "int8x3-pow2"), S, 1)
}
kernel four(X: f32[G, M, K], W: f32[B, G, K, N], S: f32[B, G, M, N]) -> f32[B, M, N] {
    let two = concat(X, X * X, 1);
    msd.accumulate(msd.combine(concat(two, 1 - two, 1) @ W, "int4x4-radix"), S, 1)
}
kernel reused(X: f32[G, M, K], W: f32[G, K, N], S: f32[G, 1, N]) -> (f32[M, N], f32[G, M, N]) {
    let p = X @ W;
    (msd.accumulate(p, S, 1), p)
}
kernel merged(X: f32[G, M, K], W: f32[G, K, N], S: f32[G, 1, N]) -> (f32[M, N], f32[G, M, N]) {
    let p = msd.combine(concat(X, X, 1) @ W, "fp8x2");
    (msd.accumulate(p, S, 1), p)
}
kernel scales(P: f32[G, M, N], X: f32[G, M, K], W: f32[G, K, N]) -> f32[M, N] { msd.accumulate(P, X @ W, 1) }
