//! Compiled kernels: the handle that owns its code, and the loop that runs its stages over a
//! thread pool. What depends on shapes alone is worked out in [`Bound`], before.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use cranelift_module::FuncId;
use msd_ir::diag::{Code as Fault, Diagnostic};
use msd_ir::dim::Sizes;
use msd_ir::graph::Kernel;
use msd_ir::input::{InputView, bind};
use msd_ir::tensor::TensorViewMut;
use msd_ir::verify::verify;

use crate::argument::Argument;
use crate::blocking::Size;
use crate::bound::{Bound, CodeView, Extent, Slot};
use crate::isa::{Isa, internal};
use crate::lower::frame::Known;
use crate::lower::{Lowered, lower};
use crate::micro::Emitter;
use crate::module::{Code, CodeBuilder, Listing};
use crate::pack::{Aligned, bytes_of, gather, pack_into};
use crate::pool::Pool;
use crate::schedule::{Program, Work, schedule};
use crate::shares::Shares;
use crate::tile::{PANEL, Tile};

/// Signature of every stage; see [`crate::lower::frame`].
type StageFn = unsafe extern "C" fn(memories: *const *mut u8, sizes: *const u64, begin: u64, end: u64, thread: u64);

/// A kernel in machine code. Drop frees the code; calls borrow the handle, so none outlives it.
pub struct CompiledKernel {
    code: Code,
    stages: Vec<FuncId>,
    known: Vec<Known>,
    tiles: HashMap<Tile, FuncId>,
    emitter: Emitter,
    program: Program,
    kernel: Kernel,
    /// Unique in this process; bound shapes remember it.
    id: u64,
    fixed: Sizes,
    listing: Option<Listing>,
}

/// How a product is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Who wrote the tiles: `zmm`, `ymm` or, of Cranelift's 128-bit vectors, `128`.
    pub emitter: &'static str,
    /// The tile that does most: tokens and digits, panels and their channels, element types of rows and
    /// panels.
    pub tile: String,
    /// Tokens of a block, number of blocks and of those done together; channels of a unit of work; elements
    /// along K of a block.
    pub blocking: String,
}

/// Scratch memory of one call at a time; grows to what the largest call needed, so that calls
/// allocate nothing once every shape has been seen.
#[derive(Default)]
pub struct Workspace {
    /// By memory of the program.
    buffers: Vec<Option<Aligned>>,
    /// Dense copies of arguments that are not, by piece.
    dense: Vec<Option<Aligned>>,
    /// The memory table of the call.
    table: Vec<Address>,
}

/// Compiles a kernel for sizes that are known; the others stay open until each call.
///
/// # Errors
/// If the kernel breaks an invariant of [`verify`], whose promises the code's safety rests on; if
/// `isa` is not this machine's; if a size that code generation needs is open.
pub fn compile(kernel: &Kernel, fixed: &Sizes, isa: &Isa, listing: bool) -> Result<CompiledKernel, Diagnostic> {
    verify(kernel)?;
    if isa.level().is_none() {
        return Err(Diagnostic::new(Fault::IsaUnavailable, "code for another machine cannot run here")
            .help("read it with `inspect::asm`"));
    }
    let program = schedule(kernel, fixed, isa)?;
    let mut code = CodeBuilder::new(isa, program.stages.len(), listing)?;
    let Lowered { stages, known, tiles } = lower(isa, &mut code, &program)?;
    let (code, listing) = code.finish()?;
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let (kernel, fixed) = (kernel.clone(), fixed.clone());
    Ok(CompiledKernel { code, stages, known, tiles, emitter: isa.emitter, program, kernel, id, fixed, listing })
}

impl CompiledKernel {
    /// The kernel this was compiled from.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// How each product of a call is computed, in the order of the stages.
    pub fn tilings(&self, bound: &Bound) -> Vec<Tiling> {
        let mut found = Vec::new();
        for (stage, cut) in self.program.stages.iter().zip(&bound.cuts) {
            let (Work::Product(product), Some(cut)) = (&stage.work, cut) else { continue };
            for (index, term) in product.region.terms.iter().enumerate() {
                let Size { tokens, panels, .. } = cut.tiles()[0];
                let (digits, operands) = (term.digits(), term.operands.name());
                found.push(Tiling {
                    emitter: product.limits.emitter(index).writer(&term.operands, digits * tokens, panels).name(),
                    tile: format!("{tokens}x{digits}-{panels}x{PANEL}-{operands}"),
                    blocking: cut.describe(term),
                });
            }
        }
        found
    }

    /// Cranelift IR of every function, if a listing was asked for.
    pub fn clif(&self) -> Vec<(String, String)> {
        self.listing.as_ref().map(|l| l.clif.clone()).unwrap_or_default()
    }

    /// Machine code of every function, if a listing was asked for.
    pub fn asm(&self) -> Vec<(String, String)> {
        self.listing.as_ref().map(|l| l.asm.clone()).unwrap_or_default()
    }

    /// Binds the kernel to the shapes of `arguments`.
    ///
    /// # Errors
    /// If they do not fit the kernel (see [`bind`]) or the sizes it was compiled for, or ask for
    /// too much memory.
    pub fn bind(&self, arguments: &[Argument<'_>]) -> Result<Bound, Diagnostic> {
        let views: Vec<InputView<'_>> = arguments.iter().map(Argument::view).collect();
        let sizes = bind(&self.kernel, &views, &self.fixed)?;
        let tile =
            |tile: &Tile| self.tiles.get(&self.emitter.canonical(*tile)).map(|id| self.code.address(*id).addr() as u64);
        let code = CodeView { id: self.id, known: &self.known, tile: &tile };
        Bound::new(&self.program, &code, &sizes, arguments)
    }

    /// Packs every weight among `arguments` that is not packed yet, so that no later call does.
    ///
    /// # Errors
    /// If the arguments do not have the bound shapes, or memory is lacking.
    pub fn prepare(&self, bound: &Bound, arguments: &[Argument<'_>], pool: &Pool) -> Result<(), Diagnostic> {
        self.check_arguments(bound, arguments)?;
        for slot in &bound.slots {
            if let Slot::Packed { piece, layout, source, .. } = slot {
                let piece = &bound.pieces[*piece];
                if let Some(weight) = arguments[piece.param].weight() {
                    weight.packed(piece.part, layout, source, pool)?;
                }
            }
        }
        Ok(())
    }

    /// Runs the kernel. The results are written over `outputs`; on an error those hold nothing of
    /// use. Allocates nothing if `workspace` has served the same shapes before and weights are
    /// packed.
    ///
    /// # Errors
    /// If the arguments or outputs do not have the bound shapes, a scale is not finite, a code lies
    /// outside its type, or memory is lacking.
    pub fn run(
        &self,
        bound: &Bound,
        arguments: &[Argument<'_>],
        outputs: &mut [TensorViewMut<'_>],
        workspace: &mut Workspace,
        pool: &Pool,
    ) -> Result<(), Diagnostic> {
        self.check_arguments(bound, arguments)?;
        if !arguments.iter().all(Argument::has_sound_values) {
            self.bind(arguments)?;
            return Err(internal("values that binding let pass"));
        }
        bound.check_outputs(outputs)?;
        bound.check_memory(arguments, pool.threads())?;
        workspace.fill(bound, arguments, outputs, pool)?;
        for (extent, id) in bound.stages.iter().zip(&self.stages) {
            self.run_stage(*extent, *id, &workspace.table, &bound.table, pool);
        }
        Ok(())
    }

    /// Refuses arguments of other shapes than the code will rely on, in the words of [`bind`].
    fn check_arguments(&self, bound: &Bound, arguments: &[Argument<'_>]) -> Result<(), Diagnostic> {
        if bound.kernel == self.id && bound.fits(arguments) {
            return Ok(());
        }
        self.bind(arguments)?;
        Err(Diagnostic::new(Fault::InputShape, "arguments of other shapes than the kernel was bound to")
            .help("bind the kernel to the arguments it is called with"))
    }

    fn run_stage(&self, extent: Extent, id: FuncId, memories: &[Address], table: &[u64], pool: &Pool) {
        let units = extent.units;
        if units == 0 {
            return;
        }
        // SAFETY: every stage was declared with the signature of `StageFn` in the host's C convention.
        let call: StageFn = unsafe { std::mem::transmute(self.code.address(id)) };
        let run = |begin: u64, end: u64, thread: u64| {
            // SAFETY: `check_arguments` and `check_outputs` found every array to have the type and
            // shape the views were derived from; `memories` holds a live address of at least that
            // size for each slot, and `table` holds the sizes this code was compiled against, both
            // of this kernel, addresses of its tiles among them. Units write disjoint elements, and each
            // thread its own scratch memory, of which there is as much as the pool has threads, so ranges
            // may run at once. `Address` is a transparent pointer.
            unsafe { call(memories.as_ptr().cast(), table.as_ptr(), begin, end, thread) }
        };
        let tasks = if extent.is_large { units.min(pool.threads() as u64) } else { 1 };
        match u32::try_from(units) {
            Ok(units) if tasks > 1 => {
                let shares = Shares::new(units, tasks as usize);
                pool.run(tasks as usize, &|task| {
                    while let Some((begin, end)) = shares.take(task) {
                        run(begin, end, task as u64);
                    }
                });
            }
            _ => run(0, units, 0),
        }
    }
}

impl Workspace {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.buffers.iter().chain(&self.dense).flatten().map(Aligned::len).sum()
    }

    /// Fills the memory table of a call; arguments and outputs have the bound shapes.
    fn fill(
        &mut self,
        bound: &Bound,
        arguments: &[Argument<'_>],
        outputs: &mut [TensorViewMut<'_>],
        pool: &Pool,
    ) -> Result<(), Diagnostic> {
        grow(&mut self.buffers, bound.slots.len());
        grow(&mut self.dense, bound.pieces.len());
        self.table.clear();
        for (memory, slot) in bound.slots.iter().enumerate() {
            let address = match slot {
                Slot::Input { piece } => self.input(bound, *piece, arguments)?,
                Slot::Packed { piece, layout, source, bytes } => {
                    let (of, view) = (&bound.pieces[*piece], bound.view(*piece, arguments)?);
                    let weight = arguments[of.param].weight();
                    let kept = weight.map(|w| w.packed(of.part, layout, source, pool)).transpose()?.flatten();
                    match kept {
                        Some(address) => address.cast_mut(),
                        None => {
                            let target = at_least(&mut self.buffers[memory], *bytes)?;
                            if view.is_dense() {
                                pack_into(bytes_of(view.data()), view.dtype(), source, layout, target, pool)?;
                            } else {
                                let dense = at_least(&mut self.dense[*piece], view.len() * view.dtype().host_bytes())?;
                                gather(&view, dense)?;
                                pack_into(dense.bytes(), view.dtype(), source, layout, target, pool)?;
                            }
                            target.as_mut_ptr()
                        }
                    }
                }
                Slot::Buffer { bytes } => at_least(&mut self.buffers[memory], *bytes)?.as_mut_ptr(),
                Slot::Scratch { bytes } => {
                    let bytes = bytes.saturating_mul(pool.threads());
                    at_least(&mut self.buffers[memory], bytes)?.as_mut_ptr()
                }
                Slot::Output { index } => outputs[*index].as_mut_ptr(),
            };
            self.table.push(Address(address));
        }
        Ok(())
    }

    /// Where an argument's array lies, dense.
    fn input(&mut self, bound: &Bound, piece: usize, arguments: &[Argument<'_>]) -> Result<*mut u8, Diagnostic> {
        let view = bound.view(piece, arguments)?;
        if view.is_dense() {
            return Ok(view.data().as_ptr().cast_mut());
        }
        let dense = at_least(&mut self.dense[piece], view.len() * view.dtype().host_bytes())?;
        gather(&view, dense)?;
        Ok(dense.as_mut_ptr())
    }
}

fn grow(buffers: &mut Vec<Option<Aligned>>, count: usize) {
    if buffers.len() < count {
        buffers.resize_with(count, || None);
    }
}

/// The buffer, replaced if it is too small.
fn at_least(slot: &mut Option<Aligned>, bytes: usize) -> Result<&mut Aligned, Diagnostic> {
    match slot.take().filter(|b| b.len() >= bytes) {
        Some(buffer) => Ok(slot.insert(buffer)),
        None => Ok(slot.insert(Aligned::zeroed(bytes)?)),
    }
}

/// An entry of the memory table.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Address(*mut u8);

// SAFETY: the table is handed to stage functions only, whose units write disjoint elements; between
// calls nothing reads what it points to.
unsafe impl Send for Address {}
// SAFETY: as above.
unsafe impl Sync for Address {}
