//! The quickstart as its reader uses it: alone in a crate that depends on `msd` by path, with the
//! same bits as `msd run` on the same kernel.

use std::fs;
use std::path::Path;
use std::process::Command;

use msd::io::npy::{self, Halves};
use msd::{DType, Kernel, Options, Tensor};

use super::{dir, msd};

const KERNEL: &str = "kernel linear(w: i8[N, K] scale f32[N], x: f32[M, K]) -> f32[M, N] { matmul(x, dequant(w).t()) }";

/// The numbers that the example prints, in an otherwise empty crate.
fn printed() -> Vec<f32> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    // The same profiles and versions, so that what is built already need not be built again.
    let profiles = manifest.find("[profile").map_or("", |start| &manifest[start..]);
    let package = "[package]\nname = \"empty\"\nedition = \"2024\"\n[workspace]\n[dependencies]";
    let manifest = format!("{package}\nmsd = {{ path = {:?} }}\n{profiles}", root.display().to_string());
    let files = dir(&[("Cargo.toml", manifest.as_bytes())]);
    fs::create_dir(files.path().join("src")).unwrap();
    fs::copy(root.join("Cargo.lock"), files.path().join("Cargo.lock")).unwrap();
    fs::copy(root.join("examples/quickstart.rs"), files.path().join("src/main.rs")).unwrap();

    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut run = Command::new(env!("CARGO"));
    run.args(["run", "--quiet", "--offline", "--profile", "test"])
        .current_dir(files.path())
        .env("CARGO_TARGET_DIR", target);
    let output = run.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let list = text.trim().trim_start_matches('[').trim_end_matches(']');
    list.split(", ").map(|number| number.parse().unwrap()).collect()
}

#[test]
fn in_an_empty_crate_it_prints_the_bits_of_msd_run() {
    // The example's own inputs.
    let weights: Vec<f32> = (0..64 * 64).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    let tokens: Vec<f32> = (0..2 * 64).map(|i| (i * 53 % 97) as f32 / 48.0 - 1.0).collect();
    let kernel = Kernel::new(KERNEL, &Options::new()).unwrap();
    let w = kernel.quantize("w", &weights, &[64, 64]).unwrap();
    let x = Tensor::from_f32(DType::F32, vec![2, 64], &tokens).unwrap();

    let files = dir(&[("linear.msd", KERNEL.as_bytes())]);
    for (name, tensor) in [("w.npy", w.codes()), ("scale.npy", w.scale()), ("x.npy", &x)] {
        npy::write(files.path().join(name), tensor, Halves::Widened).unwrap();
    }
    let inputs = ["-i", "w=@w.npy", "-i", "w.scale=@scale.npy", "-i", "x=@x.npy"];
    let ran = msd(&files, &[&["run", "linear.msd", "-o", "y.npy"], &inputs[..]].concat());
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let y = super::run::npy_file(&files, "y.npy").to_f32();

    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&printed()), bits(&y));
}
