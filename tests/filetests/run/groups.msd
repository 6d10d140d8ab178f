// Scales of groups along K: products of each group times its scale, added up group by group.
// test: run
// open: M
// sizes: M=3, N=17, G=3
// sizes: M=1, N=4, G=8
// sizes: M=2, N=3, G=0
// sizes: M=5, N=33, G=1
kernel sixteen(W: i8[N, 16*G] scale f32[N, G], X: bf16[M, 16*G]) -> f32[M, N] {
    let (d, g) = msd.decompose(X, "int8x2-pow2");
    let rows = transpose(reshape(d, [2*M, G, 16]), [1, 0, 2]);
    let codes = transpose(reshape(msd.codes(W), [N, G, 16]), [1, 2, 0]);
    let s = reshape(msd.scale(W).T, [G, 1, N]);
    cast(msd.accumulate(msd.combine(msd.dot(rows, codes), "int8x2-pow2"), s, 1) * g, f32)
}
kernel seven(W: u4[N, 7*G] scale f16[N, G] zero u4[N, G], X: f32[2, M, 7*G]) -> f32[2, M, N] {
    let (d, g) = msd.decompose(X, "int4x3-radix");
    let rows = transpose(reshape(d, [2, 3*M, G, 7]), [0, 2, 1, 3]);
    let codes = transpose(reshape(msd.codes(W), [N, G, 7]), [1, 2, 0]);
    let (s, z) = (reshape(cast(msd.scale(W), f32).T, [G, 1, N]), reshape(msd.zero(W).T, [G, 1, N]));
    let p = msd.combine_zero(msd.dot(rows, codes), sum(cast(rows, i64)), z, "int4x3-radix");
    cast(msd.accumulate(p, s, 1) * g, f32)
}
kernel columns(W: u8[128*G, N] scale f32[G, N] zero f32[G, N], X: bf16[M, 128*G], u: f32[G, M, 1]) -> f32[M, N] {
    let (d, g) = msd.decompose(X, "int16-pow2");
    let rows = transpose(reshape(d, [M, G, 128]), [1, 0, 2]);
    let codes = reshape(msd.codes(W), [G, 128, N]);
    let (s, z) = (reshape(msd.scale(W), [G, 1, N]), reshape(msd.zero(W), [G, 1, N]));
    let p = msd.combine_zero(msd.dot(rows, codes), sum(cast(rows, i64)), z, "int16-pow2");
    cast(msd.accumulate(p, s, u) * g, f32)
}
// Groups too long for I32, of weights that are no parameter, with three digits.
kernel long(W: u8[N, 600*G], X: bf16[M, 600*G], s: f32[G, 1, N], z: i8[G, M, 1]) -> f32[M, N] {
    let (d, g) = msd.decompose(X, "int8x3-pow2");
    let rows = transpose(reshape(d, [3*M, G, 600]), [1, 0, 2]);
    let codes = transpose(reshape(max(W, 3), [N, G, 600]), [1, 2, 0]);
    let p = msd.combine_zero(msd.dot(rows, cast(codes, u8)), sum(cast(rows, i64)), z, "int8x3-pow2");
    cast(msd.accumulate(p, s, 0.5) * g, f32)
}
// Partial products that are read again come to memory.
kernel apart(W: i8[N, 3*G] scale f32[N, G], X: bf16[M, 3*G], u: f32[G, M, 1], t: f32[M, N]) -> (f32[M, N], f32[G, M, N], f32[M, N]) {
    let (d, g) = msd.decompose(X, "int8x2-pow2");
    let rows = transpose(reshape(d, [2*M, G, 3]), [1, 0, 2]);
    let codes = transpose(reshape(msd.codes(W), [N, G, 3]), [1, 2, 0]);
    let s = transpose(reshape(msd.scale(W), [N, G, 1]), [1, 2, 0]);
    let p = msd.combine(msd.dot(rows, codes), "int8x2-pow2");
    (msd.accumulate(p, s, u), p, msd.accumulate(broadcast(t, [G, M, N]), s, 2))
}
