// expect: E0203 2:28
kernel f(a: i8[N, K] scale mxfp4[N, K/32]) -> f32[N, K] { dequant(a) }
