// expect: E0607 2:13
kernel f(a: mxfp8[N, 100]) -> f32[N, 100] { dequant(a) }
