// expect: E0304 2:43
kernel f(w: i4[M, K]) -> i32[M, K] { cast(msd.steps(w), i32) }
