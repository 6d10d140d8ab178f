//! Outputs appear whole or not at all.

use msd_io::npy::{self, Halves};
use msd_io::{commit, safetensors};
use msd_ir::diag::Code;
use msd_ir::dtype::DType;
use msd_ir::tensor::Tensor;

use crate::{Scratch, refused};

fn ones(dtype: DType) -> Tensor {
    Tensor::from_f32(dtype, vec![2, 3], &[1.0; 6]).unwrap()
}

#[test]
fn npy_headers_are_those_of_numpy() {
    let scratch = Scratch::new();
    let path = scratch.path("a.npy");
    let header = |tensor: &Tensor, halves| {
        npy::write(&path, tensor, halves).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes[..10], *b"\x93NUMPY\x01\x00v\x00");
        assert_eq!(bytes[127], b'\n');
        (String::from_utf8(bytes[10..127].to_vec()).unwrap().trim_end().to_string(), bytes[128..].to_vec())
    };
    let (text, data) = header(&ones(DType::BF16), Halves::Widened);
    assert_eq!(text, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }");
    assert_eq!(data, 1f32.to_le_bytes().repeat(6));
    let (text, data) = header(&ones(DType::BF16), Halves::AsStored);
    assert_eq!(text, "{'descr': '<V2', 'fortran_order': False, 'shape': (2, 3), }");
    assert_eq!(data, [0x80, 0x3F].repeat(6));
    let (text, _) = header(&ones(DType::F16), Halves::AsStored);
    assert_eq!(text, "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }");
    let (text, data) = header(&ones(DType::I4).reshaped(vec![6]).unwrap(), Halves::Widened);
    assert_eq!(text, "{'descr': '|i1', 'fortran_order': False, 'shape': (6,), }");
    assert_eq!(data, [1; 6]);
    let (text, _) = header(&Tensor::zeros(DType::Bool, vec![]).unwrap(), Halves::Widened);
    assert_eq!(text, "{'descr': '|b1', 'fortran_order': False, 'shape': (), }");
}

#[test]
fn staged_outputs_have_no_name_until_committed() {
    let scratch = Scratch::new();
    let a = npy::stage(scratch.path("a.npy"), &ones(DType::F32), Halves::Widened).unwrap();
    let b = safetensors::stage(scratch.path("b.safetensors"), &[("t", &ones(DType::F32))]).unwrap();
    assert!(scratch.names().iter().all(|n| n.starts_with(".msd-")));
    commit(vec![a, b]).unwrap();
    assert_eq!(scratch.names(), ["a.npy", "b.safetensors"]);

    drop(npy::stage(scratch.path("c.npy"), &ones(DType::F32), Halves::Widened).unwrap());
    assert_eq!(scratch.names(), ["a.npy", "b.safetensors"]);
}

#[test]
fn a_failed_commit_leaves_no_output() {
    let scratch = Scratch::new();
    let stage = |name: &str| npy::stage(scratch.path(name), &ones(DType::F32), Halves::Widened).unwrap();
    let staged = vec![stage("a.npy"), stage("b.npy"), stage("c.npy")];
    // Something that no file can replace takes the second name.
    std::fs::create_dir(scratch.path("b.npy")).unwrap();
    refused(commit(staged), Code::FileUnwritable, "b.npy");
    assert_eq!(scratch.names(), ["b.npy"]);
}

#[test]
fn two_outputs_with_one_target_are_refused() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("d")).unwrap();
    let stage = |name: &str| npy::stage(scratch.path(name), &ones(DType::F32), Halves::Widened).unwrap();
    let staged = vec![stage("a.npy"), stage("d/../a.npy")];
    refused(commit(staged), Code::FileUnwritable, "two outputs");
    assert_eq!(scratch.names(), ["d"]);
}

#[test]
fn refuses_targets_that_cannot_be_files() {
    let scratch = Scratch::new();
    let write = |path: std::path::PathBuf| npy::write(path, &ones(DType::F32), Halves::Widened);
    refused(write(scratch.path("absent/a.npy")), Code::FileUnwritable, "absent/a.npy");
    refused(write(scratch.path("")), Code::FileUnwritable, "regular file");
    refused(write("..".into()), Code::FileUnwritable, "regular file");
    // Renaming onto a device would replace it.
    #[cfg(unix)]
    refused(write("/dev/null".into()), Code::FileUnwritable, "regular file");
    assert!(scratch.names().is_empty());
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let scratch = Scratch::new();
    let path = scratch.file("s.safetensors", b"old");
    let t = ones(DType::F32);
    refused(safetensors::write(&path, &[("t", &t), ("t", &t)]), Code::FileUnwritable, "`t`");
    refused(safetensors::write(&path, &[("__metadata__", &t)]), Code::FileUnwritable, "__metadata__");
    let deep = Tensor::zeros(DType::F32, vec![1; 65]).unwrap();
    refused(npy::write(&path, &deep, Halves::Widened), Code::FileUnwritable, "65 dimensions");
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(scratch.names(), ["s.safetensors"]);
    safetensors::write(&path, &[("t", &t)]).unwrap();
    assert_eq!(safetensors::open(&path).unwrap().names(), ["t"]);
}

#[cfg(unix)]
#[test]
fn outputs_are_ordinary_files() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    npy::write(scratch.path("a.npy"), &ones(DType::F32), Halves::Widened).unwrap();
    let plain = scratch.file("plain", b"");
    let mode = |path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(scratch.path("a.npy")), mode(plain));

    // A symbolic link is followed, not replaced.
    std::os::unix::fs::symlink(scratch.path("a.npy"), scratch.path("link.npy")).unwrap();
    npy::write(scratch.path("link.npy"), &ones(DType::I8), Halves::Widened).unwrap();
    assert!(std::fs::symlink_metadata(scratch.path("link.npy")).unwrap().is_symlink());
    assert_eq!(npy::read(scratch.path("a.npy")).unwrap().stored(), msd_io::Stored::I8);
}
