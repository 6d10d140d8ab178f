// Two transposes become one, and a transpose that moves nothing goes away.
// test: rewrite
// open: M
// sizes: M=3, N=17
// sizes: M=2, N=4
// sizes: M=1, N=5
kernel there_and_back(x: f32[M, N]) -> f32[M, N] { x.T.T + 1 }
kernel joined(x: f32[2, M, N]) -> f32[N, 2, M] { transpose(transpose(x, [0, 2, 1]), [1, 0, 2]) }
kernel idle(x: f32[M, N]) -> f32[M, N] { transpose(x, [0, 1]) * 2 }
kernel alone(x: f32[M, N]) -> f32[N, M] { x.T }

// expected:
// double-transpose: fired
// kernel there_and_back(x: f32[M, N]) -> f32[M, N] {
//     x + 1
// }
// double-transpose: fired
// kernel joined(x: f32[2, M, N]) -> f32[N, 2, M] {
//     transpose(x, [2, 0, 1])
// }
// double-transpose: fired
// kernel idle(x: f32[M, N]) -> f32[M, N] {
//     x * 2
// }
// kernel alone(x: f32[M, N]) -> f32[N, M] {
//     x.T
// }
