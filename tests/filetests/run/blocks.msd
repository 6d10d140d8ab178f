// Blocks of a row by their own largest magnitude, and their products.
// test: run
// open: M
// sizes: M=3, N=17, G=3
// sizes: M=1, N=4, G=8
// sizes: M=2, N=3, G=0
kernel split(X: bf16[M, 16*G], Y: f32[2, M, 7*G], n: f32[G]) -> (i8[G, 2*M, 16], f32[G, M, 1], f32[M, 1], i8[2, G, 3*M, 7], f32[2, G, M, 1], f32[2, M, 1]) {
    let (d, r, g) = msd.decompose_blocks(X, "int8x2-pow2", 16);
    let (e, s, h) = msd.decompose_blocks(Y, "int8x3-greedy", 7);
    (d, r, cast(g, f32), e, s, cast(h, f32))
}
kernel grouped(W: u4[N, 32*G] scale f16[N, G] zero u4[N, G], X: f32[M, 32*G]) -> (f32[M, N], f32[M, N]) {
    let codes = transpose(reshape(msd.codes(W), [N, G, 32]), [1, 2, 0]);
    let (s, z) = (reshape(cast(msd.scale(W), f32).T, [G, 1, N]), reshape(msd.zero(W).T, [G, 1, N]));
    let (d, r, g) = msd.decompose_blocks(X, "uint8x2", 32);
    let (e, t, h) = msd.decompose_blocks(X, "int16-radix", 32);
    let p = msd.combine_zero(msd.dot(d, codes), sum(cast(d, i64)), z, "uint8x2");
    let q = msd.combine_zero(msd.dot(e, codes), sum(cast(e, i64)), z, "int16-radix");
    (cast(msd.accumulate(p, s, r) * g, f32), cast(msd.accumulate(q, s, t) * h, f32))
}
