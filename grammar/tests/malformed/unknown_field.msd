// expect: E0201 2:41
kernel f(a: f32[M, N]) -> f32[M, N] { a.t }
