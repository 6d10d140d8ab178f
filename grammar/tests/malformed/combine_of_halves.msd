// expect: E0304 2:39
kernel f(p: f16[M, N]) -> f32[M, N] { msd.combine(p, "fp8x1") }
