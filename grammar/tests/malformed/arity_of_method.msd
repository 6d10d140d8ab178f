// expect: E0301 3:39
// expect: E0301 3:49
kernel f(a: f32[M, N]) -> f32[M, N] { a.min() + a.silu(a) }
