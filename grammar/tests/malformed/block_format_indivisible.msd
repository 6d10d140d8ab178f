// expect: E0607 2:13
kernel f(a: nvfp4[N, 24]) -> f32[N, 24] { dequant(a) }
