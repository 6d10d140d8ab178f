// expect: E0304 2:62
kernel f(p: i8[G, M, N], s: i8[G, 1, N]) -> f32[M, N] { cast(msd.accumulate_wide(cast(p, i64), s, 1, "int8x1"), f32) }
