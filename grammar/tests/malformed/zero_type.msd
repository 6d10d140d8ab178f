// expect: E0403 2:40
kernel f(W: i8[N, K] scale f32[N] zero bool[N]) -> f32[N, K] { dequant(W) }
