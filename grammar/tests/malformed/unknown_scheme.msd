// expect: E0503 2:10
#[scheme(int8x2-pow)]
kernel f(a: f32[M, N]) -> f32[M, N] { a }
