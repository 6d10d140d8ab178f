//! Bytes in the layouts code reads: weights for tiles, strided arrays made dense. Works on bytes,
//! as layouts only move elements; owns neither when that happens nor who keeps the result.

use std::ptr::NonNull;

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dim::{Dim, Sizes};
use msd_ir::dtype::{DType, f32_to_bf16};
use msd_ir::tensor::{DataRef, TensorView};

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
        copy.bytes_mut().copy_from_slice(self.bytes());
        Ok(copy)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the block is this long, and was initialised when it was made.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len()) }
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
#[derive(Clone, Debug, PartialEq)]
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

    /// Bytes of the packed form.
    ///
    /// # Errors
    /// If their number does not fit the address space.
    pub(crate) fn packed_bytes(&self, layout: &Layout, dtype: DType) -> Result<usize, Diagnostic> {
        let (outer, matrix) = self.shape.split_at(self.shape.len() - 2);
        let last = match layout {
            Layout::Rows { .. } => Some(matrix[1]),
            Layout::Panels => matrix[1].checked_next_multiple_of(PANEL),
        };
        let sizes = outer.iter().copied().chain([matrix[0], layout.stored(dtype).host_bytes()]);
        let bytes = last.and_then(|last| sizes.into_iter().try_fold(last, usize::checked_mul));
        bytes.ok_or_else(|| {
            Diagnostic::new(Code::TooLarge, "a weight is too large to pack").help("choose smaller sizes")
        })
    }

    /// Number of matrices that hold anything.
    fn batches(&self) -> usize {
        let outer = self.shape.len() - 2;
        if self.shape[outer..].contains(&0) { 0 } else { self.shape[..outer].iter().product() }
    }

    /// Offset of the first element of a matrix, matrices in row-major order.
    fn batch_start(&self, batch: usize) -> usize {
        let outer = self.shape.len() - 2;
        self.offset + offset_of(batch, &self.shape[..outer], &self.strides[..outer])
    }
}

/// Offset of element `index` in row-major order of an array of that shape and strides.
fn offset_of(mut index: usize, shape: &[usize], strides: &[usize]) -> usize {
    let mut offset = 0;
    for (size, stride) in shape.iter().zip(strides).rev() {
        offset += index % size * stride;
        index /= size;
    }
    offset
}

/// Bytes of elements; 4-bit types take one each.
pub(crate) fn bytes_of(data: DataRef<'_>) -> &[u8] {
    fn bytes<T: Copy>(values: &[T]) -> &[u8] {
        // SAFETY: called below with numbers and `bool` only, whose every byte is initialised; the
        // slice is borrowed for as long, and any address is aligned for bytes.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
    }
    match data {
        DataRef::F32(v) => bytes(v),
        DataRef::F64(v) => bytes(v),
        DataRef::U16(v) => bytes(v),
        DataRef::I16(v) => bytes(v),
        DataRef::I32(v) => bytes(v),
        DataRef::I64(v) => bytes(v),
        DataRef::I8(v) => bytes(v),
        DataRef::U8(v) => v,
        DataRef::Bool(v) => bytes(v),
    }
}

/// Packs the codes of type `dtype` that `source` selects from `codes` into `target`, which has at
/// least [`Strided::packed_bytes`].
pub(crate) fn pack(
    codes: &[u8],
    dtype: DType,
    source: &Strided,
    layout: &Layout,
    target: &mut Aligned,
) -> Result<(), Diagnostic> {
    let target = target.bytes_mut();
    match (layout, dtype.host_bytes()) {
        (Layout::Rows { offset }, 1) => pack_rows(codes, source, &stored_as(dtype, *offset), target),
        (Layout::Rows { .. }, _) => Err(internal("only bytes are packed as rows")),
        (Layout::Panels, 1) if dtype.minifloat().is_some() => {
            let stored = as_bf16(dtype);
            pack_panels(codes, source, |[code]| stored[code as usize], target)
        }
        (Layout::Panels, 1) => pack_panels::<1, 1>(codes, source, |code| code, target),
        (Layout::Panels, 2) => pack_panels::<2, 2>(codes, source, |code| code, target),
        (Layout::Panels, 4) => pack_panels::<4, 4>(codes, source, |code| code, target),
        (Layout::Panels, _) => Err(internal("accumulators are never packed")),
    }
}

/// The byte that stands for each code: itself, or the steps of a float of 4 bits; 128 more where that
/// is wanted.
fn stored_as(dtype: DType, offset: bool) -> [u8; 256] {
    let mut bytes = [0; 256];
    for (code, byte) in (0..=u8::MAX).zip(&mut bytes) {
        let number = match dtype.minifloat() {
            Some(format) => (format.decode(code) / format.step()) as i8 as u8,
            None => code,
        };
        *byte = if offset { number ^ 0x80 } else { number };
    }
    bytes
}

/// The BF16 that equals each code of a small float.
fn as_bf16(dtype: DType) -> [[u8; 2]; 256] {
    let mut values = [[0; 2]; 256];
    for (code, value) in (0..=u8::MAX).zip(&mut values) {
        let exact = dtype.minifloat().map_or(0.0, |format| format.decode(code));
        *value = f32_to_bf16(exact).to_ne_bytes();
    }
    values
}

/// `[batch][n][k]`, each code as the byte that stands for it.
fn pack_rows(codes: &[u8], source: &Strided, stored: &[u8; 256], target: &mut [u8]) -> Result<(), Diagnostic> {
    let rank = source.shape.len();
    let (rows, columns) = (source.shape[rank - 2], source.shape[rank - 1]);
    let (row_step, column_step) = (source.strides[rank - 2], source.strides[rank - 1]);
    let mut targets = target.iter_mut();
    for batch in 0..source.batches() {
        for row in 0..rows {
            let first = source.batch_start(batch) + row * row_step;
            for (column, target) in (0..columns).zip(&mut targets) {
                let [code] = element(codes, first + column * column_step)?;
                *target = stored[code as usize];
            }
        }
    }
    Ok(())
}

/// `[batch][ceil(n / PANEL)][k][PANEL]`, zeros past the last column; `source` is `[.., k, n]`.
fn pack_panels<const B: usize, const T: usize>(
    codes: &[u8],
    source: &Strided,
    stored: impl Fn([u8; B]) -> [u8; T],
    target: &mut [u8],
) -> Result<(), Diagnostic> {
    let rank = source.shape.len();
    let (depth, columns) = (source.shape[rank - 2], source.shape[rank - 1]);
    let (depth_step, column_step) = (source.strides[rank - 2], source.strides[rank - 1]);
    let mut targets = target.chunks_exact_mut(PANEL * T);
    for batch in 0..source.batches() {
        for first in (0..columns).step_by(PANEL) {
            let width = PANEL.min(columns - first);
            for (k, target) in (0..depth).zip(&mut targets) {
                let row = source.batch_start(batch) + k * depth_step + first * column_step;
                let (elements, padding) = target.split_at_mut(width * T);
                for (j, target) in elements.chunks_exact_mut(T).enumerate() {
                    target.copy_from_slice(&stored(element(codes, row + j * column_step)?));
                }
                padding.fill(0);
            }
        }
    }
    Ok(())
}

/// Copies a tensor to dense row-major order.
pub(crate) fn gather(view: &TensorView<'_>, target: &mut Aligned) -> Result<(), Diagnostic> {
    let (bytes, target) = (bytes_of(view.data()), target.bytes_mut());
    let Some(strides) = view.strides() else {
        target[..bytes.len()].copy_from_slice(bytes);
        return Ok(());
    };
    match view.dtype().host_bytes() {
        1 => gather_elements::<1>(bytes, view.shape(), strides, target),
        2 => gather_elements::<2>(bytes, view.shape(), strides, target),
        4 => gather_elements::<4>(bytes, view.shape(), strides, target),
        _ => gather_elements::<8>(bytes, view.shape(), strides, target),
    }
}

fn gather_elements<const B: usize>(
    bytes: &[u8],
    shape: &[usize],
    strides: &[usize],
    target: &mut [u8],
) -> Result<(), Diagnostic> {
    let (outer, columns) = shape.split_at(shape.len().saturating_sub(1));
    let (columns, step) = (columns.iter().product(), strides.last().copied().unwrap_or(0));
    let mut targets = target.chunks_exact_mut(B);
    let rows: usize = if columns == 0 { 0 } else { outer.iter().product() };
    for row in 0..rows {
        let first = offset_of(row, outer, strides);
        for (column, target) in (0..columns).zip(&mut targets) {
            target.copy_from_slice(&element::<B>(bytes, first + column * step)?);
        }
    }
    Ok(())
}

fn element<const B: usize>(bytes: &[u8], index: usize) -> Result<[u8; B], Diagnostic> {
    let found = bytes.get(index * B..(index + 1) * B).and_then(|b| b.try_into().ok());
    found.ok_or_else(|| internal("packing beyond the tensor"))
}
