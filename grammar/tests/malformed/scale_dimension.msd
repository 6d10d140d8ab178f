// expect: E0401 2:28
kernel f(W: i8[N, K] scale f32[M], X: f32[M]) -> f32[] { 1 }
