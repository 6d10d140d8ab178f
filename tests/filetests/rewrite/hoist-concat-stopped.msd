// A join that a batch dimension of x broadcasts is left alone.
// test: rewrite
// lowering: msd
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
kernel broadcast(A: i8[1, K, N] scale f32[1, N], B: f32[0, K, N], X: bf16[2, M, K]) -> f32[2, M, N] {
    X @ concat(dequant(A), B, 0)
}

// expected:
// hoist-concat: stopped batch: the joined batch dimension `1` is broadcast to `2`
// kernel broadcast(A: i8[1, K, N] scale f32[1, N], B: f32[0, K, N], X: bf16[2, M, K]) -> f32[2, M, N] {
//     let v3 = dequant(A);
//     let v4 = concat(v3, B, 0);
//     X @ v4
// }
