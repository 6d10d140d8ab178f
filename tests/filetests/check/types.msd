// test: check
// What the type rules make of every kind of op.
kernel arithmetic(a: i8[M, N], b: bf16[N]) -> (i32[M, N], f32[M, N], bool[M, N], f32[M, N]) { (a * a, a + b, a < b, a / a) }
kernel rows(x: f16[M, N]) -> (f32[M, 1], f32[M, N]) { (sum(x), softmax(x)) }
kernel weight(W: mxfp4[N, K], X: bf16[B, M, K]) -> f32[B, M, N] { X @ dequant(W).T }
kernel factor(W: nvfp4[N, K], s: f32[1], X: bf16[M, K]) -> f32[M, N] { X @ (dequant(W) * s).T }
kernel cache(K: i8[H, T, D] scale f32[H, T]) -> f32[H, D, T] { dequant(K).T }
kernel methods(w: i8[N, K] scale f32[N], x: bf16[M, K]) -> (f32[M, N], bf16[K, M]) { (x.matmul(w.dequant().t()).softmax(), x.t().cast(bf16)) }
kernel stretched(x: f16[M, 1], n: f32[B, N]) -> f16[B, M, N] { broadcast(x, [B, M, N]) }
kernel digits(x: bf16[B, M, K], w: u4[K, N], z: u4[N]) -> (f32[B, M, N], i32[B, M, K]) {
    let (d, g) = msd.decompose(x, "int16-pow2");
    (msd.combine_zero(msd.dot(d, w), sum(cast(d, i64)), z, "int16-pow2"), d)
}
kernel blocks(x: f32[M, K], w: i8[K/32, 32, N], s: f32[K/32, 1, N]) -> (f32[M, N], i32[K/32, 4*M, 32]) {
    let (d, r, g) = msd.decompose_blocks(x, "int4x4-radix", 32);
    (msd.accumulate(msd.combine(msd.dot(d, w), "int4x4-radix"), s, r) * g, d)
}
kernel wide(p: i8[G, 2*M, N], s: e8m0[G, 1, N], u: f16[G, M, 1]) -> f32[M, N] {
    cast(msd.accumulate_wide(cast(p, i64), s, u, "mxfp4x2") * 0.5, f32)
}
kernel floats(x: bf16[B, M, K], w: e4m3[K, N]) -> (f32[B, M, N], f32[B, 2*M, K]) {
    let (d, g) = msd.decompose(x, "fp8x2");
    (cast(msd.combine(d @ w, "fp8x2") * g, f32), d)
}
kernel steps(a: e2m1[M, K], b: e1m2[K, N], w: mxfp4[K, N]) -> (f32[M, N], i32[M, K], f32[N, K]) {
    (cast(msd.dot(msd.steps(a), msd.steps(msd.codes(w))), f32), msd.steps(a), msd.steps(b.T) * 0.5)
}

// expected:
// arithmetic: (i8[M, N], bf16[N]) -> (i32[M, N], f32[M, N], bool[M, N], f32[M, N])
// rows: (f16[M, N]) -> (f32[M, 1], f32[M, N])
// weight: (e2m1[N, K] scale e8m0[N, K/32], bf16[B, M, K]) -> (f32[B, M, N])
// factor: (e2m1[N, K] scale e4m3[N, K/16], f32[1], bf16[M, K]) -> (f32[M, N])
// cache: (i8[H, T, D] scale f32[H, T]) -> (f32[H, D, T])
// methods: (i8[N, K] scale f32[N], bf16[M, K]) -> (f32[M, N], bf16[K, M])
// stretched: (f16[M, 1], f32[B, N]) -> (f16[B, M, N])
// digits: (bf16[B, M, K], u4[K, N], u4[N]) -> (f32[B, M, N], i32[B, M, K])
// blocks: (f32[M, K], i8[K/32, 32, N], f32[K/32, 1, N]) -> (f32[M, N], i32[K/32, 4*M, 32])
// wide: (i8[G, 2*M, N], e8m0[G, 1, N], f16[G, M, 1]) -> (f32[M, N])
// floats: (bf16[B, M, K], e4m3[K, N]) -> (f32[B, M, N], f32[B, 2*M, K])
// steps: (e2m1[M, K], e1m2[K, N], e2m1[K, N] scale e8m0[K, N/32]) -> (f32[M, N], i32[M, K], f32[N, K])
