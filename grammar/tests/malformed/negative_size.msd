// expect: E0608 2:17
kernel f(a: f32[3 - 4]) -> f32[] { 1 }
