// test: check
// How the ops on small floats can be misused.
kernel steps_of_fp8(w: e4m3[M, K]) -> i32[M, K] { cast(msd.steps(w), i32) }
kernel steps_of_integers(w: i4[M, K]) -> i32[M, K] { cast(msd.steps(w), i32) }
kernel steps_of_f32(w: f32[M, K]) -> i32[M, K] { cast(msd.steps(w), i32) }
kernel steps_of_a_weight(w: mxfp4[M, K]) -> i32[M, K] { cast(msd.steps(w), i32) }
kernel steps_of_a_scale(w: mxfp4[M, K]) -> i32[M, K/32] { cast(msd.steps(msd.scale(w)), i32) }
kernel floats_in_dot(x: f32[M, K], w: mxfp4[N, K]) -> f32[M, N] { let (d, g) = msd.decompose(x, "int8x1"); cast(msd.dot(d, msd.codes(w).T), f32) }
kernel float_digits_in_dot(x: f32[M, K], w: i8[K, N]) -> f32[M, N] { let (d, g) = msd.decompose(x, "fp8x1"); cast(msd.dot(d, w), f32) }
kernel wide_of_floats(p: f32[G, M, N], s: f32[G, 1, N]) -> f32[M, N] { cast(msd.accumulate_wide(p, s, 1, "int8x1"), f32) }
kernel wide_of_bytes(p: i8[G, M, N], s: f32[G, 1, N]) -> f32[M, N] { cast(msd.accumulate_wide(p, s, 1, "int8x1"), f32) }
kernel flat_wide(p: i8[M, N]) -> f32[N] { cast(msd.accumulate_wide(cast(p, i64), 1, 1, "int8x1"), f32) }
kernel integer_scales(p: i8[G, M, N], s: i8[G, 1, N]) -> f32[M, N] { cast(msd.accumulate_wide(cast(p, i64), s, 1, "int8x1"), f32) }
kernel integer_units(p: i8[G, M, N], u: u8[G, M, 1]) -> f32[M, N] { cast(msd.accumulate_wide(cast(p, i64), 1, u, "int8x1"), f32) }
kernel scales_of_others(p: i8[G, M, N], s: f32[N, 3]) -> f32[M, N] { cast(msd.accumulate_wide(cast(p, i64), s, 1, "int8x1"), f32) }
kernel half_a_token(p: i8[G, 3, N]) -> f32[1, N] { cast(msd.accumulate_wide(cast(p, i64), 1, 1, "mxfp4x2"), f32) }
kernel no_such_scheme(p: i8[G, M, N]) -> f32[M, N] { cast(msd.accumulate_wide(cast(p, i64), 1, 1, "mxfp4x3"), f32) }
kernel combine_halves(p: f16[M, N]) -> f32[M, N] { msd.combine(p, "fp8x1") }
kernel combine_bytes(p: i8[M, N]) -> f32[M, N] { msd.combine(p, "fp8x1") }
kernel combine_a_vector(p: f32[N]) -> f32[N] { msd.combine(p, "fp8x1") }
kernel combine_half_a_token(p: f32[3, N]) -> f32[1, N] { msd.combine(p, "fp8x2") }
kernel a_rounded_zero(p: f32[M, N], r: f32[M, 1], z: u8[N]) -> f32[M, N] { msd.combine_zero(p, r, z, "fp8x1") }
kernel blocks_of_their_own(x: f32[M, 48]) -> f32[M, 1] { let (d, r, g) = msd.decompose_blocks(x, "mxfp4x2", 32); cast(g, f32) }

// expected:
// 3:56: E0304 `msd.steps` counts the steps of floats of 4 bits, this is `e4m3[M, K]`
// 4:59: E0304 `msd.steps` counts the steps of floats of 4 bits, this is `i4[M, K]`
// 5:55: E0304 `msd.steps` counts the steps of floats of 4 bits, this is `f32[M, K]`
// 6:62: E0305 `msd.steps` needs a plain tensor, this one is quantized: `e2m1[M, K] scale e8m0[M, K/32]`
// 7:64: E0304 `msd.steps` counts the steps of floats of 4 bits, this is `e8m0[M, K/32]`
// 8:113: E0304 `msd.dot` needs integers of at most 8 bits here, this is `e2m1[K, N]`
// 9:115: E0304 `msd.dot` needs integers of at most 16 bits here, this is `e4m3[M, K]`
// 10:77: E0304 `msd.accumulate_wide` needs exact digit products, this is `f32[G, M, N]`
// 11:75: E0304 `msd.accumulate_wide` needs exact digit products, this is `i8[G, M, N]`
// 12:48: E0303 `msd.accumulate_wide` needs at least 3 dimensions, `i64[M, N]` has 2
// 13:75: E0304 `msd.accumulate_wide` needs scales that are floats, this is `i8[G, 1, N]`
// 14:74: E0304 `msd.accumulate_wide` needs units that are floats, this is `u8[G, M, 1]`
// 15:75: E0302 `msd.accumulate_wide`: scales `f32[N, 3]` do not broadcast to `[G, M, N]`
// 16:57: E0302 `msd.accumulate_wide` needs 2 rows for each token, `i64[G, 3, N]` has `3`
// 17:99: E0503 there is no scheme `mxfp4x3`
// 18:52: E0304 `msd.combine` needs products of digits, in i64 or f32, this is `f16[M, N]`
// 19:50: E0304 `msd.combine` needs products of digits, in i64 or f32, this is `i8[M, N]`
// 20:48: E0303 `msd.combine` needs at least 2 dimensions, `f32[N]` has 1
// 21:58: E0302 `msd.combine` needs 2 rows for each token, `f32[3, N]` has `3`
// 22:76: E0304 `msd.combine_zero` needs exact digit products, this is `f32[M, N]`
// 23:74: E0302 `msd.decompose_blocks` of `f32[M, 48]`: `48` is no number of blocks of `32`
