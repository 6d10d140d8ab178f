//! Resolution from flags to tensors, over real files in a temporary directory.

use std::path::{Path, PathBuf};

use msd::ir::dtype::DType;

use super::*;

const LINEAR: &str = "kernel linear(W: i8[N, K] scale f32[N], X: bf16[M, K], bias: f32[N]) -> bf16[M, N] \
                      { X @ dequant(W).T + bias }";
const GROUPED: &str = "kernel grouped(W: u4[N, K] scale f16[N, K/128] zero u4[N, K/128], X: bf16[M, K]) \
                       -> bf16[M, N] { X @ dequant(W).T }";

fn kernel(text: &str) -> Kernel {
    msd::grammar::check(text).unwrap().remove(0)
}

fn resolve_in(
    dir: &Dir,
    text: &str,
    flags: &[&str],
    dims: &str,
    missing: Missing,
) -> Result<Resolved, Vec<Diagnostic>> {
    let flags: Vec<InputFlag> =
        flags.iter().map(|f| f.replace('@', &format!("@{}/", dir.0.path().display())).parse().unwrap()).collect();
    let dims: Vec<syntax::DimFlag> = if dims.is_empty() { vec![] } else { vec![dims.parse().unwrap()] };
    resolve(&kernel(text), &flags, &dims::single(&dims).unwrap(), missing)
}

fn resolved(dir: &Dir, text: &str, flags: &[&str], dims: &str) -> Resolved {
    resolve_in(dir, text, flags, dims, Missing::Refuse).unwrap()
}

/// The one fault.
fn fault(dir: &Dir, text: &str, flags: &[&str], dims: &str) -> Diagnostic {
    let mut faults = resolve_in(dir, text, flags, dims, Missing::Refuse).unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.remove(0)
}

/// A directory that goes when the test ends.
struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(self.0.path()).join(name)
    }

    /// A `.npy` file, written by hand so that the reader is not checked against itself.
    fn npy(&self, name: &str, descr: &str, shape: &[usize], data: &[u8]) {
        let dims: String = shape.iter().map(|s| format!("{s},")).collect();
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}");
        header += &" ".repeat(63 - (10 + header.len()) % 64);
        header.push('\n');
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        let bytes = [b"\x93NUMPY\x01\x00", length.as_slice(), header.as_bytes(), data].concat();
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn npy_f32(&self, name: &str, shape: &[usize]) {
        let n: usize = shape.iter().product();
        self.npy(name, "<f4", shape, &(0..n).flat_map(|i| (i as f32).to_le_bytes()).collect::<Vec<_>>());
    }

    /// A safetensors file: name, type, shape and bytes of each tensor.
    fn safetensors(&self, name: &str, tensors: &[(&str, &str, &[usize], Vec<u8>)]) {
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for (tensor, dtype, shape, bytes) in tensors {
            let start = data.len();
            data.extend_from_slice(bytes);
            let entry = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]});
            header.insert(tensor.to_string(), entry);
        }
        let header = serde_json::to_string(&header).unwrap();
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
        std::fs::write(self.path(name), bytes).unwrap();
    }
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn random_inputs_take_sizes_from_dims() {
    let got = resolved(&Dir::new(), LINEAR, &["W=randn:1", "X=randn:2", "bias=const:0.5"], "N=8,K=32,M=3");
    let shapes: Vec<&[usize]> = got.inputs.iter().map(|i| i.tensor.shape()).collect();
    assert_eq!(shapes, [&[8, 32][..], &[3, 32], &[8]]);
    assert_eq!(got.inputs[0].tensor.dtype(), DType::I8);
    assert_eq!(got.inputs[0].scale.as_ref().unwrap().shape(), [8]);
    assert_eq!(got.inputs[1].tensor.dtype(), DType::BF16);
    assert_eq!(got.inputs[2].tensor.value(7), 0.5);
    let sizes: Vec<(&str, u64)> = got.sizes.iter().map(|(n, s)| (&**n, *s)).collect();
    assert_eq!(sizes, [("K", 32), ("M", 3), ("N", 8)]);
}

#[test]
fn a_file_fixes_sizes_for_what_stands_before_it() {
    let dir = Dir::new();
    dir.npy_f32("x.npy", &[3, 32]);
    dir.npy_f32("b.npy", &[8]);
    let got = resolved(&dir, LINEAR, &["W=randn:1", "X=@x.npy", "bias=@b.npy"], "");
    assert_eq!(got.inputs[0].tensor.shape(), [8, 32]);
    assert_eq!(got.inputs[1].tensor.value(95), 95.0);
}

#[test]
fn seeds_decide_and_the_order_of_flags_does_not() {
    let dir = Dir::new();
    let draw = |flags: &[&str]| resolved(&dir, LINEAR, flags, "N=8,K=32,M=3").inputs;
    let one = draw(&["W=randn:1", "X=randn:2", "bias=const:0"]);
    assert_eq!(one, draw(&["bias=const:0", "X=randn:2", "W=randn:1"]));
    let other = draw(&["W=randn:3", "X=randn:2", "bias=const:0"]);
    assert!(one[0] != other[0] && one[0].scale != other[0].scale && one[1] == other[1]);
}

#[test]
fn parts_are_given_apart() {
    let flags = ["W=uniform:1", "W.scale=const:0.25", "X=randn:2"];
    let got = resolved(&Dir::new(), GROUPED, &flags, "N=4,K=256,M=1");
    let w = &got.inputs[0];
    assert_eq!(w.scale.as_ref().unwrap().shape(), [4, 2]);
    assert_eq!(w.scale.as_ref().unwrap().value(7), 0.25);
    assert_eq!(w.zero.as_ref().unwrap().value(0), 8.0);
}

#[test]
fn a_file_given_whole_binds_by_name() {
    let dir = Dir::new();
    let w: (&str, &str, &[usize], Vec<u8>) = ("W", "I8", &[2, 3], vec![1, 2, 3, 0xFF, 0xFE, 0xFD]);
    let bias: (&str, &str, &[usize], Vec<u8>) = ("bias", "F32", &[2], f32s(&[5.0, 6.0]));
    let other: (&str, &str, &[usize], Vec<u8>) = ("other", "F32", &[1], f32s(&[0.0]));
    for scale in ["scale", "W.scale"] {
        let scale: (&str, &str, &[usize], Vec<u8>) = (scale, "F32", &[2], f32s(&[0.5, 0.25]));
        dir.safetensors("a.safetensors", &[w.clone(), scale, bias.clone(), other.clone()]);
        let got = resolved(&dir, LINEAR, &["@a.safetensors", "X=randn:1"], "M=4");
        assert_eq!(got.inputs[0].tensor.value(5), -3.0);
        assert_eq!(got.inputs[0].scale.as_ref().unwrap().value(1), 0.25);
        assert_eq!(got.inputs[2].tensor.value(1), 6.0);
    }
    // A flag of its own is meant more, and the file's tensor of that name is not read.
    let got = resolved(&dir, LINEAR, &["@a.safetensors", "X=randn:1", "bias=const:1"], "M=4");
    assert_eq!(got.inputs[2].tensor.value(0), 1.0);
    // Two quantized parameters: `scale` belongs to neither.
    let two = "kernel two(W: i8[N, K] scale f32[N], V: i8[N, K] scale f32[N], X: f32[M, K]) -> f32[M, N] \
               { X @ dequant(W).T + X @ dequant(V).T }";
    let scale: (&str, &str, &[usize], Vec<u8>) = ("scale", "F32", &[2], f32s(&[0.5, 0.25]));
    dir.safetensors("b.safetensors", &[w, scale, bias]);
    let missing = fault(&dir, two, &["@b.safetensors", "V=randn:1", "X=randn:2"], "M=1");
    assert_eq!(missing.code, Code::MissingInput);
    assert!(missing.message.contains("`W.scale`"), "{missing}");
}

/// A real layer, whose file also holds a tensor `y` that the kernel does not take.
#[test]
fn a_real_layer_binds_by_name() {
    let layer = "kernel layer(weight: i8[N, K] scale f32[N], x: bf16[M, K], bias: f32[N]) -> f32[M, N] \
                 { x @ dequant(weight).T + bias }";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/minilm/ffn_up_l0.safetensors");
    let flags = [InputFlag::All(path.into())];
    let got = resolve(&kernel(layer), &flags, &Sizes::new(), Missing::Refuse).unwrap();
    let sizes: Vec<(&str, u64)> = got.sizes.iter().map(|(n, s)| (&**n, *s)).collect();
    assert_eq!(sizes, [("K", 384), ("M", 64), ("N", 1536)]);
    assert_eq!(got.inputs[0].scale.as_ref().unwrap().shape(), [1536]);
}

#[test]
fn a_whole_file_that_feeds_nothing_or_twice() {
    let dir = Dir::new();
    let tensor: (&str, &str, &[usize], Vec<u8>) = ("bias", "F32", &[1], f32s(&[0.0]));
    dir.safetensors("a.safetensors", std::slice::from_ref(&tensor));
    dir.safetensors("b.safetensors", &[tensor]);
    dir.safetensors("c.safetensors", &[("z", "F32", &[1], f32s(&[0.0]))]);
    let twice = fault(&dir, LINEAR, &["@a.safetensors", "@b.safetensors"], "");
    assert!(twice.code == Code::BadUsage && twice.message.contains("`bias`"), "{twice}");
    let nothing = fault(&dir, LINEAR, &["@c.safetensors"], "");
    assert!(nothing.code == Code::TensorNotFound && nothing.help.unwrap().contains("`z`"));
}

#[test]
fn packed_and_unpacked_nibbles() {
    let dir = Dir::new();
    dir.npy("unpacked.npy", "|u1", &[1, 128], &[9; 128]);
    dir.npy("packed.npy", "|u1", &[1, 64], &[0xA9; 64]);
    let rest = ["W.scale=const:1", "W.zero=const:8", "X=randn:1"];
    let with = |file: &str, dims: &str| {
        let flags: Vec<&str> = std::iter::once(file).chain(rest).collect();
        resolved(&dir, GROUPED, &flags, dims).inputs[0].tensor.clone()
    };
    assert_eq!(with("W=@unpacked.npy", "M=1").shape(), [1, 128]);
    let packed = with("W=@packed.npy", "M=1,K=128");
    assert_eq!((packed.shape(), packed.value(0), packed.value(1)), (&[1, 128][..], 9.0, 10.0));
    // X fixes K although it stands after W.
    dir.npy_f32("x.npy", &[2, 128]);
    let got = resolved(&dir, GROUPED, &["W=@packed.npy", "W.scale=const:1", "W.zero=const:8", "X=@x.npy"], "");
    assert_eq!(got.inputs[0].tensor.shape(), [1, 128]);
}

#[test]
fn conflicts_name_both_sides() {
    let dir = Dir::new();
    dir.npy_f32("x.npy", &[3, 32]);
    dir.npy_f32("b.npy", &[8]);
    let by_flag = fault(&dir, LINEAR, &["W=randn:1", "X=@x.npy", "bias=@b.npy"], "K=64");
    assert_eq!(by_flag.code, Code::DimensionConflict);
    for word in ["`-D K=64`", "`X`", "x.npy", "32"] {
        assert!(by_flag.message.contains(word), "{by_flag}");
    }
    let square = "kernel add(A: f32[N, N], b: f32[N]) -> f32[N, N] { A + b }";
    dir.npy_f32("a.npy", &[3, 3]);
    let between = fault(&dir, square, &["A=@a.npy", "b=@b.npy"], "");
    assert_eq!(between.code, Code::DimensionConflict);
    for word in ["`A`", "a.npy", "3", "`b`", "b.npy", "8"] {
        assert!(between.message.contains(word), "{between}");
    }
}

#[test]
fn unknown_names() {
    let dir = Dir::new();
    let unknown = fault(&dir, LINEAR, &["W=randn:1", "X=randn:1", "bais=randn:1"], "N=1,K=1,M=1");
    assert_eq!((unknown.code, unknown.help.as_deref()), (Code::UnknownInput, Some("did you mean `bias`?")));
    let part = fault(&dir, LINEAR, &["X.scale=randn:1"], "");
    assert!(part.code == Code::UnknownInput && part.message.contains("`X.scale`"), "{part}");
    let zero = fault(&dir, LINEAR, &["W.zero=const:0"], "");
    assert!(zero.code == Code::UnknownInput && zero.message.contains("`W.zero`"), "{zero}");
    let all = ["W=randn:1", "X=randn:1", "bias=randn:1"];
    let dim = fault(&dir, LINEAR, &all, "N=1,K=1,M=1,Z=1");
    assert!(dim.code == Code::BadUsage && dim.message.contains("`Z`"), "{dim}");
    let twice = fault(&dir, LINEAR, &["X=randn:1", "X=randn:2"], "");
    assert!(twice.code == Code::BadUsage && twice.message.contains("twice"), "{twice}");
}

#[test]
fn everything_missing_is_said_at_once() {
    let dir = Dir::new();
    let faults = resolve_in(&dir, LINEAR, &["X=randn:1"], "", Missing::Refuse).unwrap_err();
    let names: Vec<&str> = faults.iter().map(|f| f.message.split('`').nth(1).unwrap()).collect();
    assert_eq!(names, ["W", "W.scale", "bias"]);
    assert!(faults.iter().all(|f| f.code == Code::MissingInput && f.span.is_some()));
    let faults = resolve_in(&dir, LINEAR, &["X=randn:1"], "", Missing::Random).unwrap_err();
    assert!(faults.len() == 3 && faults.iter().all(|f| f.code == Code::DimensionUnset), "{faults:?}");
}

#[test]
fn bench_draws_what_is_not_given() {
    let dir = Dir::new();
    let got = resolve_in(&dir, GROUPED, &[], "N=4,K=256,M=2", Missing::Random).unwrap();
    assert!(got.inputs[0].scale.is_some() && got.inputs[0].zero.is_some());
    assert_eq!(got.inputs[1].tensor.shape(), [2, 256]);
}

#[test]
fn sizes_that_cannot_be() {
    let dir = Dir::new();
    let all = ["W=randn:1", "X=randn:1"];
    // Of the scale and of the zero point.
    let group = resolve_in(&dir, GROUPED, &all, "N=4,K=100,M=1", Missing::Refuse).unwrap_err();
    assert!(group.len() == 2 && group.iter().all(|f| f.code == Code::Indivisible), "{group:?}");
    for dims in ["N=1048576,K=1048576,M=1", "N=281474976710656,K=281474976710656,M=1"] {
        let faults = resolve_in(&dir, GROUPED, &all, dims, Missing::Refuse).unwrap_err();
        assert!(faults.iter().all(|f| f.code == Code::TooLarge), "{faults:?}");
    }
    let empty = resolved(&dir, LINEAR, &["W=randn:1", "X=randn:1", "bias=randn:1"], "N=0,K=0,M=0");
    assert!(empty.inputs.iter().all(|i| i.tensor.is_empty()));
}

#[test]
fn a_bad_file_is_named_with_its_parameter() {
    let dir = Dir::new();
    dir.npy("i32.npy", "<i4", &[1, 4], &[0; 16]);
    dir.npy("nan.npy", "<f4", &[1], &f32s(&[f32::NAN]));
    dir.npy_f32("cube.npy", &[1, 1, 4]);
    std::fs::write(dir.path("short.npy"), b"\x93NUMPY").unwrap();
    dir.safetensors("a.safetensors", &[("z", "F32", &[1], f32s(&[0.0]))]);
    let base = ["W=randn:1", "bias=const:0"];
    let with = |flag: &str| {
        let flags: Vec<&str> = base.into_iter().chain([flag]).collect();
        let fault = fault(&dir, LINEAR, &flags, "N=1,K=4,M=1");
        assert!(fault.message.contains("`X`") && fault.span.is_some(), "{fault}");
        fault.code
    };
    assert_eq!(with("X=@i32.npy"), Code::InputType);
    assert_eq!(with("X=@cube.npy"), Code::InputShape);
    assert_eq!(with("X=@short.npy"), Code::FileMalformed);
    assert_eq!(with("X=@gone.npy"), Code::FileUnreadable);
    assert_eq!(with("X=@a.safetensors#x"), Code::TensorNotFound);
    let nan = fault(&dir, LINEAR, &["W=randn:1", "W.scale=@nan.npy", "X=randn:1", "bias=const:0"], "K=4,M=1");
    assert!(nan.code == Code::ScaleNotFinite && nan.message.contains("`W.scale`"), "{nan}");
    let mx = "kernel mx(W: mxfp4[N, K], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    dir.npy("power.npy", "|u1", &[1, 2], &[127, 255]);
    let nan = fault(&dir, mx, &["W=randn:1", "W.scale=@power.npy", "X=randn:1"], "K=64,M=1");
    assert!(nan.code == Code::ScaleNotFinite && nan.message.contains("`W.scale`"), "{nan}");
    assert!(nan.message.contains("0xFF") && nan.message.contains("[0, 1]"), "{nan}");
    let code = fault(&dir, LINEAR, &["W=const:200", "W.scale=const:1", "X=randn:1", "bias=const:0"], "N=1,K=4,M=1");
    assert!(code.code == Code::CodeOutOfRange && code.message.contains("`W`"), "{code}");
}
