// Digits of every type, multiplied with codes of every type. Digits of 16 bits drain to I64 in between.
// test: run
// open: M
// sizes: M=3, N=17, K=65
// sizes: M=1, N=4, K=1000
// sizes: M=2, N=3, K=0
// sizes: M=5, N=9, K=16
kernel bytes(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> (f32[M, N], f32[M, N]) {
    let (u, g) = msd.decompose(X, "uint8x2");
    let (a, h) = msd.decompose(X, "int4x3-radix");
    (cast(msd.combine(msd.dot(u, msd.codes(W).T), "uint8x2") * g, f32),
     cast(msd.combine(msd.dot(a, msd.codes(W).T), "int4x3-radix") * h, f32))
}
kernel nibbles(W: u4[N, K] scale f32[N], V: u8[N, K] scale f32[N], X: f32[M, K]) -> (f32[M, N], f32[M, N], f32[M, N], f32[M, N]) {
    let (u, g) = msd.decompose(X, "uint8x2");
    let (a, h) = msd.decompose(X, "int4x4-radix");
    (cast(msd.combine(msd.dot(u, msd.codes(W).T), "uint8x2") * g, f32),
     cast(msd.combine(msd.dot(u, msd.codes(V).T), "uint8x2") * g, f32),
     cast(msd.combine(msd.dot(a, msd.codes(W).T), "int4x4-radix") * h, f32),
     cast(msd.combine(msd.dot(a, msd.codes(V).T), "int4x4-radix") * h, f32))
}
kernel words(W: i8[N, K] scale f32[N], V: u8[N, K] scale f32[N], X: f16[M, K]) -> (f32[M, N], f32[M, N]) {
    let (p, g) = msd.decompose(X, "int16-pow2");
    let (r, h) = msd.decompose(X, "int16-radix");
    (cast(msd.combine(msd.dot(p, msd.codes(W).T), "int16-pow2") * g, f32),
     cast(msd.combine(msd.dot(r, msd.codes(V).T), "int16-radix") * h, f32))
}
// Products of plain tensors, no weight among them.
kernel plain(a: u8[M, K], b: u4[K, N], c: i4[K, N], d: u8[K, N]) -> (f32[M, N], f32[M, N], f32[M, N]) {
    (cast(msd.dot(a, b), f32), cast(msd.dot(a, c), f32), cast(msd.dot(a, d), f32))
}
