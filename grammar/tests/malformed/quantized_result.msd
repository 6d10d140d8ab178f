// expect: E0404 2:23
kernel f(a: i8[N]) -> i8[N] scale f32[N] { a }
