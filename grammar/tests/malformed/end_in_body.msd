// expect: E0104 3:6
kernel f(a: f32[N]) -> f32[N] {
    a