// expect: E0209 2:43
kernel f(a: f32[N]) -> (f32[N], f32[N]) { a }
