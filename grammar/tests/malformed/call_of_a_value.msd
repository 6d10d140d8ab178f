// expect: E0202 2:40
kernel f(a: f32[M, N]) -> f32[M, N] { (a + a)(a) }
