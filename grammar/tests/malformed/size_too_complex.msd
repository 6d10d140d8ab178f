// expect: E0312 2:39
kernel f(A: f32[A], B: f32[B]) -> f32[A*A*A*A*A*A*A*A*A*A*A*A*A*A*A*A*A] { 1 }
