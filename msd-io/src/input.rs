//! Reading files whose claims are untrusted: every read is bounded by the file's size, and a
//! buffer that does not fit in memory is a diagnostic.

use std::fs;
use std::io::Read;

use msd_ir::diag::{Code, Diagnostic};

use crate::raw::Origin;

/// Opens a regular file; returns it with its size in bytes.
pub(crate) fn open(origin: &Origin) -> Result<(fs::File, u64), Diagnostic> {
    let unreadable = |e: std::io::Error| origin.fault(Code::FileUnreadable, format_args!("cannot be read: {e}"));
    // Asked before opening, as opening a pipe waits for its writer.
    if !fs::metadata(origin.path()).map_err(unreadable)?.is_file() {
        return Err(origin.fault(Code::FileUnreadable, "cannot be read: it is not a regular file"));
    }
    let file = fs::File::open(origin.path()).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    Ok((file, size))
}

/// Reads exactly `length` bytes. The caller has checked that the file is that long.
pub(crate) fn read(file: &mut fs::File, length: usize, origin: &Origin) -> Result<Vec<u8>, Diagnostic> {
    let mut bytes = reserve(length, origin)?;
    let unreadable = |e: std::io::Error| origin.fault(Code::FileUnreadable, format_args!("cannot be read: {e}"));
    file.take(length as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() < length {
        return Err(origin.fault(Code::FileMalformed, "became shorter while it was read"));
    }
    Ok(bytes)
}

/// An empty vector with room for `length` elements.
pub(crate) fn reserve<T>(length: usize, origin: &Origin) -> Result<Vec<T>, Diagnostic> {
    let mut elements = Vec::new();
    elements.try_reserve_exact(length).map_err(|_| {
        let bytes = length.saturating_mul(size_of::<T>());
        origin.fault(Code::TooLarge, format_args!("does not fit in memory: it needs {bytes} bytes"))
    })?;
    Ok(elements)
}
