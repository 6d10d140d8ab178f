fn main() {
    let (x, y) = (1, 2);
    let _ = msd::msd!(x @ y);
}
