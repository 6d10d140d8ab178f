//! From bodies of functions to their code: Cranelift's and those of other emitters, beside each other on a few
//! threads. Which thread compiles what changes no byte. Owns no memory of code: that is [`crate::module`]'s.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::Function;
use cranelift_codegen::isa::TargetIsa;
use cranelift_module::{FuncId, ModuleReloc};
use msd_ir::diag::Diagnostic;

use crate::isa::internal;
use crate::micro::Machine;
use crate::pool::cores;

/// Alignment of machine code that is not Cranelift's: loops begin where the processor fetches.
const CODE_ALIGN: u64 = 64;

/// Most threads: one more takes longer to start than it saves.
const MAX_THREADS: usize = 4;

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

/// Compiles the bodies, in whose order the code comes, or the first error.
pub(crate) fn compile(bodies: Vec<Body>, target: &dyn TargetIsa, is_listed: bool) -> Result<Vec<Compiled>, Diagnostic> {
    let threads = bodies.len().min(cores()).min(MAX_THREADS);
    compile_on(threads, bodies, target, is_listed)
}

/// The same on so many threads, which take the largest first, so that none ends long after the others; where none can
/// be had the caller compiles all.
fn compile_on(
    threads: usize,
    bodies: Vec<Body>,
    target: &dyn TargetIsa,
    is_listed: bool,
) -> Result<Vec<Compiled>, Diagnostic> {
    let codes: Vec<_> = bodies.iter().map(|_| OnceLock::new()).collect();
    let mut queue: Vec<(usize, Body)> = bodies.into_iter().enumerate().collect();
    queue.sort_by_key(|(_, body)| body.source.size());
    let queue = Mutex::new(queue);
    let work = || {
        let mut context = Context::new();
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((index, body)) = next else { break };
            // Each index is taken once.
            let _ = codes[index].set(body.compile(&mut context, target, is_listed));
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
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
    fn compile(self, context: &mut Context, target: &dyn TargetIsa, is_listed: bool) -> Result<Compiled, Diagnostic> {
        let Body { name, id, source } = self;
        let function = match source {
            Source::Cranelift(function) => *function,
            Source::Machine(emit) => {
                let machine = emit(is_listed)?;
                return Ok(Compiled { name, id, machine, align: CODE_ALIGN, relocs: Vec::new() });
            }
        };
        context.clear();
        context.func = function;
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use cranelift_codegen::ir::{AbiParam, InstBuilder, Signature, UserFuncName, types};
    use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};

    use super::*;
    use crate::isa::{Isa, Level};

    /// Every third is another emitter's; the others add a constant to themselves, again and again.
    fn bodies(isa: &Isa) -> Vec<Body> {
        let source = |index: u32| {
            if index.is_multiple_of(3) {
                let bytes = vec![index as u8; 3];
                return Source::Machine(Box::new(move |_| Ok(Machine { bytes, text: String::new() })));
            }
            let mut signature = Signature::new(isa.target.default_call_conv());
            signature.params.push(AbiParam::new(types::I64));
            signature.returns.push(AbiParam::new(types::I64));
            let mut function = Function::with_name_signature(UserFuncName::user(0, index), signature);
            let mut context = FunctionBuilderContext::new();
            let mut b = FunctionBuilder::new(&mut function, &mut context);
            let entry = b.create_block();
            b.append_block_params_for_function_params(entry);
            b.switch_to_block(entry);
            let mut value = b.block_params(entry)[0];
            for _ in 0..index * 7 % 20 {
                let sum = b.ins().iadd_imm_s(value, i64::from(index));
                value = b.ins().imul(sum, value);
            }
            b.ins().return_(&[value]);
            b.seal_all_blocks();
            b.finalize(isa.target.frontend_config());
            Source::Cranelift(Box::new(function))
        };
        (0..20).map(|i| Body { name: format!("f{i}"), id: FuncId::from_u32(i), source: source(i) }).collect()
    }

    #[test]
    fn code_and_order_are_the_same_on_any_number_of_threads() {
        let isa = Isa::host(Level::Portable).unwrap();
        let code = |threads| -> Vec<(String, Vec<u8>)> {
            let compiled = compile_on(threads, bodies(&isa), &*isa.target, false).unwrap();
            compiled.into_iter().map(|c| (c.name, c.machine.bytes)).collect()
        };
        let alone = code(1);
        assert!(alone.iter().enumerate().all(|(i, (name, bytes))| *name == format!("f{i}") && !bytes.is_empty()));
        for threads in [0, 2, 4, 8] {
            assert_eq!(code(threads), alone);
        }
    }

    #[test]
    fn the_first_error_is_said() {
        let isa = Isa::host(Level::Portable).unwrap();
        let mut bodies = bodies(&isa);
        for at in [15, 4] {
            bodies[at].source = Source::Machine(Box::new(move |_| Err(internal(format!("fault of {at}")))));
        }
        let error = compile_on(4, bodies, &*isa.target, false).err().unwrap();
        assert!(error.to_string().contains("fault of 4"), "{error}");
    }
}
