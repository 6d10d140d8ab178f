// expect: E0103 2:16
kernel f(a: f32) -> f32[] { 1 }
