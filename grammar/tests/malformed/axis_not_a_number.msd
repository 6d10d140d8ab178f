// expect: E0311 2:52
kernel f(a: f32[M, N]) -> f32[M, N] { concat(a, a, a) }
