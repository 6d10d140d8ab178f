//! Weights in the layouts tiles read. Packing happens once per weight, on the caller's thread;
//! the packed bytes are shared by any number of calls.

use std::ptr::NonNull;

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dim::{Dim, Sizes};
use msd_ir::tensor::{Data, Tensor};

use crate::isa::internal;
use crate::schedule::{Layout, View};
use crate::tile::PANEL;

/// Cache line: the alignment of scratch buffers.
const LINE: usize = 64;

/// Size of a large page, and the alignment of whatever fills several.
const LARGE_PAGE: usize = 2 << 20;

/// Zeroed bytes on cache-line boundaries; large blocks lie on large pages where the system has them.
pub(crate) struct Aligned {
    start: NonNull<u8>,
    layout: std::alloc::Layout,
}

// SAFETY: `Aligned` owns its bytes like a `Vec<u8>` does.
unsafe impl Send for Aligned {}
// SAFETY: shared access only reads addresses; writes need `&mut`.
unsafe impl Sync for Aligned {}

impl Aligned {
    /// At least `bytes` zero bytes, and never none, so that the address is always good.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub(crate) fn zeroed(bytes: usize) -> Result<Aligned, Diagnostic> {
        let too_large =
            || Diagnostic::new(Code::TooLarge, format!("no memory for {bytes} bytes")).help("choose smaller sizes");
        let align = if bytes >= 2 * LARGE_PAGE { LARGE_PAGE } else { LINE };
        let size = bytes.max(1).checked_next_multiple_of(align).ok_or_else(too_large)?;
        let layout = std::alloc::Layout::from_size_align(size, align).map_err(|_| too_large())?;
        // SAFETY: the size is not zero.
        let start = unsafe { std::alloc::alloc(layout) };
        let start = NonNull::new(start).ok_or_else(too_large)?;
        advise_large_pages(start, layout);
        // SAFETY: the block was just allocated with this size; any byte is a valid `u8`.
        unsafe { start.as_ptr().write_bytes(0, size) };
        Ok(Aligned { start, layout })
    }

    pub(crate) fn as_ptr(&self) -> *const u8 {
        self.start.as_ptr()
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.layout.size()
    }

    /// The same bytes at another place.
    pub(crate) fn duplicate(&self) -> Result<Aligned, Diagnostic> {
        let mut copy = Aligned::zeroed(self.len())?;
        // SAFETY: the block is this long and was initialised when it was made.
        let bytes = unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len()) };
        copy.bytes_mut().copy_from_slice(bytes);
        Ok(copy)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the block is this long, initialised when it was made, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this layout, and freed only here.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// Asks for large pages before the first touch: streams of weights then cross fewer page borders,
/// where hardware prefetchers stop.
#[cfg(target_os = "linux")]
fn advise_large_pages(start: NonNull<u8>, layout: std::alloc::Layout) {
    const MADV_HUGEPAGE: std::ffi::c_int = 14;
    unsafe extern "C" {
        fn madvise(address: *mut std::ffi::c_void, length: usize, advice: std::ffi::c_int) -> std::ffi::c_int;
    }
    if layout.align() == LARGE_PAGE {
        // SAFETY: the range is ours and page-aligned; the advice changes no content. That it may be
        // refused is no fault.
        let _ = unsafe { madvise(start.as_ptr().cast(), layout.size(), MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise_large_pages(_: NonNull<u8>, _: std::alloc::Layout) {}

/// A view with its sizes known: extents and element strides of `[batch.., rows, columns]`.
#[derive(Clone, PartialEq)]
pub(crate) struct Strided {
    shape: Vec<usize>,
    strides: Vec<usize>,
    offset: usize,
}

impl Strided {
    pub(crate) fn new(view: &View, sizes: &Sizes) -> Result<Strided, Diagnostic> {
        let eval = |d: &Dim| d.eval(sizes).map_err(internal).map(|n| n as usize);
        Ok(Strided {
            shape: view.shape.iter().map(eval).collect::<Result<_, _>>()?,
            strides: view.strides.iter().map(eval).collect::<Result<_, _>>()?,
            offset: eval(&view.offset)?,
        })
    }

    /// Offsets of each batch's first element, batches in row-major order.
    fn batches(&self) -> Vec<usize> {
        if self.shape.contains(&0) {
            return Vec::new();
        }
        let outer = self.shape.len() - 2;
        let mut offsets = vec![self.offset];
        for (size, stride) in self.shape[..outer].iter().zip(&self.strides) {
            offsets = offsets.iter().flat_map(|o| (0..*size).map(move |i| o + i * stride)).collect();
        }
        offsets
    }
}

/// Packs the codes that `source` selects from `codes`.
pub(crate) fn pack(codes: &Tensor, source: &Strided, layout: &Layout) -> Result<Aligned, Diagnostic> {
    match (codes.data(), layout) {
        (Data::I8(v), Layout::Rows { offset: true }) => pack_rows(v, source, |c| [c as u8 ^ 0x80]),
        (Data::I8(v), Layout::Rows { offset: false }) => pack_rows(v, source, |c| [c as u8]),
        (Data::U8(v), Layout::Rows { .. }) => pack_rows(v, source, |c| [c]),
        (_, Layout::Rows { .. }) => Err(internal("only bytes are packed as rows")),
        (Data::I8(v), Layout::Panels) => pack_panels(v, source, |c| [c as u8]),
        (Data::U8(v), Layout::Panels) => pack_panels(v, source, |c| [c]),
        (Data::U16(v), Layout::Panels) => pack_panels(v, source, u16::to_le_bytes),
        (Data::I32(v), Layout::Panels) => pack_panels(v, source, i32::to_le_bytes),
        (Data::F32(v), Layout::Panels) => pack_panels(v, source, f32::to_le_bytes),
        (Data::I64(_) | Data::F64(_), Layout::Panels) => Err(internal("accumulators are never packed")),
    }
}

/// `[batch][n][k]`, each element `code(c)`.
fn pack_rows<T: Copy, const B: usize>(
    values: &[T],
    source: &Strided,
    code: impl Fn(T) -> [u8; B],
) -> Result<Aligned, Diagnostic> {
    let rank = source.shape.len();
    let (rows, columns) = (source.shape[rank - 2], source.shape[rank - 1]);
    let (row_step, column_step) = (source.strides[rank - 2], source.strides[rank - 1]);
    let batches = source.batches();
    let mut packed = Aligned::zeroed(batches.len() * rows * columns * B)?;
    let mut targets = packed.bytes_mut().chunks_exact_mut(B);
    for start in batches {
        for row in 0..rows {
            let first = start + row * row_step;
            for (column, target) in (0..columns).zip(&mut targets) {
                target.copy_from_slice(&code(element(values, first + column * column_step)?));
            }
        }
    }
    Ok(packed)
}

/// `[batch][ceil(n / PANEL)][k][PANEL]`, zeros past the last column; `source` is `[.., k, n]`.
fn pack_panels<T: Copy, const B: usize>(
    values: &[T],
    source: &Strided,
    code: impl Fn(T) -> [u8; B],
) -> Result<Aligned, Diagnostic> {
    let rank = source.shape.len();
    let (depth, columns) = (source.shape[rank - 2], source.shape[rank - 1]);
    let (depth_step, column_step) = (source.strides[rank - 2], source.strides[rank - 1]);
    let panels = columns.div_ceil(PANEL);
    let batches = source.batches();
    let mut packed = Aligned::zeroed(batches.len() * panels * depth * PANEL * B)?;
    let bytes = packed.bytes_mut();
    let mut at = 0;
    for start in batches {
        for first in (0..columns).step_by(PANEL) {
            let width = PANEL.min(columns - first);
            for k in 0..depth {
                let row = start + k * depth_step + first * column_step;
                for (j, target) in bytes[at..].chunks_exact_mut(B).take(width).enumerate() {
                    target.copy_from_slice(&code(element(values, row + j * column_step)?));
                }
                at += PANEL * B;
            }
        }
    }
    Ok(packed)
}

fn element<T: Copy>(values: &[T], index: usize) -> Result<T, Diagnostic> {
    values.get(index).copied().ok_or_else(|| internal("packing beyond the tensor"))
}
