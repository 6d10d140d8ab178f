//! Compiled kernels: the handle that owns its code, what it is called with, and the loop that
//! runs its stages over a thread pool.

use std::sync::atomic::{AtomicU64, Ordering};

use cranelift_module::FuncId;
use msd_ir::diag::{Code as Fault, Diagnostic};
use msd_ir::dim::{Dim, Sizes};
use msd_ir::graph::Kernel;
use msd_ir::input::{Input, bind_owned};
use msd_ir::tensor::Tensor;
use msd_ir::verify::verify;

use crate::isa::{DotForm, Isa, internal};
use crate::lower::{Lowered, lower};
use crate::module::{Code, CodeBuilder, Listing};
use crate::pack::{Aligned, Strided, pack};
use crate::pool::Pool;
use crate::schedule::{MemoryKind, PartName, Program, Stage, Work, schedule};
use crate::tile::{CHANNELS, PANEL};

/// Work (elements or multiply-accumulates) below which waking threads costs more than it saves.
const THREAD_THRESHOLD: u64 = 1 << 16;

/// Most bytes the results and scratch of one call may take: sizes come from untrusted inputs.
const MAX_CALL_BYTES: u64 = 16 << 30;

/// Signature of every stage; see [`crate::lower::frame`].
type StageFn = unsafe extern "C" fn(memories: *const *mut u8, sizes: *const u64, begin: u64, end: u64);

/// A kernel in machine code. Drop frees the code; calls borrow the handle, so none outlives it.
pub struct CompiledKernel {
    code: Code,
    stages: Vec<FuncId>,
    sizes: Vec<Dim>,
    program: Program,
    kernel: Kernel,
    /// Unique in this process; packed weights remember it.
    id: u64,
    fixed: Sizes,
    listing: Option<Listing>,
}

/// Weights of one parameter in the layouts a kernel reads. Shared freely between threads.
pub struct Packed {
    /// Identity of the kernel whose layouts these are.
    kernel: u64,
    param: usize,
    /// Each memory it fills, with the window of the codes it was made from.
    memories: Vec<PackedMemory>,
}

/// One memory of a kernel, filled.
struct PackedMemory {
    index: usize,
    source: Strided,
    bytes: Aligned,
}

impl Packed {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.memories.iter().map(|m| m.bytes.len()).sum()
    }

    /// The same weights at another place, without packing them again.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn duplicate(&self) -> Result<Packed, Diagnostic> {
        let memories = self
            .memories
            .iter()
            .map(|m| Ok(PackedMemory { index: m.index, source: m.source.clone(), bytes: m.bytes.duplicate()? }));
        let memories = memories.collect::<Result<_, Diagnostic>>()?;
        Ok(Packed { kernel: self.kernel, param: self.param, memories })
    }
}

/// Scratch memory of one call at a time; grows to what the largest call needed.
#[derive(Default)]
pub struct Workspace {
    buffers: Vec<Option<Aligned>>,
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
    let program = schedule(kernel, fixed, isa.dot)?;
    let mut code = CodeBuilder::new(isa, program.stages.len(), listing)?;
    let Lowered { stages, sizes } = lower(isa, &mut code, &program)?;
    let (code, listing) = code.finish()?;
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    Ok(CompiledKernel { code, stages, sizes, program, kernel: kernel.clone(), id, fixed: fixed.clone(), listing })
}

impl CompiledKernel {
    /// The kernel this was compiled from.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// What multiplies in each product, in the order of the stages: how many weight rows or output
    /// channels a tile takes at once, and of what.
    pub fn tiles(&self) -> Vec<String> {
        let tile = |stage: &Stage| match &stage.work {
            Work::Dot { form, .. } => Some(match form.dot {
                DotForm::UnsignedBytes => format!("rows{CHANNELS}-u8s8"),
                DotForm::SignedBytes => format!("rows{CHANNELS}-s8s8"),
                DotForm::Pairs => format!("rows{CHANNELS}-s16"),
            }),
            Work::MatMul { a, .. } => Some(format!("panel{PANEL}-{}", a.dtype.name())),
            _ => None,
        };
        self.program.stages.iter().filter_map(tile).collect()
    }

    /// Cranelift IR of every function, if a listing was asked for.
    pub fn clif(&self) -> Vec<(String, String)> {
        self.listing.as_ref().map(|l| l.clif.clone()).unwrap_or_default()
    }

    /// Machine code of every function, if a listing was asked for.
    pub fn asm(&self) -> Vec<(String, String)> {
        self.listing.as_ref().map(|l| l.asm.clone()).unwrap_or_default()
    }

    /// Packs the weights of parameter `param` for reuse across calls. A parameter that no product
    /// reads packs to nothing.
    ///
    /// # Errors
    /// If `inputs` do not fit the kernel (see [`msd_ir::input::bind`]).
    pub fn pack(&self, param: usize, inputs: &[Input], given: &Sizes) -> Result<Packed, Diagnostic> {
        let sizes = self.bind(inputs, given)?;
        let input = inputs.get(param).ok_or_else(|| {
            Diagnostic::new(Fault::UnknownInput, format!("there is no parameter {param}"))
                .help(format!("the kernel has {}", inputs.len()))
        })?;
        self.pack_bound(param, input, &sizes)
    }

    fn pack_bound(&self, param: usize, input: &Input, sizes: &Sizes) -> Result<Packed, Diagnostic> {
        let mut memories = Vec::new();
        for (index, memory) in self.program.memories.iter().enumerate() {
            if let (MemoryKind::Packed { param: p, layout }, Some(source)) = (&memory.kind, &memory.source)
                && *p == param
            {
                let source = Strided::new(source, sizes)?;
                let bytes = pack(&input.tensor, &source, layout)?;
                memories.push(PackedMemory { index, source, bytes });
            }
        }
        Ok(Packed { kernel: self.id, param, memories })
    }

    fn bind(&self, inputs: &[Input], given: &Sizes) -> Result<Sizes, Diagnostic> {
        let mut known = given.clone();
        known.extend(self.fixed.iter().map(|(n, s)| (n.clone(), *s)));
        bind_owned(&self.kernel, inputs, &known)
    }

    /// Runs the kernel. `packed` weights are used where given; other weights are packed for this call.
    ///
    /// # Errors
    /// If `inputs` do not fit the kernel or the sizes it was compiled for.
    pub fn run(
        &self,
        inputs: &[Input],
        packed: &[Packed],
        given: &Sizes,
        workspace: &mut Workspace,
        pool: &Pool,
    ) -> Result<Vec<Tensor>, Diagnostic> {
        let sizes = self.bind(inputs, given)?;
        self.check_memory(&sizes)?;
        let mut outputs = Vec::new();
        for (dtype, shape) in &self.program.outputs {
            let shape: Result<Vec<usize>, _> = shape.iter().map(|d| d.eval(&sizes).map(|n| n as usize)).collect();
            let tensor = Tensor::zeros(*dtype, shape.map_err(internal)?);
            outputs.push(tensor?);
        }
        for p in packed {
            self.check_packed(p, &sizes)?;
        }
        let mut own = Vec::new();
        for (param, input) in inputs.iter().enumerate() {
            if !packed.iter().any(|p| p.param == param) {
                own.push(self.pack_bound(param, input, &sizes)?);
            }
        }
        let packed: Vec<&Packed> = packed.iter().chain(&own).collect();
        let memories = self.memories(inputs, &packed, &sizes, workspace, &mut outputs)?;
        let table: Result<Vec<u64>, _> = self.sizes.iter().map(|d| d.eval(&sizes)).collect();
        let table = table.map_err(internal)?;
        for (stage, id) in self.program.stages.iter().zip(&self.stages) {
            self.run_stage(stage, *id, &sizes, &memories, &table, pool)?;
        }
        Ok(outputs)
    }

    /// Refuses packed weights of another kernel, or of other sizes: tiles read as far as this
    /// call's sizes say.
    fn check_packed(&self, packed: &Packed, sizes: &Sizes) -> Result<(), Diagnostic> {
        let mut fits = packed.kernel == self.id;
        for memory in packed.memories.iter().take_while(|_| packed.kernel == self.id) {
            let source = self.program.memories.get(memory.index).and_then(|m| m.source.as_ref());
            let source = source.ok_or_else(|| internal("a packed memory without a source"))?;
            fits &= Strided::new(source, sizes)? == memory.source;
        }
        if fits {
            return Ok(());
        }
        Err(Diagnostic::new(Fault::InputShape, "weights packed for another kernel or for other sizes")
            .help("pack them with the kernel and the sizes that use them"))
    }

    /// Refuses calls whose results and scratch would take more than [`MAX_CALL_BYTES`].
    fn check_memory(&self, sizes: &Sizes) -> Result<(), Diagnostic> {
        let mut total = 0u64;
        for (dtype, shape) in &self.program.outputs {
            let count = shape.iter().try_fold(1u64, |n, d| Some(n.saturating_mul(d.eval(sizes).ok()?)));
            total = total.saturating_add(count.unwrap_or(u64::MAX).saturating_mul(dtype.host_bytes() as u64));
        }
        for memory in &self.program.memories {
            if let MemoryKind::Buffer { bytes } = &memory.kind {
                total = total.saturating_add(bytes.eval(sizes).unwrap_or(u64::MAX));
            }
        }
        if total <= MAX_CALL_BYTES {
            return Ok(());
        }
        let message = format!("results and scratch of this call would take {} GiB", total >> 30);
        Err(Diagnostic::new(Fault::TooLarge, message).help(format!("the limit is {} GiB", MAX_CALL_BYTES >> 30)))
    }

    /// The memory table of a call.
    fn memories(
        &self,
        inputs: &[Input],
        packed: &[&Packed],
        sizes: &Sizes,
        workspace: &mut Workspace,
        outputs: &mut [Tensor],
    ) -> Result<Vec<Address>, Diagnostic> {
        let count = self.program.memories.len();
        workspace.buffers.resize_with(count.max(workspace.buffers.len()), || None);
        let mut table = Vec::with_capacity(count);
        for (index, memory) in self.program.memories.iter().enumerate() {
            table.push(Address(match &memory.kind {
                MemoryKind::Input { param, part } => {
                    let input = &inputs[*param];
                    let tensor = match part {
                        PartName::Codes => Some(&input.tensor),
                        PartName::Scale => input.scale.as_ref(),
                        PartName::Zero => input.zero.as_ref(),
                    };
                    tensor.ok_or_else(|| internal("a part that binding let pass"))?.data().as_ptr().cast_mut()
                }
                MemoryKind::Packed { param, .. } => {
                    let found = packed.iter().filter(|p| p.param == *param).flat_map(|p| &p.memories);
                    let found = found.into_iter().find(|m| m.index == index);
                    found.ok_or_else(|| internal("weights that were not packed"))?.bytes.as_ptr().cast_mut()
                }
                MemoryKind::Buffer { bytes } => {
                    let bytes = bytes.eval(sizes).map_err(internal)? as usize;
                    let slot = &mut workspace.buffers[index];
                    match slot.take().filter(|b| b.len() >= bytes) {
                        Some(buffer) => slot.insert(buffer).as_mut_ptr(),
                        None => slot.insert(Aligned::zeroed(bytes)?).as_mut_ptr(),
                    }
                }
                MemoryKind::Output { index } => outputs[*index].as_mut_ptr(),
            }));
        }
        Ok(table)
    }

    fn run_stage(
        &self,
        stage: &Stage,
        id: FuncId,
        sizes: &Sizes,
        memories: &[Address],
        table: &[u64],
        pool: &Pool,
    ) -> Result<(), Diagnostic> {
        let eval = |d: &Dim| d.eval(sizes).map_err(internal);
        if eval(&stage.writes)? == 0 {
            return Ok(());
        }
        let units = eval(&stage.outer)? * eval(&stage.inner)?.div_ceil(stage.by);
        // SAFETY: every stage was declared with the signature of `StageFn` in the host's C convention.
        let call: StageFn = unsafe { std::mem::transmute(self.code.address(id)) };
        let run = |begin: u64, end: u64| {
            // SAFETY: `bind` proved every tensor to have the shape the views were derived from,
            // `memories` holds a live address of at least that size for each slot, and the sizes
            // table is the one the code was compiled against. Units write disjoint elements, so
            // ranges may run at once. `Address` is a transparent pointer.
            unsafe { call(memories.as_ptr().cast(), table.as_ptr(), begin, end) }
        };
        // A cost beyond every bound is worth waking threads for.
        let is_small = stage.cost.as_ref().is_some_and(|c| c.eval(sizes).is_ok_and(|c| c < THREAD_THRESHOLD));
        let tasks = if is_small { 1 } else { units.min(pool.threads() as u64) };
        if tasks <= 1 {
            run(0, units);
        } else {
            pool.run(tasks as usize, &|task| {
                let share = |i: u64| (units as u128 * i as u128 / tasks as u128) as u64;
                run(share(task as u64), share(task as u64 + 1));
            });
        }
        Ok(())
    }
}

/// An entry of the memory table.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Address(*mut u8);

// SAFETY: the table is handed to stage functions only, whose units write disjoint elements.
unsafe impl Send for Address {}
// SAFETY: as above.
unsafe impl Sync for Address {}
