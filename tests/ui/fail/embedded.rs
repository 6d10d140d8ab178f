msd::msd! {
    kernel first(x: f32[M, N]) -> f32[N, M] { x }
    kernel second(x: f32[N]) -> f32[N] { let y = x x; y }
}

fn main() {}
