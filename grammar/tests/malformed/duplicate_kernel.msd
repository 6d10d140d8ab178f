// expect: E0205 3:8
kernel f(a: f32[M, N]) -> f32[M, N] { a }
kernel f(a: f32[N]) -> f32[N] { a }
