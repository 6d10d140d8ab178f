// The ops on small floats by hand: steps of what is no weight, wide sums of any digits and scales,
// products of digits that are floats.
// test: run
// open: M
// sizes: M=3, N=17, G=3, K=48
// sizes: M=1, N=4, G=8, K=1000
// sizes: M=2, N=3, G=0, K=0
// sizes: M=5, N=33, G=1, K=7
kernel counted(a: e2m1[M, K], b: e1m2[M, K], x: f32[M, K]) -> (i32[M, K], i32[M, K], f32[M, 1], i32[M, K]) {
    (msd.steps(a), msd.steps(b) * msd.steps(a), sum(cast(msd.steps(b), f32) * 0.25), msd.steps(cast(x, e2m1)))
}
// FP4 by FP4, both as integers, and the same as floats.
kernel both(a: e2m1[M, K], b: e1m2[N, K]) -> (f32[M, N], f32[M, N]) {
    (cast(msd.dot(msd.steps(a), msd.steps(b).T), f32) * 0.125, a @ b.T)
}
// Steps in the place of digits, and of codes that were taken apart by hand.
kernel nibbles(W: e2m1[N, K] scale f32[N], V: e1m2[K, N] scale f16[N], X: bf16[M, K]) -> (f32[M, N], f32[M, N], f32[M, N]) {
    let (d, g) = msd.decompose(X, "int8x3-pow2");
    let (e, h) = msd.decompose(X, "uint8x2");
    let (a, i) = msd.decompose(X, "int16-radix");
    (cast(msd.combine(msd.dot(d, msd.steps(msd.codes(W).T)), "int8x3-pow2") * g, f32),
     cast(msd.combine(msd.dot(e, msd.steps(msd.codes(V))), "uint8x2") * h, f32),
     cast(msd.combine(msd.dot(a, msd.steps(msd.codes(W)).T), "int16-radix") * i, f32))
}
kernel wide(W: i8[N, 32*G] scale e8m0[N, G], X: f32[M, 32*G]) -> (f32[M, N], f32[M, N]) {
    let (d, g) = msd.decompose(X, "int8x2-greedy");
    let rows = transpose(reshape(d, [2*M, G, 32]), [1, 0, 2]);
    let codes = transpose(reshape(msd.codes(W), [N, G, 32]), [1, 2, 0]);
    let s = reshape(cast(msd.scale(W), f32).T, [G, 1, N]);
    let p = msd.dot(rows, codes);
    (cast(msd.accumulate_wide(p, s, 1, "int8x2-greedy") * g, f32),
     cast(msd.accumulate_wide(p, s, 0.3, "int8x2-greedy") * g * 0.5, f32))
}
// Blocks of activations, with units of theirs; scales that are no powers of two, of another type.
kernel blocks(W: e2m1[N, 32*G] scale f16[N, G], X: bf16[2, M, 32*G], t: f16[G, 1, N]) -> (f32[2, M, N], f32[2, M, N]) {
    let (d, u, g) = msd.decompose_blocks(X, "mxfp4x2-e2m1", 32);
    let codes = transpose(reshape(msd.codes(W), [N, G, 32]), [1, 2, 0]);
    let p = msd.dot(d, msd.steps(codes));
    (cast(msd.accumulate_wide(p, t, u, "mxfp4x2-e2m1") * g, f32),
     msd.accumulate(msd.combine(p, "mxfp4x2-e2m1"), cast(t, f32), u))
}
// Scales and units of any float type.
kernel scales(p: i8[G, 2*M, N], s: e8m0[G, 1, N], t: e4m3[G, M, N], b: bf16[G, 1, 1], X: f32[M, N]) -> (f32[M, N], f32[M, N], f32[M, N]) {
    let (d, g) = msd.decompose(X, "int8x1");
    let q = cast(p, i64);
    (cast(msd.accumulate_wide(q, s, b, "int8x2-pow2"), f32),
     cast(msd.accumulate_wide(q, t, g, "int8x2-pow2"), f32),
     cast(msd.accumulate_wide(q, 0.1, -3, "mxfp4x2-v1") * g, f32))
}
// Digits that are floats: multiplied by codes and by plain tensors.
kernel floats(W: e4m3[N, K] scale f32[N], V: e5m2[K, N] scale f32[N], y: bf16[K, N], X: bf16[M, K]) -> (f32[M, N], f32[M, N], f32[M, N]) {
    let (d, g) = msd.decompose(X, "fp8x2");
    (cast(msd.combine(d @ msd.codes(W).T, "fp8x2") * g, f32),
     cast(msd.combine(d @ msd.codes(V), "fp8x2") * g, f32),
     msd.combine(d @ y, "fp8x2"))
}
kernel merged(x: f32[M, 1], p: f32[3*M, N], q: f32[2, 4*M, N]) -> (f32[M, N], f32[2, M, N], f32[3*M, N]) {
    (msd.combine(p, "int8x3-greedy") + x, msd.combine(q, "int4x4-radix"), msd.combine(p, "mxfp8x1"))
}
