// expect: E0404 2:22
kernel f(W: u4[N, K] zero u4[N]) -> f32[N, K] { dequant(W) }
