// expect: E0203 2:47
kernel f(a: f32[M, N]) -> f32[M, N] { cast(a, b16) }
