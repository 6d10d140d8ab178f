// A slice with an end on an unknown side of a joint, and one whose factor is no vector.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64, P=64
// sizes: M=2, N=4, K=33, P=40
kernel joint(A: i8[K, N] scale f32[N], B: i8[P, N] scale f32[N], X: bf16[M, P]) -> f32[M, N] {
    X @ slice(concat(dequant(A), dequant(B), 0), 0, 0, P)
}
kernel mask(W: i8[2*K, N] scale f32[N], m: f32[2*K, N], X: bf16[M, K]) -> f32[M, N] {
    X @ slice(dequant(W) * m, 0, 0, K)
}

// expected:
// hoist-concat: stopped slice: a slice from `0` to `P` may or may not cross the joint at `K`
// kernel joint(A: i8[K, N] scale f32[N], B: i8[P, N] scale f32[N], X: bf16[M, P]) -> f32[M, N] {
//     let v3 = dequant(A);
//     let v4 = dequant(B);
//     let v5 = concat(v3, v4, 0);
//     let v6 = slice(v5, 0, 0, P);
//     X @ v6
// }
// hoist-vector: stopped varies: the factors are both `f32[2*K, N]`: neither is a vector
// kernel mask(W: i8[2*K, N] scale f32[N], m: f32[2*K, N], X: bf16[M, K]) -> f32[M, N] {
//     let v3 = dequant(W);
//     let v4 = v3 * m;
//     let v5 = slice(v4, 0, 0, K);
//     X @ v5
// }
