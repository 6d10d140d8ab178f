// expect: E0404 2:47
kernel f(a: nvfp4[N, K], b: nvfp4[N, K] scale f32[N]) -> f32[N, K] { dequant(a) + dequant(b) }
