// expect: E0303 2:33
kernel f(a: f32[N]) -> f32[N] { a.T }
