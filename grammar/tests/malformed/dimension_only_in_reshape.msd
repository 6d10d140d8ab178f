// expect: E0207 2:51
kernel f(a: f32[M, N]) -> f32[M, N] { reshape(a, [K, N]) }
