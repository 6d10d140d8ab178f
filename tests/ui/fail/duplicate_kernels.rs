msd::msd! {
    kernel f(x: f32[N]) -> f32[N] { x }

    kernel f(x: f32[N]) -> f32[N] { -x }
}

fn main() {}
