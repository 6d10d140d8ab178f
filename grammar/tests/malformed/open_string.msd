// expect: E0102 3:35
kernel f(a: f32[M, N]) -> f32[M, N] {
    let (d, s) = msd.decompose(a, "int8x2-pow2);
    a
}
