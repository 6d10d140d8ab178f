// expect: E0204 2:21
kernel f(a: f32[N], a: f32[N]) -> f32[N] { a }
