// expect: E0103 2:44
kernel f(a: f32[M, N]) -> f32[M, N] { a + a; }
