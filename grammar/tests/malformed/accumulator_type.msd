// expect: E0203 2:13
kernel f(a: i64[N]) -> f32[N] { a }
