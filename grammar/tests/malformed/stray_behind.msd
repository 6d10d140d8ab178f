// expect: E0108 3:1
kernel f(a: f32[M, N]) -> f32[M, N] { a }
}
