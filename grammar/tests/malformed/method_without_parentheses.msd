// expect: E0201 2:53
kernel f(w: i8[N, K] scale f32[N]) -> f32[N, K] { w.dequant }
