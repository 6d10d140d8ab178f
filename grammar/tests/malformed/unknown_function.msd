// expect: E0202 2:39
kernel f(a: f32[M, N]) -> f32[M, N] { sofmax(a) }
