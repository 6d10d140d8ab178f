// expect: E0202 2:41
kernel f(a: f32[M, N]) -> f32[M, N] { a.sofmax() }
