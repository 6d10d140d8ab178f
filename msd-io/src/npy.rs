//! npy files: one tensor each. The header is in `npy_header.rs`, the meaning of elements in
//! `layout.rs`.

use std::io::Write;
use std::path::Path;

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dtype::DType;
use msd_ir::tensor::Tensor;

use crate::input;
use crate::layout::{write_elements, write_widened};
use crate::npy_header::{self, MAX_RANK};
use crate::output::{Staged, commit};
use crate::raw::{Bytes, Origin, RawTensor};

/// Reads the array of an npy file of version 1.0, 2.0 or 3.0.
///
/// # Errors
/// `FileUnreadable` if it cannot be opened, is not a regular file or fails to read;
/// `FileMalformed` if its header is, or if the data is shorter or longer than the header states;
/// `InputType` for elements that feed no parameter of any type (big-endian, pickled, structured);
/// `TooLarge` if the stated shape overflows or memory does not suffice.
pub fn read(path: impl AsRef<Path>) -> Result<RawTensor, Diagnostic> {
    let origin = Origin::file(path.as_ref());
    let (mut file, size) = input::open(&origin)?;
    let header = npy_header::read(&mut file, size, &origin)?;
    let length = header
        .stored
        .bytes(&header.shape)
        .ok_or_else(|| origin.fault(Code::TooLarge, "states a shape whose size in bytes overflows"))?;
    let present = size - header.data_start;
    if present != length as u64 {
        let relation = if present < length as u64 { "truncated" } else { "too long" };
        return Err(origin.fault(
            Code::FileMalformed,
            format_args!("is {relation}: its header states {length} bytes of data, and it holds {present}"),
        ));
    }
    let bytes = Bytes::Read(input::read(&mut file, length, &origin)?);
    Ok(RawTensor { origin, stored: header.stored, shape: header.shape, order: header.order, bytes })
}

/// What [`write()`] makes of `f16` and `bf16` elements. Other types have one form: integers and
/// `bool` as NumPy has them, `i4` as int8 values, codes of small floats and `u4` as uint8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Halves {
    /// float32, which every program reads.
    #[default]
    Widened,
    /// `f16` as float16; `bf16` as `V2`, two opaque bytes, as which NumPy saves bfloat16.
    AsStored,
}

/// Writes one tensor in C order; [`stage`] and [`commit`] write several.
///
/// # Errors
/// `FileUnwritable`; then the file does not appear, and one of that name stays as it was.
pub fn write(path: impl AsRef<Path>, tensor: &Tensor, halves: Halves) -> Result<(), Diagnostic> {
    commit(vec![stage(path, tensor, halves)?])
}

/// Writes one tensor without giving the file its name yet.
///
/// # Errors
/// As [`write()`].
pub fn stage(path: impl AsRef<Path>, tensor: &Tensor, halves: Halves) -> Result<Staged, Diagnostic> {
    let path = path.as_ref();
    let widened = halves == Halves::Widened && matches!(tensor.dtype(), DType::F16 | DType::BF16);
    let written = if widened { DType::F32 } else { tensor.dtype() };
    let header = npy_header::write(descr(written), tensor.shape()).ok_or_else(|| {
        Origin::file(path).fault(
            Code::FileUnwritable,
            format_args!("cannot be written: {} dimensions, and npy has at most {MAX_RANK}", tensor.shape().len()),
        )
    })?;
    Staged::write(path, |sink| {
        sink.write_all(&header)?;
        if widened { write_widened(sink, tensor) } else { write_elements(sink, tensor.data()) }
    })
}

/// The npy type string of elements as [`write_elements`] writes them.
fn descr(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "<f8",
        DType::F32 => "<f4",
        DType::F16 => "<f2",
        DType::BF16 => "<V2",
        DType::I64 => "<i8",
        DType::I32 => "<i4",
        DType::I16 => "<i2",
        DType::I8 | DType::I4 => "|i1",
        DType::U8 | DType::U4 | DType::E4M3 | DType::E5M2 | DType::E2M1 | DType::E1M2 | DType::E8M0 => "|u1",
        DType::Bool => "|b1",
    }
}
