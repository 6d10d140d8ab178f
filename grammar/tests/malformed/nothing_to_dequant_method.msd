// expect: E0306 2:39
kernel f(a: f32[M, N]) -> f32[M, N] { a.dequant() }
