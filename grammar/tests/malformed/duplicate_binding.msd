// expect: E0204 2:43
kernel f(a: f32[M, N]) -> f32[M, N] { let a = a + a; a }
