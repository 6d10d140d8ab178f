// expect: E0607 2:17
kernel f(a: f32[100/8]) -> f32[] { 1 }
