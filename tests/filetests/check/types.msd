// test: check
// What the type rules make of every kind of op.
kernel arithmetic(a: i8[M, N], b: bf16[N]) -> (i32[M, N], f32[M, N], bool[M, N], f32[M, N]) { (a * a, a + b, a < b, a / a) }
kernel rows(x: f16[M, N]) -> (f32[M, 1], f32[M, N]) { (sum(x), softmax(x)) }
kernel weight(W: mxfp4[N, K], X: bf16[B, M, K]) -> f32[B, M, N] { X @ dequant(W).T }
kernel cache(K: i8[H, T, D] scale f32[H, T]) -> f32[H, D, T] { dequant(K).T }
kernel methods(w: i8[N, K] scale f32[N], x: bf16[M, K]) -> (f32[M, N], bf16[K, M]) { (x.matmul(w.dequant().t()).softmax(), x.t().cast(bf16)) }

// expected:
// arithmetic: (i8[M, N], bf16[N]) -> (i32[M, N], f32[M, N], bool[M, N], f32[M, N])
// rows: (f16[M, N]) -> (f32[M, 1], f32[M, N])
// weight: (e2m1[N, K] scale e8m0[N, K/32], bf16[B, M, K]) -> (f32[B, M, N])
// cache: (i8[H, T, D] scale f32[H, T]) -> (f32[H, D, T])
// methods: (i8[N, K] scale f32[N], bf16[M, K]) -> (f32[M, N], bf16[K, M])
