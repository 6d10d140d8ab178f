//! Real weights and activations: the files of tests/data/minilm hold what its README says.

use std::path::Path;

use msd_io::{convert, safetensors};
use msd_ir::dtype::DType;
use msd_ir::tensor::Tensor;

fn check(file: &str, tensors: &[(&str, DType, &[usize])]) -> Vec<Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/minilm").join(file);
    let mut opened = safetensors::open(path).unwrap();
    let mut names: Vec<&str> = tensors.iter().map(|t| t.0).collect();
    names.sort_unstable();
    assert_eq!(opened.names(), names);
    let read = |(name, dtype, shape): &(&str, DType, &[usize])| {
        let expected: Vec<Option<usize>> = shape.iter().map(|s| Some(*s)).collect();
        convert(opened.read(name).unwrap(), *dtype, &expected).unwrap()
    };
    tensors.iter().map(read).collect()
}

/// `y = x @ dequant(weight).T + bias` within the rounding of F32, for the last element.
fn check_linear(file: &str, n: usize, k: usize) {
    let tensors = check(
        file,
        &[
            ("weight", DType::I8, &[n, k]),
            ("scale", DType::F32, &[n]),
            ("bias", DType::F32, &[n]),
            ("x", DType::BF16, &[64, k]),
            ("y", DType::F32, &[64, n]),
        ],
    );
    let [weight, scale, bias, x, y] = tensors.as_slice() else { panic!("five tensors") };
    let dot: f64 = (0..k).map(|i| weight.value((n - 1) * k + i) * x.value(63 * k + i)).sum();
    let (ours, theirs) = (scale.value(n - 1) * dot + bias.value(n - 1), y.value(64 * n - 1));
    assert!((ours - theirs).abs() <= 1e-6 * theirs.abs(), "{ours} and {theirs}");
}

#[test]
fn linear_layers() {
    check_linear("ffn_up_l0.safetensors", 1536, 384);
    check_linear("ffn_down_l5.safetensors", 384, 1536);
}

#[test]
fn attention_heads() {
    check(
        "attention_l3.safetensors",
        &[
            ("q", DType::BF16, &[12, 12, 32]),
            ("k", DType::I8, &[12, 256, 32]),
            ("k_scale", DType::F32, &[12, 256]),
            ("v", DType::I8, &[12, 256, 32]),
            ("v_scale", DType::F32, &[12, 32]),
            ("o", DType::F32, &[12, 12, 32]),
        ],
    );
}
