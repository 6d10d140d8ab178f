// expect: E0103 5:1
kernel f(a: f32[N]) -> f32[N] {
    a

kernel g(a: f32[N]) -> f32[N] { a }
