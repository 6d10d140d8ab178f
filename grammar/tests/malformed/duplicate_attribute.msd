// expect: E0504 3:1
#[lowering(msd)]
#[lowering(auto)]
kernel f(a: f32[M, N]) -> f32[M, N] { a }
