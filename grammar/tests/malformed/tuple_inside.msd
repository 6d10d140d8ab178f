// expect: E0209 2:43
kernel f(a: f32[M, N]) -> f32[M, N] { exp((a, a)) }
