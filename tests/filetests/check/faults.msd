// test: check
// One fault per kernel, each with its place; all come in one run.
kernel inner(a: f32[M, K], b: f32[N, K]) -> f32[M, N] { a @ b }
kernel name(a: f32[M]) -> f32[M] { a + aa }
kernel quantized(W: i8[N, K] scale f32[N]) -> f32[N, K] { W * 2 }
kernel result(a: f32[M, N]) -> f32[N, M] { a }
kernel axis(a: f32[M, N]) -> f32[M, 2*N] { concat(a, a, 2) }
kernel scale(W: i8[N, K] scale f32[M]) -> f32[N, K] { dequant(W) }
kernel truth(a: f32[M]) -> f32[M] { a < 1 }
kernel method(W: i8[N, K] scale f32[N]) -> f32[N, K] { W.dequant().softmx() }

// expected:
// 3:57: E0302 `@` of `f32[M, K]` and `f32[N, K]`: inner dimensions `K` and `N` differ
// 4:40: E0201 `aa` is not defined
// 5:59: E0305 `*` needs a plain tensor, this one is quantized: `i8[N, K] scale f32[N]`
// 6:44: E0310 the result is `f32[M, N]`, declared is `f32[N, M]`
// 7:44: E0307 `concat` has no such axis in `f32[M, N]`
// 8:32: E0401 scale dimension `M` is no dimension of `i8[N, K]`, nor a group of one
// 9:37: E0310 the result is `bool[M]`, declared is `f32[M]`
// 10:68: E0202 there is no function `softmx`
