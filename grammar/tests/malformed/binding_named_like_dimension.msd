// expect: E0208 2:43
kernel f(a: f32[M, N]) -> f32[M, N] { let M = a; a }
