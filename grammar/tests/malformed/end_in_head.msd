// expect: E0104 2:20
kernel f(a: f32[N],