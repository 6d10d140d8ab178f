// The same product with the weight on the left: tokens are the columns of X and of the result.
// Nothing is transposed to get there; the rewrite works on either side of `@`.
kernel linear_columns(W: i8[N, K] scale f32[N], X: bf16[K, M]) -> f32[N, M] { dequant(W) @ X }
