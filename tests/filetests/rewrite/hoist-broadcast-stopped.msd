// What is repeated along the dimensions of the product is an ordinary tensor, and so is a moved new dimension.
// test: rewrite
// lowering: msd
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
kernel columns(W: i8[K, 1] scale f32[1], b: f32[N], X: bf16[M, K]) -> f32[M, N] {
    X @ broadcast(dequant(W), [K, N]) + b
}
kernel moved(W: i8[2, K, N] scale f32[1], X: bf16[M, K]) -> f32[2, 3, M, N] {
    X @ transpose(broadcast(dequant(W), [3, 2, K, N]), [1, 0, 2, 3])
}

// expected:
// hoist-broadcast: stopped shape: the weight is repeated from `f32[K, 1]` along dimensions of the product itself
// kernel columns(W: i8[K, 1] scale f32[1], b: f32[N], X: bf16[M, K]) -> f32[M, N] {
//     let v3 = dequant(W);
//     let v4 = broadcast(v3, [K, N]);
//     let v5 = X @ v4;
//     v5 + b
// }
// hoist-broadcast: stopped batch: new dimensions of `f32[2, K, N]` stand behind its own
// kernel moved(W: i8[2, K, N] scale f32[1], X: bf16[M, K]) -> f32[2, 3, M, N] {
//     let v2 = dequant(W);
//     let v3 = broadcast(v2, [3, 2, K, N]);
//     let v4 = transpose(v3, [1, 0, 2, 3]);
//     X @ v4
// }
