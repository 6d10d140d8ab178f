// expect: E0403 2:28
kernel f(W: i8[N, K] scale i8[N]) -> f32[N, K] { dequant(W) }
