// One step of attention over a quantized cache, both lowerings of its products as the plan says.
// test: run
// lowering: msd
// open: G
// sizes: H=2, G=3, T=33, D=16
// sizes: H=1, G=1, T=1, D=8
// sizes: H=3, G=4, T=65, D=24
kernel attention(Q: bf16[H, G, D], K: i8[H, T, D] scale f32[H, T], V: i8[H, T, D] scale f32[H, D]) -> bf16[H, G, D] {
    let S = Q @ dequant(K).T * rsqrt(D);
    softmax(causal(S)) @ dequant(V)
}
