//! Bytes in the layouts code reads: weights for tiles, strided arrays made dense. Works on bytes,
//! as layouts only move elements; owns neither when that happens nor who keeps the result.

use std::ptr::NonNull;

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dim::{Dim, Sizes};
use msd_ir::dtype::{DType, bf16_to_f32, e8m0_value, f16_to_f32, f32_to_bf16};
use msd_ir::tensor::{DataRef, TensorView};

use crate::isa::internal;
use crate::pool::Pool;
use crate::schedule::{Layout, Packing};
use crate::tile::{LINE, PANEL, QUAD};

/// Size of a large page, and the alignment of whatever fills one: many tokens' rows do, beside weights.
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
        let (start, layout) = Aligned::allocate(bytes)?;
        // SAFETY: the block was just allocated with this size; any byte is a valid `u8`.
        unsafe { start.as_ptr().write_bytes(0, layout.size()) };
        Ok(Aligned { start, layout })
    }

    /// The same, of which each thread of the pool writes its share first: so that it lies near the
    /// processor that will read it, on machines where memory is near to some.
    fn shared_out(bytes: usize, pool: &Pool) -> Result<Aligned, Diagnostic> {
        let (start, layout) = Aligned::allocate(bytes)?;
        let (tasks, first) = (pool.threads(), Start(start.as_ptr()));
        pool.run(tasks, &|task| {
            let share = |i: usize| (layout.size() as u128 * i as u128 / tasks as u128) as usize;
            // SAFETY: the shares lie in the block, and no two have one byte in common.
            unsafe { first.at(share(task)).write_bytes(0, share(task + 1) - share(task)) };
        });
        Ok(Aligned { start, layout })
    }

    fn allocate(bytes: usize) -> Result<(NonNull<u8>, std::alloc::Layout), Diagnostic> {
        let too_large =
            || Diagnostic::new(Code::TooLarge, format!("no memory for {bytes} bytes")).help("choose smaller sizes");
        let is_large = bytes >= LARGE_PAGE && !blocks::IS_GUARDED;
        let align = if is_large { LARGE_PAGE } else { LINE };
        // Pages that are not filled are small ones.
        let size = bytes.max(1).checked_next_multiple_of(LINE).ok_or_else(too_large)?;
        let layout = std::alloc::Layout::from_size_align(size, align).map_err(|_| too_large())?;
        // SAFETY: the size is not zero.
        let start = unsafe { blocks::allocate(layout) };
        let start = NonNull::new(start).ok_or_else(too_large)?;
        advise_large_pages(start, layout);
        Ok((start, layout))
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
        // SAFETY: allocated with this layout, and freed only here.
        unsafe { blocks::free(self.start.as_ptr(), self.layout) };
    }
}

/// Where blocks come from. In debug builds on Linux each ends at a page that must not be touched, so that
/// every test finds out code which reads or writes past what it was given.
#[cfg(all(debug_assertions, target_os = "linux", target_pointer_width = "64"))]
mod blocks {
    use std::alloc::Layout;
    use std::ffi::{c_int, c_void};

    pub(super) const IS_GUARDED: bool = true;

    const PAGE: usize = 4096;
    const READ_WRITE: c_int = 3;
    const PRIVATE_ANONYMOUS: c_int = 0x22;

    // From the C library that std links already.
    unsafe extern "C" {
        fn mmap(start: *mut c_void, length: usize, access: c_int, kind: c_int, file: c_int, at: i64) -> *mut c_void;
        fn mprotect(start: *mut c_void, length: usize, access: c_int) -> c_int;
        fn munmap(start: *mut c_void, length: usize) -> c_int;
    }

    /// Bytes before the guard.
    fn pages(layout: Layout) -> usize {
        layout.size().next_multiple_of(PAGE)
    }

    /// # Safety
    /// The size is a multiple of the alignment, which is at most a page, and not zero.
    pub(super) unsafe fn allocate(layout: Layout) -> *mut u8 {
        let before = pages(layout);
        let Some(length) = before.checked_add(PAGE) else { return std::ptr::null_mut() };
        // SAFETY: a new mapping of its own.
        let start = unsafe { mmap(std::ptr::null_mut(), length, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0) };
        if start.addr() == usize::MAX {
            return std::ptr::null_mut();
        }
        // SAFETY: both lie in the mapping; its last page becomes untouchable.
        unsafe {
            mprotect(start.byte_add(before), PAGE, 0);
            start.byte_add(before - layout.size()).cast()
        }
    }

    /// # Safety
    /// The block comes from [`allocate`] with this layout and is not used any more.
    pub(super) unsafe fn free(block: *mut u8, layout: Layout) {
        let before = pages(layout);
        // SAFETY: the whole mapping, by contract.
        unsafe { munmap(block.byte_add(layout.size()).byte_sub(before).cast(), before + PAGE) };
    }
}

/// Where blocks come from.
#[cfg(not(all(debug_assertions, target_os = "linux", target_pointer_width = "64")))]
mod blocks {
    pub(super) use std::alloc::{alloc as allocate, dealloc as free};

    pub(super) const IS_GUARDED: bool = false;
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
        let filled = layout.size() - layout.size() % LARGE_PAGE;
        // SAFETY: the range is of whole pages of ours; the advice changes no content. That it may be
        // refused is no fault.
        let _ = unsafe { madvise(start.as_ptr().cast(), filled, MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise_large_pages(_: NonNull<u8>, _: std::alloc::Layout) {}

/// A packing with its sizes known: extents and element strides of the source `[batch.., k, n]`, and how
/// far apart matrices and panels of the packed form lie.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Strided {
    shape: Vec<usize>,
    strides: Vec<usize>,
    offset: usize,
    /// Of the batch, and from panel to panel.
    packed: Vec<usize>,
    elements: usize,
}

impl Strided {
    pub(crate) fn new(packing: &Packing, sizes: &Sizes) -> Result<Strided, Diagnostic> {
        let eval = |d: &Dim| d.eval(sizes).map_err(internal).map(|n| n as usize);
        let all = |dims: &[Dim]| dims.iter().map(eval).collect::<Result<Vec<_>, _>>();
        let Packing { source, packed, elements } = packing;
        let mut steps = all(&packed.strides)?;
        // The last is the unit's, which the layout knows.
        steps.pop();
        let elements = elements.eval(sizes).map_err(|_| {
            Diagnostic::new(Code::TooLarge, "a weight is too large to pack").help("choose smaller sizes")
        })?;
        Ok(Strided {
            shape: all(&source.shape)?,
            strides: all(&source.strides)?,
            offset: eval(&source.offset)?,
            packed: steps,
            elements: elements as usize,
        })
    }

    /// Bytes of the packed form.
    ///
    /// # Errors
    /// If their number does not fit the address space.
    pub(crate) fn packed_bytes(&self, layout: &Layout, dtype: DType) -> Result<usize, Diagnostic> {
        self.elements.checked_mul(layout.stored(dtype).host_bytes()).ok_or_else(|| {
            Diagnostic::new(Code::TooLarge, "a weight is too large to pack").help("choose smaller sizes")
        })
    }

    /// Number of panels of all matrices that hold anything.
    fn panels(&self) -> usize {
        let outer = self.shape.len() - 2;
        if self.shape[outer..].contains(&0) {
            return 0;
        }
        self.shape[..outer].iter().product::<usize>() * self.shape[outer + 1].div_ceil(PANEL)
    }

    /// One of the panels, those of a matrix following each other.
    fn panel(&self, index: usize) -> Panel {
        let outer = self.shape.len() - 2;
        let per_matrix = self.shape[outer + 1].div_ceil(PANEL);
        let (batch, number) = (index / per_matrix, index % per_matrix);
        let source = self.offset + offset_of(batch, &self.shape[..outer], &self.strides[..outer]);
        let (k_step, n_step) = (self.strides[outer], self.strides[outer + 1]);
        let matrix = offset_of(batch, &self.shape[..outer], &self.packed[..outer]);
        Panel {
            source: source + number * PANEL * n_step,
            k_step,
            n_step,
            depth: self.shape[outer],
            width: PANEL.min(self.shape[outer + 1] - number * PANEL),
            target: matrix + number * self.packed[outer],
            elements: self.packed[outer],
        }
    }
}

/// Where the elements of a panel come from and go.
struct Panel {
    /// Of its first element in the source.
    source: usize,
    k_step: usize,
    n_step: usize,
    depth: usize,
    /// Channels it has.
    width: usize,
    /// Of its first element in the packed form, and how many there are.
    target: usize,
    elements: usize,
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

/// Packs the elements of type `dtype` that `source` selects from `codes` into memory that the threads of
/// the pool touch first, each the part it will multiply.
pub(crate) fn pack(
    codes: &[u8],
    dtype: DType,
    source: &Strided,
    layout: &Layout,
    pool: &Pool,
) -> Result<Aligned, Diagnostic> {
    let mut target = Aligned::shared_out(source.packed_bytes(layout, dtype)?, pool)?;
    pack_into(codes, dtype, source, layout, &mut target, pool)?;
    Ok(target)
}

/// The same over memory that holds something already, which has at least [`Strided::packed_bytes`].
pub(crate) fn pack_into(
    codes: &[u8],
    dtype: DType,
    source: &Strided,
    layout: &Layout,
    target: &mut Aligned,
    pool: &Pool,
) -> Result<(), Diagnostic> {
    let panels = source.panels();
    let element = layout.stored(dtype).host_bytes();
    let conversion = Conversion::choose(layout, dtype)?;
    let (start, len) = (Start(target.as_mut_ptr()), target.len());
    let tasks = pool.threads().min(panels);
    let failed = std::sync::Mutex::new(None);
    pool.run(tasks, &|task| {
        for index in panels * task / tasks..panels * (task + 1) / tasks {
            let panel = source.panel(index);
            let (from, bytes) = (panel.target * element, panel.elements * element);
            let packed = if from + bytes <= len {
                // SAFETY: the range lies in the block, whose only borrow this function holds; panels lie
                // apart by at least their length, so no two tasks have one byte in common.
                let bytes = unsafe { std::slice::from_raw_parts_mut(start.at(from), bytes) };
                pack_panel(codes, &panel, layout, &conversion, bytes)
            } else {
                Err(internal("a panel beyond its memory"))
            };
            if let Err(fault) = packed {
                *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(fault);
            }
        }
    });
    failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
}

/// Address of a block that several threads fill.
struct Start(*mut u8);

// SAFETY: handed to threads that write disjoint ranges of the block while its owner waits.
unsafe impl Sync for Start {}

impl Start {
    /// # Safety
    /// `offset` lies within the block.
    unsafe fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: by contract.
        unsafe { self.0.add(offset) }
    }
}

/// What becomes of an element.
#[expect(clippy::large_enum_variant, reason = "boxes would allocate on every call that packs its weights")]
enum Conversion {
    /// The byte that stands for each code.
    Byte([u8; 256]),
    /// The BF16 that equals each code of a small float.
    Bf16([[u8; 2]; 256]),
    /// The four bytes that stand for each code.
    Word([[u8; 4]; 256]),
    /// The F32 that equals each of 16 bits.
    Half(fn(u16) -> f32),
    /// As it is, so many bytes.
    Same(usize),
}

impl Conversion {
    fn choose(layout: &Layout, dtype: DType) -> Result<Conversion, Diagnostic> {
        let byte = dtype.host_bytes() == 1;
        Ok(match layout {
            Layout::Quads { flip, .. } if byte => Conversion::Byte(std::array::from_fn(|code| {
                let code = code as u8;
                let number = match dtype.minifloat() {
                    Some(format) => (format.decode(code) / format.step()) as i8 as u8,
                    None => code,
                };
                if *flip { number ^ 0x80 } else { number }
            })),
            Layout::Quads { .. } => return Err(internal("only bytes are packed in fours")),
            Layout::Columns { stored } if *stored == dtype => Conversion::Same(dtype.host_bytes()),
            Layout::Columns { stored: DType::BF16 } if byte => {
                Conversion::Bf16(std::array::from_fn(|code| f32_to_bf16(value_of(dtype, code as u8)).to_ne_bytes()))
            }
            Layout::Columns { stored: DType::F32 } if byte => {
                Conversion::Word(std::array::from_fn(|code| value_of(dtype, code as u8).to_ne_bytes()))
            }
            Layout::Columns { stored: DType::I32 } if byte => {
                Conversion::Word(std::array::from_fn(|code| (value_of(dtype, code as u8) as i32).to_ne_bytes()))
            }
            Layout::Columns { stored: DType::F32 } if dtype == DType::F16 => Conversion::Half(f16_to_f32),
            Layout::Columns { stored: DType::F32 } if dtype == DType::BF16 => Conversion::Half(bf16_to_f32),
            Layout::Columns { .. } => return Err(internal("columns of no such type")),
        })
    }
}

/// The number a code of 4 or 8 bits stands for.
fn value_of(dtype: DType, code: u8) -> f32 {
    match dtype {
        DType::I8 | DType::I4 => (code as i8).into(),
        DType::E8M0 => e8m0_value(code),
        _ => dtype.minifloat().map_or(code.into(), |format| format.decode(code)),
    }
}

/// `target` is the whole panel.
fn pack_panel(
    codes: &[u8],
    panel: &Panel,
    layout: &Layout,
    conversion: &Conversion,
    target: &mut [u8],
) -> Result<(), Diagnostic> {
    match (layout, conversion) {
        (Layout::Quads { group, .. }, Conversion::Byte(table)) => {
            pack_quads(codes, panel, group.map_or(panel.depth, |size| size as usize), table, target)
        }
        (_, Conversion::Byte(_)) => Err(internal("bytes in columns")),
        (_, Conversion::Bf16(table)) => pack_columns(codes, panel, |[code]| table[code as usize], target),
        (_, Conversion::Word(table)) => pack_columns(codes, panel, |[code]| table[code as usize], target),
        (_, Conversion::Half(value)) => {
            pack_columns(codes, panel, |bits: [u8; 2]| value(u16::from_ne_bytes(bits)).to_ne_bytes(), target)
        }
        (_, Conversion::Same(1)) => pack_columns::<1, 1>(codes, panel, |element| element, target),
        (_, Conversion::Same(2)) => pack_columns::<2, 2>(codes, panel, |element| element, target),
        (_, Conversion::Same(4)) => pack_columns::<4, 4>(codes, panel, |element| element, target),
        (_, Conversion::Same(8)) => pack_columns::<8, 8>(codes, panel, |element| element, target),
        (_, Conversion::Same(_)) => Err(internal("elements of an odd size")),
    }
}

/// Units of four neighbours along `k`, in groups of `size`.
fn pack_quads(
    codes: &[u8],
    panel: &Panel,
    size: usize,
    table: &[u8; 256],
    target: &mut [u8],
) -> Result<(), Diagnostic> {
    const UNIT: usize = PANEL * QUAD;
    let per_group = size.div_ceil(QUAD);
    for (index, unit) in target.chunks_exact_mut(UNIT).enumerate() {
        let (group, within) = (index / per_group.max(1), index % per_group.max(1) * QUAD);
        let first = group * size + within;
        // Room for units that are not there holds zeros.
        let count = if first < panel.depth { QUAD.min(size - within) } else { 0 };
        let (channels, rest) = unit.split_at_mut(panel.width * QUAD);
        rest.fill(0);
        for (j, four) in channels.chunks_exact_mut(QUAD).enumerate() {
            let from = panel.source + j * panel.n_step + first * panel.k_step;
            if count == QUAD && panel.k_step == 1 {
                let found: [u8; QUAD] = element_at(codes, from)?;
                four.copy_from_slice(&found.map(|code| table[code as usize]));
                continue;
            }
            four.fill(0);
            for (k, byte) in four[..count].iter_mut().enumerate() {
                let [code] = element_at(codes, from + k * panel.k_step)?;
                *byte = table[code as usize];
            }
        }
    }
    Ok(())
}

/// Sixteen channels of each `k`.
fn pack_columns<const B: usize, const T: usize>(
    codes: &[u8],
    panel: &Panel,
    stored: impl Fn([u8; B]) -> [u8; T],
    target: &mut [u8],
) -> Result<(), Diagnostic> {
    for (k, row) in target.chunks_exact_mut(PANEL * T).enumerate() {
        let (elements, rest) = row.split_at_mut(panel.width * T);
        rest.fill(0);
        let from = panel.source + k * panel.k_step;
        for (j, element) in elements.chunks_exact_mut(T).enumerate() {
            element.copy_from_slice(&stored(element_at(codes, (from + j * panel.n_step) * B)?));
        }
    }
    Ok(())
}

/// The bytes at an offset.
fn element_at<const B: usize>(bytes: &[u8], offset: usize) -> Result<[u8; B], Diagnostic> {
    let found = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    found.copied().ok_or_else(|| internal("packing beyond the tensor"))
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
            target.copy_from_slice(&element_at::<B>(bytes, (first + column * step) * B)?);
        }
    }
    Ok(())
}
