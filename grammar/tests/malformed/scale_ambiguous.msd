// expect: E0402 2:28
kernel f(W: i8[N, N] scale f32[N]) -> f32[N, N] { dequant(W) }
