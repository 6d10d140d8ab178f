// expect: E0103 2:21
kernel f(a: f32[N]) { a }
