// expect: E0201 2:17
kernel f(a: f32[n]) -> f32[] { 1 }
