// expect: E0304 2:39
kernel f(a: f32[M, N]) -> f32[M, N] { where(a, a, a) }
