// What varies along both dimensions, or has more of them than the weight, makes the weight an ordinary tensor.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
// sizes: M=1, N=5, K=0
kernel mask(W: i8[N, K] scale f32[N], m: f32[N, K], X: bf16[M, K]) -> f32[M, N] { X @ (dequant(W) * m).T }
kernel batched(W: i8[2, N, K] scale f32[2, N], m: f32[N, K], X: bf16[M, K]) -> f32[2, M, N] {
    X @ (dequant(W) / m).T
}
kernel wider(W: i8[N, K] scale f32[N], v: f32[2, 1, K], X: bf16[M, K]) -> f32[2, M, N] { X @ (dequant(W) * v).T }
kernel inverse(W: i8[N, K] scale f32[N], v: f32[K], X: bf16[M, K]) -> f32[M, N] { X @ (v / dequant(W)).T }

// expected:
// hoist-vector: stopped varies: the factors are both `f32[N, K]`: neither is a vector
// kernel mask(W: i8[N, K] scale f32[N], m: f32[N, K], X: bf16[M, K]) -> f32[M, N] {
//     let v3 = dequant(W);
//     let v4 = v3 * m;
//     let v5 = v4.T;
//     X @ v5
// }
// hoist-vector: stopped varies: the factor `f32[N, K]` varies along both dimensions of the product
// kernel batched(W: i8[2, N, K] scale f32[2, N], m: f32[N, K], X: bf16[M, K]) -> f32[2, M, N] {
//     let v3 = dequant(W);
//     let v4 = v3 / m;
//     let v5 = v4.T;
//     X @ v5
// }
// hoist-vector: stopped shape: the weight is broadcast to `f32[2, N, K]`
// kernel wider(W: i8[N, K] scale f32[N], v: f32[2, 1, K], X: bf16[M, K]) -> f32[2, M, N] {
//     let v3 = dequant(W);
//     let v4 = v3 * v;
//     let v5 = v4.T;
//     X @ v5
// }
// hoist-vector: stopped linear: the weight is what is divided by
// kernel inverse(W: i8[N, K] scale f32[N], v: f32[K], X: bf16[M, K]) -> f32[M, N] {
//     let v3 = dequant(W);
//     let v4 = v / v3;
//     let v5 = v4.T;
//     X @ v5
// }
