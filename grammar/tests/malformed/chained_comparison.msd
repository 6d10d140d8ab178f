// expect: E0103 2:51
kernel f(a: f32[M, N]) -> f32[M, N] { where(a < a < a, a, a) }
