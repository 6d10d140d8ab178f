//! Headers of safetensors files, well and badly formed.

use msd_io::{Stored, safetensors};
use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dtype::DType;

use crate::{Scratch, convert_as_is, f32_bytes, read_safetensors, refused, safetensors_bytes};

fn open(bytes: &[u8]) -> Result<safetensors::File, Diagnostic> {
    let scratch = Scratch::new();
    safetensors::open(scratch.file("s.safetensors", bytes))
}

const TWO: &str = r#"{"__metadata__":{"format":"pt"},
    "b":{"dtype":"F32","shape":[2],"data_offsets":[2,10]},
    "a":{"dtype":"I8","shape":[2,1],"data_offsets":[0,2]}}"#;

fn two() -> Vec<u8> {
    let mut data = vec![1, 0xFF];
    data.extend(f32_bytes(&[0.5, -3.0]));
    safetensors_bytes(TWO, &data)
}

#[test]
fn reads_tensors_by_name() {
    let mut file = open(&two()).unwrap();
    assert_eq!(file.names(), ["a", "b"]);
    // Out of file order, and twice.
    for _ in 0..2 {
        let b = convert_as_is(file.read("b").unwrap(), DType::F32).unwrap();
        assert_eq!((b.shape(), b.to_f32()), (&[2][..], vec![0.5, -3.0]));
        let a = convert_as_is(file.read("a").unwrap(), DType::I8).unwrap();
        assert_eq!((a.shape(), a.to_f32()), (&[2, 1][..], vec![1.0, -1.0]));
    }
}

#[test]
fn a_missing_tensor_is_named_with_those_there_are() {
    refused(open(&two()).unwrap().read("w"), Code::TensorNotFound, "`w` (help: it holds `a`, `b`)");
    refused(open(&two()).unwrap().read("__metadata__"), Code::TensorNotFound, "s.safetensors");
    let empty = open(&safetensors_bytes("{}", &[])).unwrap();
    assert!(empty.names().is_empty());
}

#[test]
fn refuses_malformed_headers() {
    let with = |header: &str, data: usize| safetensors_bytes(header, &vec![0; data]);
    let tensor = |fields: &str| format!(r#"{{"t":{{{fields}}}}}"#);
    let mut cut_short = two();
    cut_short.truncate(30);
    let cases: &[(&str, Vec<u8>)] = &[
        ("shorter than 8", Vec::new()),
        ("shorter than 8", vec![2, 0, 0]),
        ("claims a header", u64::MAX.to_le_bytes().to_vec()),
        ("claims a header", cut_short),
        ("malformed", with("", 0)),
        ("malformed", with("not json", 0)),
        ("malformed", with("[]", 0)),
        ("malformed", with("\u{feff}{}", 0)),
        ("malformed", safetensors_bytes("{\"\\ud800\":1}", &[])),
        ("malformed", with(&format!(r#"{{"t":{}"#, "[".repeat(100_000)), 0)),
        ("malformed", with(&tensor(r#""dtype":"F31","shape":[1],"data_offsets":[0,4]"#), 4)),
        ("malformed", with(&tensor(r#""shape":[1],"data_offsets":[0,4]"#), 4)),
        ("malformed", with(&tensor(r#""dtype":"F32","shape":[-1],"data_offsets":[0,4]"#), 4)),
        ("malformed", with(&tensor(r#""dtype":"F32","shape":[2],"data_offsets":[0,4]"#), 4)),
        ("malformed", with(&tensor(r#""dtype":"F32","shape":[1],"data_offsets":[4,0]"#), 4)),
        ("malformed", with(&tensor(r#""dtype":"F32","shape":[1],"data_offsets":[4,8]"#), 8)),
        ("malformed", with(&tensor(r#""dtype":"F4","shape":[3],"data_offsets":[0,2]"#), 2)),
        ("overflow", with(&tensor(r#""dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]"#), 4)),
        ("truncated", with(&tensor(r#""dtype":"F32","shape":[2],"data_offsets":[0,8]"#), 7)),
        ("too long", with(&tensor(r#""dtype":"F32","shape":[2],"data_offsets":[0,8]"#), 9)),
        (
            "`t` appears twice",
            with(
                r#"{"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
                    "t":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#,
                1,
            ),
        ),
        (
            "malformed",
            with(
                r#"{"t":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},
                    "overlap":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
                3,
            ),
        ),
    ];
    for (names, bytes) in cases {
        refused(open(bytes), Code::FileMalformed, names);
        refused(open(bytes), Code::FileMalformed, "s.safetensors");
    }
}

/// Offsets up to 2^64 - 1: the sum with the header's length overflows in the `safetensors` crate.
#[test]
fn refuses_offsets_at_the_end_of_the_address_space() {
    let size = (1u64 << 61) - 1;
    let tensor = |i: u64, size: u64, start: u64| {
        format!(r#""t{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{start},{}]}}"#, start + size)
    };
    let mut tensors: Vec<String> = (0..8).map(|i| tensor(i, size, i * size)).collect();
    tensors.push(tensor(8, 7, 8 * size));
    refused(
        open(&safetensors_bytes(&format!("{{{}}}", tensors.join(",")), &[0; 16])),
        Code::FileMalformed,
        "18446744073709551615 bytes",
    );
}

#[test]
fn carries_its_own_types() {
    for (dtype, stored, bytes) in [
        ("F64", Stored::F64, 16),
        ("F32", Stored::F32, 8),
        ("F16", Stored::F16, 4),
        ("BF16", Stored::BF16, 4),
        ("I64", Stored::I64, 16),
        ("I32", Stored::I32, 8),
        ("I16", Stored::I16, 4),
        ("I8", Stored::I8, 2),
        ("U64", Stored::U64, 16),
        ("U32", Stored::U32, 8),
        ("U16", Stored::U16, 4),
        ("U8", Stored::U8, 2),
        ("BOOL", Stored::Bool, 2),
        ("F8_E4M3", Stored::F8E4M3, 2),
        ("F8_E5M2", Stored::F8E5M2, 2),
        ("F8_E8M0", Stored::F8E8M0, 2),
        ("F4", Stored::F4, 1),
    ] {
        let raw = read_safetensors(dtype, "[2]", &vec![0; bytes]).unwrap();
        assert_eq!((raw.stored(), raw.shape()), (stored, &[2][..]), "{dtype}");
    }
    refused(read_safetensors("F8_E4M3FNUZ", "[2]", &[0; 2]), Code::InputType, "F8_E4M3FNUZ");
    refused(read_safetensors("F6_E2M3", "[4]", &[0; 3]), Code::InputType, "tensor `t` of");
    refused(read_safetensors("C64", "[1]", &[0; 8]), Code::InputType, "C64");
}

#[test]
fn messages_hold_no_control_characters() {
    let fault = open(&safetensors_bytes(r#"{"t":{"dtype":"\u001b[31m"}}"#, &[])).unwrap_err();
    assert!(!fault.to_string().contains('\u{1b}'), "{fault}");
    let header = r#"{"\u001b[31m":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#;
    let fault = open(&safetensors_bytes(header, &[])).unwrap().read("\u{1b}").unwrap_err();
    assert!(!fault.to_string().contains('\u{1b}'), "{fault}");
}

#[test]
fn a_file_cut_after_opening_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.file("s.safetensors", &two());
    let mut file = safetensors::open(&path).unwrap();
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(two().len() as u64 - 3).unwrap();
    refused(file.read("b"), Code::FileMalformed, "shorter");
}

#[cfg(feature = "mmap")]
#[test]
fn a_mapped_file_gives_the_same_tensors() {
    use msd_ir::tensor::{Data, Tensor};
    let scratch = Scratch::new();
    let path = scratch.path("s.safetensors");
    // Longer than the pieces in which a mapping is copied, and of a length that ends within a word.
    let count = 40_003;
    let floats = Data::F32((0..count).map(|i| i as f32).collect());
    let floats = Tensor::new(DType::F32, vec![count], floats).unwrap();
    let codes = Tensor::from_codes(DType::I8, vec![count], (0..count).map(|i| (i % 256) as i64 - 128)).unwrap();
    safetensors::write(&path, &[("f", &floats), ("c", &codes), ("none", &zero())]).unwrap();
    let mut file = safetensors::open_mapped(&path).unwrap();
    assert_eq!(convert_as_is(file.read("f").unwrap(), DType::F32).unwrap(), floats);
    let kept = file.read("c").unwrap();
    drop(file);
    assert_eq!(convert_as_is(kept, DType::I8).unwrap(), codes);

    // A header whose length is no multiple of a word, so that no tensor is aligned.
    let header = r#"{"t":{"dtype":"U8","shape":[20],"data_offsets":[0,20]}}"#;
    assert_ne!(header.len() % 8, 0);
    let data: Vec<u8> = (0..20).collect();
    let path = scratch.file("odd.safetensors", &safetensors_bytes(header, &data));
    let raw = safetensors::open_mapped(path).unwrap().read("t").unwrap();
    assert_eq!(convert_as_is(raw, DType::U8).unwrap().data(), &Data::U8(data));

    fn zero() -> Tensor {
        Tensor::zeros(DType::F32, vec![0, 3]).unwrap()
    }
}
