// expect: E0103 5:23
// expect: E0203 6:13
// expect: E0108 7:1
// expect: E0201 8:37
kernel f(a: f32[N], b f32[N]) -> f32[N] { a }
kernel g(a: f33[N]) -> f32[N] { a + a }
of nothing
kernel h(a: f32[N]) -> f32[N] { a + b }
