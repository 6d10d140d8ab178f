msd::msd_file!(b"kernels", 1);

fn main() {}
