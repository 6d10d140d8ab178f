// expect: E0102 7:17
// expect: E0103 8:17
// expect: E0201 9:13
// expect: E0202 10:13
// expect: E0302 11:13
kernel f(a: f32[M, N]) -> f32[M, N] {
    let b = a + ?;
    let c = a * * b;
    let d = unknown + c;
    let e = expp(d);
    let g = a @ a;
    b + c + d + e + g
}
