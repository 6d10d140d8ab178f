// Products repeat their operands along batch dimensions themselves.
// test: rewrite
// lowering: msd
// sizes: M=3, N=17, K=64, B=2
// sizes: M=2, N=4, K=33, B=1
kernel new_batch(W: i8[K, N] scale f32[N], X: bf16[B, M, K]) -> f32[B, M, N] { X @ broadcast(dequant(W), [B, K, N]) }
kernel repeated(W: i8[1, N, K] scale f32[1, N], X: bf16[M, K]) -> f32[3, M, N] {
    X @ broadcast(dequant(W), [3, N, K]).T
}
kernel sliced(W: i8[K, N] scale f32[N], L: f32[N], X: bf16[M, K]) -> f32[2, M, N] {
    X @ slice(broadcast(2 * dequant(W) * L, [5, K, N]), 0, 1, 3)
}

// expected:
// hoist-broadcast: fired
// digit-split: fired
// kernel new_batch(W: i8[K, N] scale f32[N], X: bf16[B, M, K]) -> f32[B, M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-pow2");
//     let v3 = msd.codes(W);
//     let v4 = msd.dot(v2_0, v3);
//     let v5 = msd.combine(v4, "int8x2-pow2");
//     let v6 = msd.scale(W);
//     let v7 = reshape(v6, [1, N]);
//     let v8 = v5 * v7;
//     v8 * v2_1
// }
// hoist-broadcast: fired
// digit-split: fired
// kernel repeated(W: i8[1, N, K] scale f32[1, N], X: bf16[M, K]) -> f32[3, M, N] {
//     let (v2_0, v2_1) = msd.decompose(X, "int8x2-pow2");
//     let v3 = msd.codes(W);
//     let v4 = v3.T;
//     let v5 = msd.dot(v2_0, v4);
//     let v6 = msd.combine(v5, "int8x2-pow2");
//     let v7 = msd.scale(W);
//     let v8 = v7.T;
//     let v9 = reshape(v8, [1, N, 1]);
//     let v10 = v9.T;
//     let v11 = v6 * v10;
//     let v12 = v11 * v2_1;
//     let v13 = cast(v12, f32);
//     broadcast(v13, [3, M, N])
// }
// hoist-scalar: fired
// hoist-vector: fired
// hoist-broadcast: fired
// digit-split: fired
// kernel sliced(W: i8[K, N] scale f32[N], L: f32[N], X: bf16[M, K]) -> f32[2, M, N] {
//     let v3 = 2;
//     let (v4_0, v4_1) = msd.decompose(X, "int8x2-pow2");
//     let v5 = msd.codes(W);
//     let v6 = msd.dot(v4_0, v5);
//     let v7 = msd.combine(v6, "int8x2-pow2");
//     let v8 = msd.scale(W);
//     let v9 = reshape(v8, [1, N]);
//     let v10 = v7 * v9;
//     let v11 = v10 * v4_1;
//     let v12 = cast(v11, f32);
//     let v13 = v12 * v3;
//     let v14 = v13 * L;
//     broadcast(v14, [2, M, N])
// }
