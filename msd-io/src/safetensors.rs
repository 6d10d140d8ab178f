//! safetensors files: named tensors behind one JSON header. The `safetensors` crate owns the
//! header's types and the check that the tensors tile the data without gap or overlap; this module
//! owns reading a tensor at a time, the mapping of element types, and writing.
//!
//! The crate's own entry points are not used: they want the whole file in memory, add untrusted
//! offsets unchecked (a panic in debug builds), let a tensor named twice pass silently, and write
//! files that only their owner may read.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
#[cfg(feature = "mmap")]
use std::sync::Arc;

use ::safetensors::tensor::{Dtype, Metadata, TensorInfo};
use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dtype::DType;
use msd_ir::tensor::Tensor;
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::input;
use crate::layout::write_elements;
#[cfg(feature = "mmap")]
use crate::mapped::Mapping;
use crate::output::{Staged, commit};
use crate::raw::{Bytes, Excerpt, Order, Origin, RawTensor, Stored};

/// Bytes of the header's length, which begin the file.
const LENGTH_BYTES: u64 = 8;
/// Longest header, as in the `safetensors` crate.
const LONGEST_HEADER: u64 = 100_000_000;
/// The one key of the header that is not a tensor.
const METADATA_KEY: &str = "__metadata__";

/// An open file: its header, checked against its size, and access to its tensors.
#[derive(Debug)]
pub struct File {
    origin: Origin,
    source: Source,
    metadata: Metadata,
    /// Offset of the first tensor in the file.
    data_start: u64,
}

#[derive(Debug)]
enum Source {
    Read(fs::File),
    #[cfg(feature = "mmap")]
    Mapped(Arc<Mapping>),
}

/// Opens a file and reads its header; tensors are read when asked for.
///
/// # Errors
/// `FileUnreadable` if it cannot be opened, is not a regular file or fails to read;
/// `FileMalformed` if its header is, or if the tensors do not fill the file exactly;
/// `TooLarge` for a header of more than 100 MB.
pub fn open(path: impl AsRef<Path>) -> Result<File, Diagnostic> {
    let origin = Origin::file(path.as_ref());
    let (mut file, size) = input::open(&origin)?;
    let (metadata, data_start) = read_header(&mut file, size, &origin)?;
    Ok(File { origin, source: Source::Read(file), metadata, data_start })
}

/// Opens a file and maps it, so that tensors are converted without an intermediate copy.
///
/// The process dies if the file is truncated while the returned value, or a tensor read from it,
/// is in use; what is written to it meanwhile may or may not be seen. Map only files that nobody
/// changes; [`open`] has neither weakness.
///
/// # Errors
/// As [`open`].
#[cfg(feature = "mmap")]
pub fn open_mapped(path: impl AsRef<Path>) -> Result<File, Diagnostic> {
    let mut opened = open(path)?;
    if let Source::Read(file) = &opened.source {
        let unmappable = |what: &dyn fmt::Display| {
            opened.origin.fault(Code::FileUnreadable, format_args!("cannot be mapped: {what}"))
        };
        // `open` has checked that the file is this long.
        let length = usize::try_from(opened.data_start + opened.metadata.data_len() as u64)
            .map_err(|_| unmappable(&"it is larger than the address space"))?;
        opened.source = Source::Mapped(Arc::new(Mapping::new(file, length).map_err(|e| unmappable(&e))?));
    }
    Ok(opened)
}

impl File {
    /// Names of the tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.metadata.offset_keys();
        names.sort_unstable();
        names
    }

    /// Reads one tensor. Takes `&mut self` as it moves the position in the file.
    ///
    /// # Errors
    /// `TensorNotFound`, naming those there are; `InputType` for elements that feed no parameter
    /// of any type; `FileUnreadable` and `FileMalformed` if the file fails or shrinks meanwhile;
    /// `TooLarge` if memory does not suffice.
    pub fn read(&mut self, name: &str) -> Result<RawTensor, Diagnostic> {
        let origin = self.origin.tensor(name);
        let info = self.metadata.info(name).ok_or_else(|| self.not_found(name))?;
        let stored = stored_type(info.dtype).ok_or_else(|| {
            origin.fault(Code::InputType, format_args!("holds {} elements, which feed no parameter", info.dtype))
        })?;
        let (start, end) = info.data_offsets;
        let bytes = match &mut self.source {
            Source::Read(file) => {
                // `read_header` has checked that the sum is at most the file's size.
                file.seek(SeekFrom::Start(self.data_start + start as u64))
                    .map_err(|e| origin.fault(Code::FileUnreadable, format_args!("cannot be read: {e}")))?;
                Bytes::Read(input::read(file, end - start, &origin)?)
            }
            #[cfg(feature = "mmap")]
            Source::Mapped(mapping) => {
                let base = self.data_start as usize; // Within the mapping, so it fits.
                Bytes::Mapped(Arc::clone(mapping), base + start..base + end)
            }
        };
        Ok(RawTensor { origin, stored, shape: info.shape.clone(), order: Order::C, bytes })
    }

    fn not_found(&self, name: &str) -> Diagnostic {
        const LISTED: usize = 10;
        let names = self.names();
        let mut list: Vec<String> = names.iter().take(LISTED).map(|n| format!("`{}`", Excerpt(n))).collect();
        if names.len() > LISTED {
            list.push(format!("{} more", names.len() - LISTED));
        }
        let help =
            if list.is_empty() { "it holds no tensor".to_string() } else { format!("it holds {}", list.join(", ")) };
        self.origin.fault(Code::TensorNotFound, format_args!("holds no tensor `{}`", Excerpt(name))).help(help)
    }
}

/// Reads and checks the header of a file of `size` bytes; also returns where the data starts.
fn read_header(file: &mut fs::File, size: u64, origin: &Origin) -> Result<(Metadata, u64), Diagnostic> {
    let malformed = |what: &dyn fmt::Display| origin.fault(Code::FileMalformed, what);
    let left = size
        .checked_sub(LENGTH_BYTES)
        .ok_or_else(|| malformed(&"is not a safetensors file: it is shorter than 8 bytes"))?;
    let length = input::read(file, LENGTH_BYTES as usize, origin)?.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
    if length > left {
        return Err(malformed(&format_args!(
            "is truncated or not a safetensors file: it claims a header of {length} bytes, and {left} follow"
        )));
    }
    if length > LONGEST_HEADER {
        return Err(
            origin.fault(Code::TooLarge, format_args!("has a header of {length} bytes; at most 100 MB are read"))
        );
    }
    let text = input::read(file, length as usize, origin)?;
    let bad_header = |e: serde_json::Error| {
        malformed(&format_args!("has a malformed safetensors header: {}", Excerpt(&e.to_string())))
    };
    let _: UniqueKeys = serde_json::from_slice(&text).map_err(bad_header)?;
    let metadata: Metadata = serde_json::from_slice(&text).map_err(bad_header)?;
    let (stated, present) = (metadata.data_len() as u64, left - length);
    if stated != present {
        let relation = if present < stated { "truncated" } else { "too long" };
        return Err(malformed(&format_args!(
            "is {relation}: its header states {stated} bytes of data, and it holds {present}"
        )));
    }
    Ok((metadata, LENGTH_BYTES + length))
}

/// A JSON object without repeated keys. Of those, [`Metadata`] would keep the last.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(UniqueKeys)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = UniqueKeys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<IgnoredAny>()?;
            if let Some(key) = seen.replace(key) {
                return Err(de::Error::custom(format_args!("`{key}` appears twice")));
            }
        }
        Ok(self)
    }
}

/// `None` for types that feed no parameter and that a [`Stored`] does not name.
fn stored_type(dtype: Dtype) -> Option<Stored> {
    Some(match dtype {
        Dtype::F64 => Stored::F64,
        Dtype::F32 => Stored::F32,
        Dtype::F16 => Stored::F16,
        Dtype::BF16 => Stored::BF16,
        Dtype::I64 => Stored::I64,
        Dtype::I32 => Stored::I32,
        Dtype::I16 => Stored::I16,
        Dtype::I8 => Stored::I8,
        Dtype::U64 => Stored::U64,
        Dtype::U32 => Stored::U32,
        Dtype::U16 => Stored::U16,
        Dtype::U8 => Stored::U8,
        Dtype::BOOL => Stored::Bool,
        Dtype::F8_E4M3 => Stored::F8E4M3,
        Dtype::F8_E5M2 => Stored::F8E5M2,
        Dtype::F8_E8M0 => Stored::F8E8M0,
        Dtype::F4 => Stored::F4,
        _ => return None, // FP6, the FNUZ variants of FP8, complex, and what the crate adds.
    })
}

/// The type that [`write()`] gives elements, which are written one value or code per byte where
/// narrower.
fn written_type(dtype: DType) -> Dtype {
    match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 | DType::I4 => Dtype::I8,
        DType::U8 | DType::U4 | DType::E2M1 | DType::E1M2 => Dtype::U8,
        DType::E4M3 => Dtype::F8_E4M3,
        DType::E5M2 => Dtype::F8_E5M2,
        DType::E8M0 => Dtype::F8_E8M0,
        DType::Bool => Dtype::BOOL,
    }
}

/// Writes tensors under their names.
///
/// # Errors
/// `FileUnwritable`, also if two tensors have one name or one is called `__metadata__`; then the
/// file does not appear, and one of that name stays as it was.
pub fn write(path: impl AsRef<Path>, tensors: &[(&str, &Tensor)]) -> Result<(), Diagnostic> {
    commit(vec![stage(path, tensors)?])
}

/// Writes tensors without giving the file its name yet.
///
/// # Errors
/// As [`write()`].
pub fn stage(path: impl AsRef<Path>, tensors: &[(&str, &Tensor)]) -> Result<Staged, Diagnostic> {
    let path = path.as_ref();
    let unwritable = |what: &dyn fmt::Display| {
        Origin::file(path).fault(Code::FileUnwritable, format_args!("cannot be written: {what}"))
    };
    let mut names = HashSet::new();
    if let Some((name, _)) = tensors.iter().find(|(name, _)| *name == METADATA_KEY || !names.insert(*name)) {
        return Err(unwritable(&format_args!("the name `{}` is reserved or given twice", Excerpt(name))));
    }
    // Widest elements first, so that each tensor is aligned to its element; then by name.
    let mut tensors = tensors.to_vec();
    tensors.sort_by_key(|(name, tensor)| (std::cmp::Reverse(written_type(tensor.dtype())), *name));
    let mut end = 0;
    let infos = tensors.iter().map(|(name, tensor)| {
        let start = end;
        end += tensor.len() * tensor.dtype().host_bytes(); // In memory at once, so it fits.
        let info = TensorInfo {
            dtype: written_type(tensor.dtype()),
            shape: tensor.shape().to_vec(),
            data_offsets: (start, end),
        };
        (name.to_string(), info)
    });
    let metadata = Metadata::new(None, infos.collect()).map_err(|e| unwritable(&e))?;
    let mut header = serde_json::to_vec(&metadata).map_err(|e| unwritable(&e))?;
    header.resize(header.len().next_multiple_of(LENGTH_BYTES as usize), b' ');
    Staged::write(path, |sink| {
        sink.write_all(&(header.len() as u64).to_le_bytes())?;
        sink.write_all(&header)?;
        tensors.iter().try_for_each(|(_, tensor)| write_elements(sink, tensor.data()))
    })
}
