// expect: E0108 2:1
kernl f(a: f32[N]) -> f32[N] { a }

kernel f(a: f32[M, N]) -> f32[M, N] { a }
