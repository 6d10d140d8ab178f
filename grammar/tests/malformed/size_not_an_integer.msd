// expect: E0311 2:17
kernel f(a: f32[1.5]) -> f32[] { 1 }
