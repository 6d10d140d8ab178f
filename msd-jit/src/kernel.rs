//! Compiled kernels: the handle that owns its code, what it is called with, and the loop that
//! runs its stages over a thread pool.

use std::sync::atomic::{AtomicU64, Ordering};

use cranelift_module::FuncId;
use msd_ir::diag::{Code as Fault, Diagnostic};
use msd_ir::dim::Sizes;
use msd_ir::graph::Kernel;
use msd_ir::input::{Input, bind};
use msd_ir::tensor::Tensor;

use crate::isa::{DotForm, Isa, internal};
use crate::lower::{Lowered, lower};
use crate::module::{Code, CodeBuilder, Listing};
use crate::pack::{Aligned, pack};
use crate::pool::Pool;
use crate::schedule::{MemoryKind, PartName, Program, Stage, Work, schedule};
use crate::tile::{CHANNELS, PANEL};

/// Work (elements or multiply-accumulates) below which waking threads costs more than it saves.
const THREAD_THRESHOLD: u64 = 1 << 16;

/// Signature of every stage; see [`crate::lower::frame`].
type StageFn = unsafe extern "C" fn(memories: *const *mut u8, sizes: *const u64, begin: u64, end: u64);

/// A kernel in machine code. Drop frees the code; calls borrow the handle, so none outlives it.
pub struct CompiledKernel {
    code: Code,
    stages: Vec<FuncId>,
    sizes: Vec<msd_ir::dim::Dim>,
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
    /// Shape of the codes, which the packed sizes follow from.
    shape: Vec<usize>,
    memories: Vec<(usize, Aligned)>,
}

impl Packed {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.memories.iter().map(|(_, a)| a.len()).sum()
    }

    /// The same weights at another place, without packing them again.
    ///
    /// # Errors
    /// If the memory cannot be had.
    pub fn duplicate(&self) -> Result<Packed, Diagnostic> {
        let memories = self.memories.iter().map(|(index, memory)| Ok((*index, memory.duplicate()?)));
        let memories = memories.collect::<Result<_, Diagnostic>>()?;
        Ok(Packed { kernel: self.kernel, param: self.param, shape: self.shape.clone(), memories })
    }
}

/// Scratch memory of one call at a time; grows to what the largest call needed.
#[derive(Default)]
pub struct Workspace {
    buffers: Vec<Option<Aligned>>,
}

/// Compiles a kernel for sizes that are known; the others stay open until each call.
pub fn compile(kernel: &Kernel, fixed: &Sizes, isa: &Isa, listing: bool) -> Result<CompiledKernel, Diagnostic> {
    let program = schedule(kernel, fixed, isa.dot)?;
    let mut code = CodeBuilder::new(isa, listing)?;
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
    /// If `inputs` do not fit the kernel (see [`bind`]).
    pub fn pack(&self, param: usize, inputs: &[Input], given: &Sizes) -> Result<Packed, Diagnostic> {
        let sizes = self.bind(inputs, given)?;
        self.pack_bound(param, &inputs[param], &sizes)
    }

    fn pack_bound(&self, param: usize, input: &Input, sizes: &Sizes) -> Result<Packed, Diagnostic> {
        let mut memories = Vec::new();
        for (index, memory) in self.program.memories.iter().enumerate() {
            if let (MemoryKind::Packed { param: p, layout }, Some(source)) = (&memory.kind, &memory.source)
                && *p == param
            {
                memories.push((index, pack(&input.tensor, source, layout, sizes)?));
            }
        }
        Ok(Packed { kernel: self.id, param, shape: input.tensor.shape().to_vec(), memories })
    }

    fn bind(&self, inputs: &[Input], given: &Sizes) -> Result<Sizes, Diagnostic> {
        let mut known = given.clone();
        known.extend(self.fixed.iter().map(|(n, s)| (n.clone(), *s)));
        bind(&self.kernel, inputs, &known)
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
        let mut outputs = Vec::new();
        for (dtype, shape) in &self.program.outputs {
            let shape: Result<Vec<usize>, _> = shape.iter().map(|d| d.eval(&sizes).map(|n| n as usize)).collect();
            let tensor = Tensor::zeros(*dtype, shape.map_err(internal)?);
            outputs.push(tensor.ok_or_else(|| Diagnostic::new(Fault::TooLarge, "a result is too large"))?);
        }
        for p in packed {
            // Checked before any address is taken: tiles read as far as the kernel's sizes say.
            if p.kernel != self.id || inputs.get(p.param).is_none_or(|i| i.tensor.shape() != p.shape) {
                return Err(Diagnostic::new(Fault::InputShape, "weights packed for another kernel or shape")
                    .help("pack them with the kernel that uses them"));
            }
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
                    let found = found.into_iter().find(|(i, _)| *i == index);
                    found.ok_or_else(|| internal("weights packed for another kernel"))?.1.as_ptr().cast_mut()
                }
                MemoryKind::Buffer { bytes } => {
                    let bytes = bytes.eval(sizes).map_err(internal)? as usize;
                    let slot = &mut workspace.buffers[index];
                    match slot.take().filter(|b| b.len() >= bytes) {
                        Some(buffer) => slot.insert(buffer).as_mut_ptr(),
                        None => slot.insert(Aligned::zeroed(bytes)?).as_mut_ptr(),
                    }
                }
                MemoryKind::Output { index } => outputs[*index].data_mut().as_mut_ptr(),
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
        let eval = |d: &msd_ir::dim::Dim| d.eval(sizes).map_err(internal);
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
        let tasks = if eval(&stage.cost)? < THREAD_THRESHOLD { 1 } else { units.min(pool.threads() as u64) };
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
