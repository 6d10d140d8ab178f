// test: check
// How the ops on digits can be misused, and broadcast beside them.
kernel no_size(x: f32[M, K]) -> i32[M, K] { let (d, r, g) = msd.decompose_blocks(x, "int8x1", 0); d }
kernel left_over(x: f32[M, 7]) -> i32[M, 7] { let (d, r, g) = msd.decompose_blocks(x, "int8x2-pow2", 3); d }
kernel open_size(x: f32[M, K]) -> i32[M, K] { let (d, r, g) = msd.decompose_blocks(x, "int8x1", K); d }
kernel wide_digits(a: i32[M, K], b: i8[K, N]) -> f32[M, N] { cast(msd.dot(a, b), f32) }
kernel wide_codes(x: f32[M, K], b: i32[K, N]) -> f32[M, N] { let (d, g) = msd.decompose(x, "int8x1"); cast(msd.dot(d, b), f32) }
kernel not_exact(p: f32[M, N], r: i8[M, K], z: u8[N]) -> f32[M, N] { msd.combine_zero(p, sum(cast(r, i64)), z, "int8x1") }
kernel no_token(p: i8[3, N]) -> f32[1, N] { msd.combine_zero(cast(p, i64), sum(cast(p, i64)), 1, "int8x2-pow2") }
kernel zero_of_others(p: i8[M, N], z: u8[K]) -> f32[M, N] { msd.combine_zero(cast(p, i64), sum(cast(p, i64)), z, "int8x1") }
kernel flat(p: f32[M, N]) -> f32[N] { msd.accumulate(p, 1, 1) }
kernel half(p: f32[G, M, N], s: f16[G, 1, N]) -> f32[M, N] { msd.accumulate(p, s, 1) }
kernel scale_of_others(p: f32[G, M, N], s: f32[N, 3]) -> f32[M, N] { msd.accumulate(p, s, 1) }
kernel narrower(x: f32[M, 7]) -> f32[M, 9] { broadcast(x, [M, 9]) }
kernel fewer_axes(x: f32[M, N]) -> f32[N] { broadcast(x, [N]) }

// expected:
// 3:61: E0302 `msd.decompose_blocks` of `f32[M, K]`: `K` is no number of blocks of `0`
// 4:63: E0302 `msd.decompose_blocks` of `f32[M, 7]`: `7` is no number of blocks of `3`
// 5:63: E0302 `msd.decompose_blocks` of `f32[M, K]`: `K` is no number of blocks of `K`
// 6:67: E0304 `msd.dot` needs integers of at most 16 bits here, this is `i32[M, K]`
// 7:108: E0304 `msd.dot` needs integers of at most 8 bits here, this is `i32[K, N]`
// 8:70: E0304 `msd.combine_zero` needs exact digit products, this is `f32[M, N]`
// 9:45: E0302 `msd.combine_zero` needs 2 rows for each token, `i64[3, N]` has `3`
// 10:61: E0302 `msd.combine_zero`: zero points `u8[K]` do not broadcast to `[M, N]`
// 11:39: E0303 `msd.accumulate` needs at least 3 dimensions, `f32[M, N]` has 2
// 12:62: E0304 `msd.accumulate` needs scales in f32, this is `f16[G, 1, N]`
// 13:70: E0302 `msd.accumulate`: scales `f32[N, 3]` do not broadcast to `[G, M, N]`
// 14:46: E0302 `broadcast`: elements `f32[M, 7]` do not broadcast to `[M, 9]`
// 15:45: E0302 `broadcast`: elements `f32[M, N]` do not broadcast to `[N]`
