// expect: E0305 3:51
// expect: E0305 4:74
kernel f(w: i8[N, K] scale f32[N]) -> f32[K, N] { w.t() }
kernel g(w: i8[N, K] scale f32[N], x: f32[M, K]) -> f32[M, N] { x.matmul(w.T) }
