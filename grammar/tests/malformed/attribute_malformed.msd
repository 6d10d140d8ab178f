// expect: E0103 2:12
#[tolerance= 3]
kernel f(a: f32[M, N]) -> f32[M, N] { a }
