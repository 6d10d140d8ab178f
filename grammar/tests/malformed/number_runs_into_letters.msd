// expect: E0102 2:17
kernel f(a: f32[128K]) -> f32[] { 1 }
