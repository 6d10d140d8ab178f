// expect: E0310 2:39
kernel f(a: f32[M, N]) -> f32[N, M] { a }
