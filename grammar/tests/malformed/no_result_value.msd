// expect: E0103 2:44
kernel f(a: f32[N]) -> f32[N] { let b = a; }
