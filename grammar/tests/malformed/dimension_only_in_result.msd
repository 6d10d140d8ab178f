// expect: E0207 2:28
kernel f(a: f32[N]) -> f32[M] { a }
