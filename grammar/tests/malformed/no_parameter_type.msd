// expect: E0103 2:11
kernel f(a, b: f32[N]) -> f32[N] { b }
