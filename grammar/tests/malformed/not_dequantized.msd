// expect: E0305 2:69
kernel f(W: i8[N, K] scale f32[N], X: f32[M, K]) -> f32[M, N] { X @ W.T }
