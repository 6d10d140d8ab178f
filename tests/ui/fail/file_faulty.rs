msd::msd_file!("files/faulty.msd");

fn main() {
    let _ = inner(1, 2);
    let _ = quantized(1).map(|y| y.shape());
}
