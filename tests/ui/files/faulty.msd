// Two faults; columns count characters, not bytes: é
kernel inner(a: f32[M, K], b: f32[N, K]) -> f32[M, N] { a @ b }
kernel quantized(W: i8[N, K] scale f32[N]) -> f32[N, K] {
	W * 2
}
