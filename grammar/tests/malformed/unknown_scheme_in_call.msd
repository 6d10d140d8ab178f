// expect: E0503 2:69
kernel f(a: f32[M, N]) -> f32[M, N] { let (d, s) = msd.decompose(a, "int8x2"); a }
