// expect: E0304 2:58
kernel f(d: i8[M, K], w: e2m1[K, N]) -> f32[M, N] { cast(msd.dot(d, w), f32) }
