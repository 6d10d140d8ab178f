// expect: E0106 2:43
kernel f(a: f32[M, N]) -> f32[M, N] { a * 1e-60 }
