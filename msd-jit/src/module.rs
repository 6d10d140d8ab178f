//! Code memory: declares and defines functions, then makes them executable for good (pages are
//! writable or executable, never both) and frees them when the last handle goes.

use cranelift_codegen::ir::{AbiParam, FuncRef, Function, Signature, UserFuncName, types};
use cranelift_jit::{ArenaMemoryProvider, JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, default_libcall_names};
use msd_ir::diag::Diagnostic;

use crate::compiler::{Body, Compiled, Source, compile};
use crate::isa::{Isa, internal};
use crate::micro::Machine;

/// Address space reserved per kernel: one range, because direct calls reach 2 GB. Pages are used
/// only as code fills them, so the allowance per stage is generous: the largest are a few KB.
const RESERVED: usize = 8 << 20;
const RESERVED_PER_STAGE: usize = 64 << 10;
const MAX_RESERVED: usize = 1 << 30;

/// A module under construction.
pub(crate) struct CodeBuilder {
    module: JITModule,
    /// What is still to be compiled.
    bodies: Vec<Body>,
    /// Text of what was compiled, if it was asked for.
    pub(crate) listing: Option<Listing>,
}

/// What `msd opt --emit clif|asm` prints, one entry per function.
#[derive(Default)]
pub(crate) struct Listing {
    pub(crate) clif: Vec<(String, String)>,
    pub(crate) asm: Vec<(String, String)>,
}

extern "C" fn fma_f32(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

extern "C" fn fma_f64(a: f64, b: f64, c: f64) -> f64 {
    a.mul_add(b, c)
}

impl CodeBuilder {
    /// A module for about `stages` functions.
    pub(crate) fn new(isa: &Isa, stages: usize, listing: bool) -> Result<CodeBuilder, Diagnostic> {
        let mut builder = JITBuilder::with_isa(isa.target.clone(), default_libcall_names());
        let reserved = RESERVED.saturating_add(stages.saturating_mul(RESERVED_PER_STAGE)).min(MAX_RESERVED);
        builder.memory_provider(Box::new(ArenaMemoryProvider::new_with_size(reserved).map_err(internal)?));
        // Fused multiply-add below x86-64-v3 is a call; ours, not whatever the process exports.
        builder.symbol("fmaf", fma_f32 as *const u8);
        builder.symbol("fma", fma_f64 as *const u8);
        Ok(CodeBuilder { module: JITModule::new(builder), bodies: Vec::new(), listing: listing.then(Listing::default) })
    }

    /// A signature of integer and address arguments without a result, in the host's C convention.
    pub(crate) fn signature(&self, arguments: usize) -> Signature {
        let mut signature = self.module.make_signature();
        signature.params = vec![AbiParam::new(types::I64); arguments];
        signature
    }

    pub(crate) fn declare(&mut self, name: &str, arguments: usize) -> Result<FuncId, Diagnostic> {
        let signature = self.signature(arguments);
        self.module.declare_function(name, Linkage::Local, &signature).map_err(internal)
    }

    /// The function's empty body, to be filled and given to [`CodeBuilder::define`].
    pub(crate) fn body(&self, id: FuncId, arguments: usize) -> Function {
        Function::with_name_signature(UserFuncName::user(0, id.as_u32()), self.signature(arguments))
    }

    /// Makes `callee` callable from the function under construction.
    pub(crate) fn import(&mut self, callee: FuncId, into: &mut Function) -> FuncRef {
        self.module.declare_func_in_func(callee, into)
    }

    /// How many functions there are.
    pub(crate) fn count(&self) -> usize {
        self.module.declarations().get_functions().count()
    }

    /// Takes a filled body.
    pub(crate) fn define(&mut self, name: &str, id: FuncId, body: Function) {
        if let Some(listing) = &mut self.listing {
            listing.clif.push((name.to_string(), body.display().to_string()));
        }
        self.bodies.push(Body { name: name.to_string(), id, source: Source::Cranelift(Box::new(body)) });
    }

    /// Takes an emitter that is not Cranelift, whose code is complete, without relocations.
    pub(crate) fn define_machine(
        &mut self,
        name: &str,
        id: FuncId,
        emit: impl FnOnce(bool) -> Result<Machine, Diagnostic> + Send + 'static,
    ) {
        self.bodies.push(Body { name: name.to_string(), id, source: Source::Machine(Box::new(emit)) });
    }

    /// Compiles all bodies.
    fn compile(&mut self) -> Result<(), Diagnostic> {
        let bodies = std::mem::take(&mut self.bodies);
        for body in compile(bodies, self.module.isa(), self.listing.is_some())? {
            let Compiled { name, id, machine, align, relocs } = body;
            self.module.define_function_bytes(id, align, &machine.bytes, &relocs).map_err(internal)?;
            if let Some(listing) = &mut self.listing {
                listing.asm.push((name, machine.text));
            }
        }
        Ok(())
    }

    /// Makes everything executable.
    pub(crate) fn finish(mut self) -> Result<(Code, Option<Listing>), Diagnostic> {
        self.compile()?;
        self.module.finalize_definitions().map_err(internal)?;
        Ok((Code { module: Some(self.module) }, self.listing))
    }

    /// The text of what was compiled, for code that will never run here.
    pub(crate) fn into_listing(mut self) -> Result<Option<Listing>, Diagnostic> {
        self.compile()?;
        // Dropping `Code` frees the memory, which nothing made executable.
        drop(Code { module: Some(self.module) });
        Ok(self.listing)
    }
}

/// Finished machine code; freed on drop, so whoever calls into it keeps this alive.
pub(crate) struct Code {
    module: Option<JITModule>,
}

// SAFETY: after `finish` the module is only read (addresses of finished functions) and dropped.
unsafe impl Send for Code {}
// SAFETY: as above; shared reads of a finished module touch no interior mutability.
unsafe impl Sync for Code {}

impl Code {
    /// Address of a function, valid while this lives.
    pub(crate) fn address(&self, id: FuncId) -> *const u8 {
        self.module.as_ref().map_or(std::ptr::null(), |m| m.get_finalized_function(id))
    }
}

impl Drop for Code {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: addresses are handed out only to `CompiledKernel`, which owns this and
            // drops it last; no code of the module can be running or be called again.
            unsafe { module.free_memory() };
        }
    }
}
