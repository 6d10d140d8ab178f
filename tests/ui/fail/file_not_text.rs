msd::msd_file!("files/not_text.msd");

fn main() {}
