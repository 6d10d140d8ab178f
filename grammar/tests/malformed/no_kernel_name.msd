// expect: E0103 2:8
kernel (a: f32[N]) -> f32[N] { a }
