// expect: E0502 2:1
#[lowering(fast)]
kernel f(a: f32[M, N]) -> f32[M, N] { a }
