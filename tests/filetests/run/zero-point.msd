// The zero point is taken off exact sums: integers of every width, and floats, in one fused step.
// test: run
// open: M
// sizes: M=3, N=17, K=65
// sizes: M=1, N=4, K=1000
// sizes: M=2, N=3, K=0
// sizes: M=5, N=1, K=128
kernel integers(W: u4[N, K] scale f32[N] zero u4[N], V: i8[N, K] scale f32[N] zero i32[N], X: bf16[M, K]) -> (f32[M, N], f32[M, N]) {
    let (d, g) = msd.decompose(X, "int8x2-pow2");
    let r = sum(cast(d, i64));
    (cast(msd.combine_zero(msd.dot(d, msd.codes(W).T), r, msd.zero(W), "int8x2-pow2") * g, f32),
     cast(msd.combine_zero(msd.dot(d, msd.codes(V).T), r, msd.zero(V), "int8x2-pow2") * g, f32))
}
kernel floats(W: u8[N, K] scale f32[N] zero f32[N], V: u8[K, N] scale f16[N] zero bf16[1], X: bf16[2, M, K]) -> (f32[2, M, N], f32[2, M, N]) {
    let (d, g) = msd.decompose(X, "int8x3-greedy");
    let r = sum(cast(d, i64));
    (cast(msd.combine_zero(msd.dot(d, msd.codes(W).T), r, msd.zero(W), "int8x3-greedy") * g, f32),
     cast(msd.combine_zero(msd.dot(d, msd.codes(V)), r, msd.zero(V), "int8x3-greedy") * g, f32))
}
// One digit: two tokens at a time. The zero point differs by token, the row sums come from elsewhere.
kernel tokens(W: i8[N, K] scale f32[N], X: f32[M, K], z: u8[M, 1], r: i8[M, 1]) -> (f32[M, N], f32[M, N]) {
    let (d, g) = msd.decompose(X, "int16-radix");
    let p = msd.dot(d, msd.codes(W).T);
    let s = cast(r, i64);
    (msd.combine_zero(p, s, z, "int16-radix"), msd.combine_zero(msd.dot(d, msd.codes(W).T) + cast(0, i64), sum(cast(d, i64)), z, "int16-radix"))
}
// Products that something else reads too are merged in memory.
kernel apart(W: u4[N, K] scale f32[N] zero u4[N], V: u8[N, K] scale f32[N] zero f16[N], X: bf16[M, K]) -> (f32[M, N], f32[M, N], f32[2*M, N]) {
    let (d, g) = msd.decompose(X, "int8x2-pow2");
    let (p, q) = (msd.dot(d, msd.codes(W).T), msd.dot(d, msd.codes(V).T));
    let r = sum(cast(d, i64));
    (msd.combine_zero(p, r, msd.zero(W), "int8x2-pow2"), msd.combine_zero(q, r, msd.zero(V), "int8x2-pow2"), cast(p + q, f32))
}
// Row sums that differ by channel.
kernel products(W: u4[N, K] scale f32[N] zero u4[N], X: bf16[M, K], z: f32[1, N]) -> (f32[M, N], f32[M, N]) {
    let (d, g) = msd.decompose(X, "int8x2-pow2");
    let (p, q) = (msd.dot(d, msd.codes(W).T), msd.dot(d, cast(slice(msd.codes(W), 1, 0, K).T, i8)));
    (msd.combine_zero(p, q, 1, "int8x2-pow2"), msd.combine_zero(p, q, z, "int8x2-pow2"))
}
