//! Memory mapping, the only `unsafe` of this crate. Owns the mapping and copying out of it;
//! refuses to lend its bytes.
//!
//! Another process may write to or truncate a mapped file at any time. Rust assumes that bytes
//! behind a `&[u8]` do not change, so no reference into the mapping is ever made: bytes are
//! copied out by volatile loads, and a concurrent write merely yields other numbers, as it does
//! when reading. A truncated file is worse: touching a page past its new end raises `SIGBUS`
//! (an exception on Windows, which forbids the truncation instead), and the process dies. That
//! is why mapping is opt-in, at compile time and at each call.
#![allow(unsafe_code, reason = "loads from a mapping, which no safe interface offers without lending a reference")]

use std::fs;
use std::io;
use std::ptr;

use memmap2::{MmapOptions, MmapRaw};

/// A file mapped for reading.
#[derive(Debug)]
pub(crate) struct Mapping(MmapRaw);

impl Mapping {
    /// Maps the first `length` bytes of `file`.
    pub(crate) fn new(file: &fs::File, length: usize) -> io::Result<Mapping> {
        MmapOptions::new().len(length).map_raw_read_only(file).map(Mapping)
    }

    /// Copies the bytes from offset `start` on into `target`. Bytes past the mapping's end, which
    /// no caller asks for, are left alone.
    pub(crate) fn copy(&self, start: usize, target: &mut [u8]) {
        const WORD: usize = size_of::<usize>();
        let length = target.len().min(self.0.len().saturating_sub(start));
        let (target, mut copied) = (&mut target[..length], 0);
        while copied < length {
            let at = start + copied;
            if at.is_multiple_of(WORD)
                && let Some(word) = target[copied..].first_chunk_mut::<WORD>()
            {
                // SAFETY: `at + WORD <= start + length <= len`, so the load lies inside the mapping,
                // which lives as long as `self`; it is aligned, as `at` is a multiple of the word
                // and a mapping starts on a page. No reference to these bytes exists.
                let value = unsafe { ptr::read_volatile(self.0.as_ptr().add(at).cast::<usize>()) };
                *word = value.to_ne_bytes();
                copied += WORD;
            } else {
                // SAFETY: `at < start + length <= len`: inside the mapping, as above; bytes are
                // always aligned.
                target[copied] = unsafe { ptr::read_volatile(self.0.as_ptr().add(at)) };
                copied += 1;
            }
        }
    }
}
