// expect: E0103 2:19
kernel f(a: i8[N] scales f32[N]) -> f32[N] { dequant(a) }
