// expect: E0203 2:13
kernel f(a: fp32[N]) -> f32[] { 1 }
