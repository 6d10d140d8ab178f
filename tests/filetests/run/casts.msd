// Each conversion rounds once, to nearest even; integers and small floats saturate.
// test: run
// sizes: N=1
// sizes: N=4099
kernel of_integers(a: i32[N]) -> (f32[N], bf16[N], f16[N], e4m3[N], e5m2[N], e2m1[N], e1m2[N], e8m0[N], i8[N], u4[N]) {
    (a, a, a, a, a, a, a, a, a, a)
}
kernel of_floats(a: f32[N]) -> (bf16[N], f16[N], e4m3[N], e5m2[N], e2m1[N], e1m2[N], e8m0[N], i32[N], i8[N], u8[N], i4[N], u4[N]) {
    (a, a, a, a, a, a, a, a, a, a, a, a)
}
kernel scaled(a: f32[N]) -> (i32[N], u8[N], e5m2[N], e8m0[N], bool[N]) {
    (a * 1000000000, a * 100, a * 30000, a * a, cast(a, bool))
}
kernel of_small_floats(a: e4m3[N], b: e5m2[N], c: e2m1[N], d: e1m2[N], e: e8m0[N]) -> (e4m3[N], e5m2[N], e2m1[N], e1m2[N], e8m0[N], bf16[N], f16[N], i32[N]) {
    (a, b, c, d, e, b, e * 1, a + c * d)
}
kernel of_truth(a: bool[N], b: f16[N]) -> (bool[N], f32[N], i8[N], bf16[N]) {
    (a, cast(a, f32), cast(a, i8), where(a, b, -b))
}
kernel twice(a: f32[N]) -> (f32[N], f32[N]) {
    (cast(cast(a, bf16), f16), cast(cast(a, i8), bf16) * 3)
}
kernel accumulators(a: i32[N], s: f32[N]) -> (bf16[N], f16[N], e4m3[N], i8[N], f32[N]) {
    let wide = cast(a, i64) * 70001;
    let double = cast(s, f64) * cast(a, f64);
    (double, cast(wide, f16), cast(double, e4m3), cast(double, i8), wide)
}
