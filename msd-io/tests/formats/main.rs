//! Files in and out, from the specification: what each stored type feeds, what is refused with
//! which code, and that no file, however damaged, makes a reader panic.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod convert;
mod garbage;
mod npy;
mod outputs;
mod real;
mod round_trip;
mod safetensors;

use std::path::PathBuf;

use msd_io::RawTensor;
use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dtype::DType;
use msd_ir::tensor::Tensor;
use tempfile::TempDir;

/// A directory for one test, removed with it.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Names of everything in the directory, temporary files included.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// An npy file of version 1.0 with this header text, unpadded.
fn npy_bytes(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn npy_array(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    npy_bytes(&format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n"), data)
}

fn safetensors_bytes(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

/// Reads the tensor `t` of a safetensors file of that type, shape and data.
fn read_safetensors(dtype: &str, shape: &str, data: &[u8]) -> Result<RawTensor, Diagnostic> {
    let scratch = Scratch::new();
    let end = data.len();
    let header = format!(r#"{{"t":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,{end}]}}}}"#);
    msd_io::safetensors::open(scratch.file("t.safetensors", &safetensors_bytes(&header, data)))?.read("t")
}

/// Reads an npy file `a.npy` of these bytes.
fn read_npy(bytes: &[u8]) -> Result<RawTensor, Diagnostic> {
    let scratch = Scratch::new();
    msd_io::npy::read(scratch.file("a.npy", bytes))
}

/// Converts to whatever shape the tensor has.
fn convert_as_is(raw: RawTensor, declared: DType) -> Result<Tensor, Diagnostic> {
    let any = vec![None; raw.shape().len()];
    msd_io::convert(raw, declared, &any)
}

/// Checks the code, and that the message names `names`.
fn refused<T: std::fmt::Debug>(result: Result<T, Diagnostic>, code: Code, names: &str) {
    let fault = result.unwrap_err();
    assert_eq!(fault.code, code, "{fault}");
    assert!(fault.to_string().contains(names), "{fault} does not say `{names}`");
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
