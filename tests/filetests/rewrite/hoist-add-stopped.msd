// A broadcast term is no operand of a product, and more than 64 terms are left as they are.
// test: rewrite
// lowering: msd
// open: M
// sizes: M=3, N=17, K=64
// sizes: M=2, N=4, K=33
// sizes: M=1, N=5, K=0
kernel row(W: i8[N, K] scale f32[N], b: f32[K], X: bf16[M, K]) -> f32[M, N] { X @ (dequant(W) + b).T }
kernel inner(W: i8[N, K] scale f32[N], b: f32[N, 1], L: f32[N, K], X: bf16[M, K]) -> f32[M, N] {
    X @ (L + (dequant(W) - b)).T
}
kernel many(W: i8[K, N] scale f32[N], L: f32[K, N], X: bf16[M, K]) -> f32[M, N] {
    let a = dequant(W) + L;
    let b = a + a;
    let c = b + b;
    let d = c + c;
    let e = d + d;
    let f = e + e;
    let g = f + f;
    X @ g
}

// expected:
// hoist-add: stopped shape: the term `f32[K]` is broadcast to `f32[N, K]`
// kernel row(W: i8[N, K] scale f32[N], b: f32[K], X: bf16[M, K]) -> f32[M, N] {
//     let v3 = dequant(W);
//     let v4 = v3 + b;
//     let v5 = v4.T;
//     X @ v5
// }
// hoist-add: stopped shape: the term `f32[N, 1]` is broadcast to `f32[N, K]`
// kernel inner(W: i8[N, K] scale f32[N], b: f32[N, 1], L: f32[N, K], X: bf16[M, K]) -> f32[M, N] {
//     let v4 = dequant(W);
//     let v5 = v4 - b;
//     let v6 = L + v5;
//     let v7 = v6.T;
//     X @ v7
// }
// hoist-add: stopped size: the operand joins more than 64 sums, parts and vectors
// kernel many(W: i8[K, N] scale f32[N], L: f32[K, N], X: bf16[M, K]) -> f32[M, N] {
//     let v3 = dequant(W);
//     let a = v3 + L;
//     let b = a + a;
//     let c = b + b;
//     let d = c + c;
//     let e = d + d;
//     let f = e + e;
//     let g = f + f;
//     X @ g
// }
