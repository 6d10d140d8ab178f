// expect: E0501 2:3
#[tolerence(1e-4)]
kernel f(a: f32[M, N]) -> f32[M, N] { a }
