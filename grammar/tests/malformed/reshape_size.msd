// expect: E0309 2:39
kernel f(a: f32[M, N]) -> f32[M, N] { reshape(a, [M, M]) }
