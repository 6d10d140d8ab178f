// expect: E0207 2:17
kernel f(a: f32[K/2]) -> f32[] { 1 }
