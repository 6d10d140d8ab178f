// expect: E0103 4:5
kernel f(a: f32[M, N]) -> f32[M, N] {
    let b = a
    let c = b;
    c
}
