// expect: E0103 2:39
kernel f(a: f32[N]) -> f32[N] { exp(a }
