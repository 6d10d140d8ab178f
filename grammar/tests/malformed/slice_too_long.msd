// expect: E0308 2:33
kernel f(a: f32[8]) -> f32[9] { slice(a, 0, 0, 9) }
