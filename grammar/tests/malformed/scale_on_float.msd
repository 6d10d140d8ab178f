// expect: E0404 2:13
kernel f(W: f32[N, K] scale f32[N]) -> f32[N, K] { dequant(W) }
