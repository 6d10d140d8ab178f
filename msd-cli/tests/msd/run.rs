//! `msd run`: values against data from elsewhere, equal bits on every way to compute them, and
//! faults of the inputs.

use std::fs;
use std::path::Path;

use msd::io::npy::{self, Halves};
use msd::io::{convert, safetensors};
use msd::ir::dtype::DType;
use msd::ir::tensor::Tensor;
use serde_json::Value;
use tempfile::TempDir;

use crate::{diagnostics, dir, json, msd, repository};

const LINEAR: &str = "kernel linear(W: i8[N, K] scale f32[N], X: f32[M, K]) -> f32[M, N] { X @ dequant(W).T }\n";

/// A product of odd sizes and something that depends on it, as two results.
const TWO: &str = "kernel two(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> (bf16[M, N], f32[M, 1]) {
    let Y = silu(X @ dequant(W).T);
    (Y, amax(Y))
}
";

fn tensor(raw: msd::io::RawTensor) -> Tensor {
    let shape: Vec<Option<usize>> = raw.shape().iter().map(|s| Some(*s)).collect();
    convert(raw, DType::F32, &shape).unwrap()
}

pub(crate) fn npy_file(dir: &TempDir, name: &str) -> Tensor {
    tensor(npy::read(dir.path().join(name)).unwrap())
}

fn relative_l2(y: &Tensor, truth: &Tensor) -> f64 {
    assert_eq!(y.shape(), truth.shape());
    let square = |f: &dyn Fn(usize) -> f64| (0..y.len()).map(|i| f(i).powi(2)).sum::<f64>();
    (square(&|i| y.value(i) - truth.value(i)) / square(&|i| truth.value(i))).sqrt()
}

#[test]
fn a_model_layer_has_the_error_of_its_scheme() {
    let dir = dir(&[]);
    for layer in ["ffn_up_l0", "ffn_down_l5"] {
        let data = repository(&format!("tests/data/minilm/{layer}.safetensors"));
        let truth = tensor(safetensors::open(&data).unwrap().read("y").unwrap());
        for (scheme, most) in [("int8x2-pow2", 4e-5), ("int8x2-greedy", 1e-4), ("int8x3-pow2", 1e-6)] {
            let kernel = repository("kernels/ffn_up.msd");
            let input = format!("@{data}");
            let args = ["run", &kernel, "-i", &input, "-o", "y.npy", "--scheme", scheme];
            let (status, object) = json(&dir, &args, "msd.run/1");
            assert_eq!(status, 0, "{object}");
            assert_eq!((&object["scheme"], &object["lowering"]), (&scheme.into(), &"msd".into()));
            let error = relative_l2(&npy_file(&dir, "y.npy"), &truth);
            assert!(error < most, "{layer} {scheme}: {error:e}");
            assert!(error > 1e-9, "{layer} {scheme}: {error:e} is too good for {scheme}");
        }
    }
}

/// The bytes of the outputs of `kernel` run with `more` arguments.
fn outputs(dir: &TempDir, args: &[&str], more: &[&str]) -> Vec<Vec<u8>> {
    let ran = msd(dir, &[args, more].concat());
    assert_eq!(ran.status, 0, "{more:?} {}", ran.stderr);
    let files = args.iter().filter(|a| a.ends_with(".npy"));
    files.map(|f| fs::read(dir.path().join(f)).unwrap()).collect()
}

const WAYS: [&[&str]; 4] =
    [&["--threads", "1"], &["--threads", "2"], &["--isa", "portable"], &["--target", "reference"]];

#[test]
fn every_way_gives_the_same_bytes() {
    let dir = dir(&[("two.msd", TWO.as_bytes())]);
    let kernel = repository("kernels/ffn_up.msd");
    let input = format!("@{}", repository("tests/data/minilm/ffn_up_l0.safetensors"));
    let layer: &[&str] = &["run", &kernel, "-i", &input, "-o", "y.npy"];
    let drawn = ["run", "two.msd", "-i", "W=randn:1", "-i", "X=randn:2", "-D", "N=37,K=53,M=5"];
    let two = [&drawn[..], &["-o", "a.npy", "-o", "b.npy"]].concat();
    for args in [layer, &two] {
        for lowering in ["msd", "dequant"] {
            let args = [args, &["--lowering", lowering]].concat();
            let first = outputs(&dir, &args, WAYS[0]);
            for way in &WAYS[1..] {
                assert!(outputs(&dir, &args, way) == first, "{args:?} {way:?}");
            }
        }
    }
}

#[test]
fn float_formats_run_with_random_weights() {
    let dir = dir(&[]);
    for (file, kernel) in [("mx", "mx"), ("fp8", "mxfp8"), ("nvfp4", "nvfp4"), ("fp8", "fp8"), ("fp8", "fp8_blocks")] {
        let path = repository(&format!("kernels/{file}.msd"));
        let args = ["run", &path, "--kernel", kernel, "-i", "W=randn:1", "-i", "X=randn:2", "-D", "N=128,K=256,M=3"];
        let factor: &[&str] = if kernel == "nvfp4" { &["-i", "s=const:0.5"] } else { &[] };
        let y = [&["-o", "y.npy"], factor].concat();
        let first = outputs(&dir, &[&args[..], &y].concat(), &[]);
        let y = npy_file(&dir, "y.npy");
        assert_eq!(y.shape(), [3, 128]);
        let squares: f64 = (0..y.len()).map(|i| y.value(i).powi(2)).sum();
        // Of order one, and nothing that is no number.
        assert!((0.05..3.0).contains(&(squares / y.len() as f64).sqrt()), "{kernel}: {squares}");
        for way in WAYS {
            assert_eq!(outputs(&dir, &[&args[..], &["-o", "y.npy"], factor].concat(), way), first, "{kernel} {way:?}");
        }
    }
}

/// A NaN among FP8 codes is a weight that is NaN: its output channel is lost, and no other.
#[test]
fn a_weight_that_is_no_number_spoils_its_channel() {
    let dir = dir(&[]);
    let mut codes = vec![0x38; 4 * 8];
    codes[8 + 3] = 0x7F;
    let tensor = Tensor::from_codes(DType::E4M3, vec![4, 8], codes.into_iter()).unwrap();
    npy::write(dir.path().join("w.npy"), &tensor, Halves::AsStored).unwrap();
    let kernel = repository("kernels/fp8.msd");
    let inputs = ["-i", "W=@w.npy", "-i", "W.scale=const:1", "-i", "X=const:1", "-D", "M=2", "-o", "y.npy"];
    for target in ["cpu", "reference"] {
        let args = [&["run", &kernel, "--kernel", "fp8", "--target", target][..], &inputs].concat();
        assert_eq!(msd(&dir, &args).status, 0);
        let y = npy_file(&dir, "y.npy").to_f32();
        assert!(y[1].is_nan() && y[5].is_nan() && y.iter().filter(|v| **v == 8.0).count() == 6, "{y:?}");
    }
}

#[test]
fn results_go_to_the_files_in_their_order() {
    let dir = dir(&[("two.msd", TWO.as_bytes())]);
    let args = ["run", "two.msd", "-i", "W=randn:1", "-i", "X=randn:2", "-D", "N=6,K=8,M=3", "--lowering", "msd"];
    let (status, object) = json(&dir, &[&args[..], &["-o", "a.npy"]].concat(), "msd.run/1");
    assert_eq!(status, 0, "{object}");
    let fields = |i: usize| ["index", "dtype", "shape", "file"].map(|f| object["outputs"][i][f].clone());
    assert_eq!(fields(0), [Value::from(0), "bf16".into(), serde_json::json!([3, 6]), "a.npy".into()]);
    assert_eq!(fields(1), [Value::from(1), "f32".into(), serde_json::json!([3, 1]), Value::Null]);
    assert_eq!((&object["target"], &object["isa"], &object["threads"]), (&"cpu".into(), &"native".into(), &1.into()));
    assert!(object["seconds"].as_f64().unwrap() > 0.0 && object["compile_ms"].as_f64().unwrap() > 0.0);
    let site = &object["sites"][0];
    assert_eq!((&site["weight"], &site["line"], &site["column"]), (&"W".into(), &2.into(), &18.into()));
    assert_eq!((&site["rule"], &site["scheme"]), (&"digit-split".into(), &"int8x2-pow2".into()));

    assert_eq!(msd(&dir, &[&args[..], &["-o", "b.npy", "--output-type", "declared"]].concat()).status, 0);
    let (wide, narrow) = (fs::read(dir.path().join("a.npy")).unwrap(), fs::read(dir.path().join("b.npy")).unwrap());
    assert_eq!(wide.len() - narrow.len(), 3 * 6 * 2);
    assert_eq!(npy_file(&dir, "a.npy").dtype(), DType::F32);

    let shown = msd(&dir, &args);
    assert!(shown.stdout.contains("bf16[3, 6]") && shown.stdout.contains("two.msd:2:18"), "{}", shown.stdout);
}

#[test]
fn the_kernel_is_never_the_output() {
    let dir = dir(&[("l.msd", LINEAR.as_bytes())]);
    let ran = msd(&dir, &["run", "l.msd", "-i", "W=randn:1", "-i", "X=randn:1", "-D", "N=4,K=4,M=1", "-o", "./l.msd"]);
    assert!(ran.status == 2 && ran.stderr.contains("what the command reads"), "{}", ran.stderr);
    assert_eq!(fs::read(dir.path().join("l.msd")).unwrap(), LINEAR.as_bytes());
}

#[test]
fn the_summary_counts_what_is_no_number() {
    let dir = dir(&[("k.msd", b"kernel k(x: f32[N]) -> f32[N] { x / x }")]);
    let ran = msd(&dir, &["run", "k.msd", "-i", "x=const:0", "-D", "N=3"]);
    assert!(ran.status == 0 && ran.stdout.contains("3 NaN"), "{} {}", ran.stdout, ran.stderr);
}

#[test]
fn more_files_than_results_is_a_usage_error() {
    let dir = dir(&[("l.msd", LINEAR.as_bytes())]);
    let args =
        ["run", "l.msd", "-i", "W=randn:1", "-i", "X=randn:1", "-D", "N=4,K=4,M=1", "-o", "a.npy", "-o", "b.npy"];
    let ran = msd(&dir, &args);
    assert!(ran.status == 2 && ran.stderr.contains("2 `-o` files"), "{}", ran.stderr);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn nothing_to_rewrite_is_a_plain_run() {
    let dir = dir(&[("d.msd", b"kernel double(X: f32[N]) -> f32[N] { X + X }")]);
    let args = ["run", "d.msd", "-i", "X=const:1.5", "-D", "N=3", "-o", "y.npy"];
    let (status, object) = json(&dir, &args, "msd.run/1");
    assert_eq!((status, &object["lowering"], &object["scheme"]), (0, &"plain".into(), &Value::Null));
    assert_eq!(npy_file(&dir, "y.npy").to_f32(), [3.0, 3.0, 3.0]);
}

fn write(dir: &TempDir, name: &str, dtype: DType, shape: &[usize], value: impl Fn(usize) -> f32) {
    let values: Vec<f32> = (0..shape.iter().product()).map(value).collect();
    let tensor = Tensor::from_f32(dtype, shape.to_vec(), &values).unwrap();
    npy::write(dir.path().join(name), &tensor, Halves::Widened).unwrap();
}

fn remains(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn bad_inputs_name_their_parameter_and_leave_no_output() {
    let grouped = "kernel g(W: i8[N, K] scale f32[N, K/128], X: f32[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let dir = dir(&[("l.msd", LINEAR.as_bytes()), ("g.msd", grouped.as_bytes())]);
    write(&dir, "codes.npy", DType::I8, &[4, 8], |i| i as f32);
    write(&dir, "scale.npy", DType::F32, &[4], |_| 0.5);
    write(&dir, "nan.npy", DType::F32, &[4], |i| if i == 2 { f32::NAN } else { 0.5 });
    write(&dir, "x.npy", DType::F32, &[2, 8], |i| i as f32);
    write(&dir, "floats.npy", DType::F32, &[4, 8], |i| i as f32);
    write(&dir, "wide.npy", DType::F32, &[2, 9], |i| i as f32);
    write(&dir, "flat.npy", DType::F32, &[16], |i| i as f32);
    let whole = fs::read(dir.path().join("x.npy")).unwrap();
    fs::write(dir.path().join("short.npy"), &whole[..whole.len() - 5]).unwrap();
    fs::write(dir.path().join("noise.npy"), b"this is no array").unwrap();

    let good = ["W=@codes.npy", "W.scale=@scale.npy", "X=@x.npy"];
    let cases: [(&str, [&str; 3], &str, &str); 8] = [
        ("l.msd", ["W=@floats.npy", good[1], good[2]], "E0603", "parameter `W`: `floats.npy`"),
        ("l.msd", [good[0], good[1], "X=@wide.npy"], "E0605", "`X`"),
        ("l.msd", [good[0], good[1], "X=@flat.npy"], "E0604", "`X`"),
        ("l.msd", [good[0], good[1], "X=@short.npy"], "E0703", "parameter `X`: `short.npy`"),
        ("l.msd", [good[0], "W.scale=@noise.npy", good[2]], "E0703", "parameter `W.scale`: `noise.npy`"),
        ("l.msd", [good[0], "W.scale=@gone.npy", good[2]], "E0701", "parameter `W.scale`: `gone.npy`"),
        ("l.msd", [good[0], "W.scale=@nan.npy", good[2]], "E0609", "`W.scale`"),
        ("g.msd", [good[0], "W.scale=const:1", good[2]], "E0607", "`W.scale`"),
    ];
    let files = remains(dir.path());
    for (kernel, inputs, code, words) in cases {
        let mut args = vec!["run", kernel, "-o", "y.npy"];
        args.extend(inputs.iter().flat_map(|i| ["-i", i]));
        let ran = msd(&dir, &args);
        assert!(ran.status == 1 && ran.stdout.is_empty(), "{inputs:?} {} {}", ran.status, ran.stderr);
        assert!(ran.stderr.contains(words) && ran.stderr.contains(code), "{}", ran.stderr);
        let (status, object) = json(&dir, &args, "msd.run/1");
        let found = diagnostics(&object);
        assert!(status == 1 && found.len() == 1 && found[0].contains(code), "{found:?}");
        assert_eq!(remains(dir.path()), files, "{inputs:?} left a file");
    }
    let args = ["run", "l.msd", "-o", "y.npy", "-i", good[0], "-i", good[1], "-i", good[2]];
    assert_eq!(msd(&dir, &args).status, 0);
    assert_eq!(remains(dir.path()), files + 1);
}

#[test]
fn a_file_that_cannot_be_written_keeps_the_others_from_appearing() {
    let dir = dir(&[("two.msd", TWO.as_bytes())]);
    let args = ["run", "two.msd", "-i", "W=randn:1", "-i", "X=randn:2", "-D", "N=6,K=8,M=3"];
    let ran = msd(&dir, &[&args[..], &["-o", "a.npy", "-o", "gone/b.npy"]].concat());
    assert!(ran.status == 1 && ran.stderr.contains("gone/b.npy"), "{}", ran.stderr);
    assert_eq!(remains(dir.path()), 1);
}

#[test]
fn what_the_command_line_gets_wrong() {
    let dir = dir(&[("l.msd", LINEAR.as_bytes())]);
    let cases: [(&[&str], i32, &str); 7] = [
        (&["--target", "ascend-910c"], 2, "ascend-910b"),
        (&["--isa", "avx3"], 2, "avx2"),
        (&["--kernel", "liner"], 2, "`linear`"),
        (&["-i", "Y=randn:1"], 2, "`Y`"),
        (&["-D", "Q=4"], 2, "`Q`"),
        (&["-D", "M=1,2"], 2, "bench"),
        (&["--scheme", "int8x4"], 2, "int8x"),
    ];
    for (args, status, words) in cases {
        let ran = msd(&dir, &[&["run", "l.msd", "-i", "W=randn:1", "-i", "X=randn:2"][..], args].concat());
        assert!(ran.status == status && ran.stderr.contains(words), "{args:?} {} {}", ran.status, ran.stderr);
    }
    let open = msd(&dir, &["run", "l.msd", "-i", "W=randn:1", "-i", "X=randn:2", "-D", "N=4,K=4"]);
    assert!(open.status == 1 && open.stderr.contains("`M`"), "{}", open.stderr);
    let missing = msd(&dir, &["run", "l.msd", "-i", "W=randn:1", "-D", "N=4,K=4,M=1"]);
    assert!(missing.status == 1 && missing.stderr.contains("`X`"), "{}", missing.stderr);
}

#[test]
fn a_measured_machine_plans_too() {
    let dir = dir(&[("l.msd", LINEAR.as_bytes())]);
    let args = ["run", "l.msd", "-i", "W=randn:1", "-i", "X=randn:2", "-D", "N=4,K=4,M=1", "--machine", "measured"];
    let (status, object) = json(&dir, &args, "msd.run/1");
    assert!(status == 0 && ["msd", "dequant"].contains(&object["lowering"].as_str().unwrap()), "{object}");
}
