// expect: E0303 2:13
kernel f(a: mxfp4[]) -> f32[] { 1 }
