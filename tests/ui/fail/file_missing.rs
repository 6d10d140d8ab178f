msd::msd_file!("files/missing.msd");

fn main() {}
