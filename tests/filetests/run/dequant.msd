// Quantized tensors made float: groups, blocks, zero points, small floats.
// test: run
// open: N
// sizes: N=32, K=64
// sizes: N=16, K=0
// sizes: N=48, K=160
kernel groups(W: u4[N, K] scale f16[N, K/32] zero u4[N, K/32]) -> f32[N, K] { dequant(W) }
kernel float_zero(W: u8[N, K] scale bf16[N, K/16] zero f32[N, K/32]) -> f32[N, K] { dequant(W) }
kernel wide_zero(W: i8[N, K] scale f32[N] zero i32[N]) -> f32[N, K] { dequant(W) }
kernel blocks(W: i8[N, K] scale f32[N/16, K/32]) -> bf16[K, N] { dequant(W).T }
kernel mx(W: mxfp4[N, K], V: mxfp8[N, K]) -> f32[N, K] { dequant(W) + dequant(V) }
kernel nvfp4(W: nvfp4[N, K], s: f32[1]) -> f32[N, K] { dequant(W) * s }
kernel fp8_blocks(W: e4m3[N, K] scale f32[N/16, K/32], V: e5m2[N, K] scale f32[N]) -> f32[N, K] { dequant(W) - dequant(V) }
kernel fp8(W: e5m2[N, K] scale e4m3[N], V: e1m2[N, K] scale f32[1]) -> f32[N, K] { dequant(W) * dequant(V) }
kernel parts(W: i8[N, K] scale f32[N] zero i8[K]) -> (i8[N, K], f32[N], i8[K]) { (msd.codes(W), msd.scale(W), msd.zero(W)) }
kernel part_product(W: i8[N, K] scale f32[N, K/32], X: f32[K, N]) -> f32[K, K/32] { X @ msd.scale(W) }
