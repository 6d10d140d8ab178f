// expect: E0307 2:39
kernel f(a: f32[M, N]) -> f32[M, N] { concat(a, a, 2) }
