//! From bodies of functions to their code: Cranelift's and those of other emitters, beside each other on a few
//! threads. Which thread compiles what changes no byte. Owns no memory of code: that is [`crate::module`]'s.

use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::thread;

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::Function;
use cranelift_codegen::isa::TargetIsa;
use cranelift_module::{FuncId, ModuleReloc};
use msd_ir::diag::Diagnostic;

use crate::isa::internal;
use crate::micro::Machine;

/// Alignment of machine code that is not Cranelift's: loops begin where the processor fetches.
const CODE_ALIGN: u64 = 64;

/// Most threads: one more takes longer to start than it saves.
const MAX_THREADS: usize = 4;

static CORES: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));

/// A function to be compiled.
pub(crate) struct Body {
    pub(crate) name: String,
    pub(crate) id: FuncId,
    pub(crate) source: Source,
}

/// What a function's code is made of.
pub(crate) enum Source {
    Cranelift(Box<Function>),
    /// Another emitter, which is told whether it shall write text as well.
    Machine(Box<dyn FnOnce(bool) -> Result<Machine, Diagnostic> + Send>),
}

/// A function's code.
pub(crate) struct Compiled {
    pub(crate) name: String,
    pub(crate) id: FuncId,
    pub(crate) machine: Machine,
    pub(crate) align: u64,
    pub(crate) relocs: Vec<ModuleReloc>,
}

/// Compiles the bodies, in whose order the code comes. Threads take the largest first, so that none ends long after
/// the others; where none can be had the caller compiles all.
pub(crate) fn compile(bodies: Vec<Body>, target: &dyn TargetIsa, is_listed: bool) -> Result<Vec<Compiled>, Diagnostic> {
    let codes: Vec<_> = bodies.iter().map(|_| OnceLock::new()).collect();
    let helpers = bodies.len().min(*CORES).min(MAX_THREADS).saturating_sub(1);
    let mut queue: Vec<(usize, Body)> = bodies.into_iter().enumerate().collect();
    queue.sort_by_key(|(_, body)| body.source.size());
    let queue = Mutex::new(queue);
    let work = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((index, body)) = next else { break };
            // Each index is taken once.
            let _ = codes[index].set(body.compile(target, is_listed));
        }
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    codes.into_iter().map(|code| code.into_inner().unwrap_or_else(|| Err(internal("a body was lost")))).collect()
}

impl Source {
    /// How long it takes, roughly: instructions of Cranelift's; others are quick.
    fn size(&self) -> usize {
        match self {
            Source::Cranelift(function) => function.dfg.num_insts(),
            Source::Machine(_) => 0,
        }
    }
}

impl Body {
    fn compile(self, target: &dyn TargetIsa, is_listed: bool) -> Result<Compiled, Diagnostic> {
        let Body { name, id, source } = self;
        let function = match source {
            Source::Cranelift(function) => *function,
            Source::Machine(emit) => {
                let machine = emit(is_listed)?;
                return Ok(Compiled { name, id, machine, align: CODE_ALIGN, relocs: Vec::new() });
            }
        };
        let mut context = Context::for_function(function);
        context.set_disasm(is_listed);
        if let Err(error) = context.compile(target, &mut ControlPlane::default()) {
            return Err(internal(format!("{name}: {error:?}")));
        }
        let code = context.take_compiled_code().ok_or_else(|| internal(format!("{name}: no code")))?;
        let reloc = |reloc| ModuleReloc::from_mach_reloc(reloc, &context.func, id);
        let relocs = code.buffer.relocs().iter().map(reloc).collect();
        let (bytes, align) = (code.code_buffer().to_vec(), code.buffer.alignment.into());
        // Cranelift's own text: a disassembler would be a C library, and ours does not know the byte dot products.
        let machine = Machine { bytes, text: code.vcode.unwrap_or_default() };
        Ok(Compiled { name, id, machine, align, relocs })
    }
}
