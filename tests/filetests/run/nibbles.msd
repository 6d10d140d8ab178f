// Rows of 4-bit elements side by side, of odd and of even lengths.
// test: run
// sizes: M=3, K=5, L=4
// sizes: M=2, K=4, L=3
// sizes: M=1, K=1, L=1
kernel integers(X: i4[M, K], Y: i4[M, L]) -> i4[M, K+L] { concat(X, Y, 1) }
kernel unsigned(X: u4[M, K], Y: u4[M, L], Z: u4[M, K]) -> u4[M, 2*K+L] { concat(concat(X, Y, 1), Z, 1) }
kernel floats(X: e2m1[M, K], Y: e2m1[M, L]) -> f32[M, K+L] { cast(concat(X, Y, 1), f32) }
