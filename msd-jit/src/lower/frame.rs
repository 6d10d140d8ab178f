//! What every stage function shares: its arguments, loops, sizes and addresses. Owns no
//! knowledge of ops.
//!
//! A stage function takes `(memories, sizes, begin, end, thread)`: the table of memory addresses, the
//! table of what only the call knows, sizes above all, the range of its units to do, and who does them.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    BlockArg, InstBuilder, InstructionData, MemFlagsData, Opcode, StackSlotData, StackSlotKind, Type, Value, types,
};
use cranelift_frontend::FunctionBuilder;
use msd_ir::diag::Diagnostic;
use msd_ir::dim::Dim;

use crate::blocking::{TileTokens, TokenEntry};
use crate::isa::internal;
use crate::schedule::{Memory, MemoryKind, View};
use crate::tile::LINE;

/// Number of arguments of a stage function.
pub(crate) const STAGE_ARGUMENTS: usize = 5;

/// An entry of the table of what only the call knows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Known {
    /// A size.
    Size(Dim),
    /// How so many tokens are cut into blocks of at most so many.
    Tokens { count: Dim, most: TileTokens, entry: TokenEntry },
    /// How the product of that stage is cut; see [`crate::blocking`].
    Blocking { stage: usize, entry: usize },
}

/// Emission of one function.
pub(crate) struct Frame<'a> {
    pub(crate) b: FunctionBuilder<'a>,
    memories: &'a [Memory],
    used: &'a mut Vec<Known>,
    table: Value,
    sizes: Value,
    pub(crate) begin: Value,
    pub(crate) end: Value,
    thread: Value,
    /// Whether the target has the instructions of x86.
    pub(crate) is_x86: bool,
}

/// Result of emitting code: only faults of ours can occur here.
pub(crate) type Emit<T> = Result<T, Diagnostic>;

impl<'a> Frame<'a> {
    /// Opens the entry block of a stage function.
    ///
    /// `used` collects the entries of the sizes table: what stands there already, and the sizes that are not
    /// constants.
    pub(crate) fn open(mut b: FunctionBuilder<'a>, memories: &'a [Memory], used: &'a mut Vec<Known>) -> Self {
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        b.seal_block(entry);
        let [table, sizes, begin, end, thread] = [0, 1, 2, 3, 4].map(|i| b.block_params(entry)[i]);
        Frame { b, memories, used, table, sizes, begin, end, thread, is_x86: false }
    }

    /// Opens a leaf function of integer arguments, such as a tile: no memories, no range.
    pub(crate) fn open_leaf(
        mut b: FunctionBuilder<'a>,
        used: &'a mut Vec<Known>,
        arguments: usize,
    ) -> (Self, Vec<Value>) {
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        b.seal_block(entry);
        let values = b.block_params(entry)[..arguments].to_vec();
        let none = values[0];
        let frame = Frame {
            b,
            memories: &[],
            used,
            table: none,
            sizes: none,
            begin: none,
            end: none,
            thread: none,
            is_x86: false,
        };
        (frame, values)
    }

    /// Ends the function.
    pub(crate) fn close(mut self, config: cranelift_codegen::isa::TargetFrontendConfig) {
        self.b.ins().return_(&[]);
        self.b.finalize(config);
    }

    /// Flags of loads and stores into memory that the caller has checked.
    pub(crate) fn flags() -> MemFlagsData {
        MemFlagsData::new().with_notrap()
    }

    /// Flags of loads from the argument tables, which nothing writes meanwhile.
    fn table_flags() -> MemFlagsData {
        MemFlagsData::trusted().with_readonly().with_can_move()
    }

    pub(crate) fn int(&mut self, value: i64) -> Value {
        self.b.ins().iconst(types::I64, value)
    }

    /// The address of a memory.
    pub(crate) fn address(&mut self, memory: usize) -> Emit<Value> {
        if memory >= self.memories.len() {
            return Err(internal("memory out of range"));
        }
        let offset = i32::try_from(memory * 8).map_err(internal)?;
        Ok(self.b.ins().load(types::I64, Self::table_flags(), self.table, offset))
    }

    /// A size: a constant where known at compile time, else computed from the sizes table.
    pub(crate) fn dim(&mut self, dim: &Dim) -> Emit<Value> {
        if let Some(constant) = dim.as_constant() {
            return Ok(self.int(constant as i64));
        }
        Ok(self.known(Known::Size(dim.clone())))
    }

    /// Something that only the call knows.
    pub(crate) fn known(&mut self, known: Known) -> Value {
        let index = self.used.iter().position(|k| *k == known).unwrap_or_else(|| {
            self.used.push(known);
            self.used.len() - 1
        });
        self.entry(index)
    }

    /// An entry of the table of what only the call knows.
    pub(crate) fn entry(&mut self, index: usize) -> Value {
        self.b.ins().load(types::I64, Self::table_flags(), self.sizes, index as i32 * 8)
    }

    /// Memory of the thread that runs this.
    pub(crate) fn thread_memory(&mut self, memory: usize) -> Emit<Value> {
        let Some(Memory { kind: MemoryKind::Scratch { bytes }, .. }) = self.memories.get(memory) else {
            return Err(internal("memory that is no thread's"));
        };
        let step = self.dim(bytes)?;
        // No cache line is two threads'.
        let step = self.b.ins().iadd_imm_s(step, LINE as i64 - 1);
        let step = self.b.ins().band_imm_s(step, -(LINE as i64));
        let skip = self.b.ins().imul(step, self.thread);
        let base = self.address(memory)?;
        Ok(self.b.ins().iadd(base, skip))
    }

    /// Whether a view lies in a result.
    pub(crate) fn is_result(&self, view: &View) -> bool {
        matches!(self.memories.get(view.memory), Some(Memory { kind: MemoryKind::Output { .. }, .. }))
    }

    /// Stack memory of this function.
    pub(crate) fn scratch(&mut self, bytes: usize) -> Value {
        let slot = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes as u32, 4);
        let slot = self.b.create_sized_stack_slot(slot);
        self.b.ins().stack_addr(types::I64, slot, 0)
    }

    /// `value * size`, without code for the factors 0 and 1.
    pub(crate) fn scaled(&mut self, value: Value, size: &Dim) -> Emit<Value> {
        match size.as_constant() {
            Some(1) => Ok(value),
            Some(constant) => Ok(self.b.ins().imul_imm_s(value, constant as i64)),
            None => {
                let size = self.dim(size)?;
                Ok(self.b.ins().imul(value, size))
            }
        }
    }

    /// Bytes of a view from one index to the next along an axis, counted from the last.
    pub(crate) fn step_bytes(&mut self, view: &View, axis: usize) -> Emit<Value> {
        let bytes = view.dtype.host_bytes() as i64;
        let stride = view.stride_from_end(axis);
        if let Some(constant) = stride.as_constant() {
            return Ok(self.int((constant as i64).wrapping_mul(bytes)));
        }
        let elements = self.dim(&stride)?;
        Ok(self.b.ins().imul_imm_s(elements, bytes))
    }

    /// Splits a flat index over `shape` into one index per axis.
    pub(crate) fn unflatten(&mut self, flat: Value, shape: &[Dim]) -> Emit<Vec<Value>> {
        let mut indices = vec![flat; shape.len()];
        let mut rest = flat;
        for axis in (0..shape.len()).rev() {
            if axis == 0 {
                indices[0] = rest;
            } else if shape[axis].is_one() {
                indices[axis] = self.int(0);
            } else {
                let size = self.dim(&shape[axis])?;
                indices[axis] = self.b.ins().urem(rest, size);
                rest = self.b.ins().udiv(rest, size);
            }
        }
        Ok(indices)
    }

    /// The address of `view[indices..., 0...]`: leading axes only.
    pub(crate) fn locate(&mut self, view: &View, indices: &[Value]) -> Emit<Value> {
        let mut elements = (view.offset.as_constant() != Some(0)).then(|| self.dim(&view.offset)).transpose()?;
        for (index, stride) in indices.iter().zip(&view.strides) {
            if stride.as_constant() != Some(0) {
                let step = self.scaled(*index, stride)?;
                elements = Some(elements.map_or(step, |sum| self.b.ins().iadd(sum, step)));
            }
        }
        let base = self.address(view.memory)?;
        let Some(elements) = elements else { return Ok(base) };
        let bytes = self.b.ins().imul_imm_s(elements, view.dtype.host_bytes() as i64);
        Ok(self.b.ins().iadd(base, bytes))
    }

    /// `for i in (from..to).step_by(step)`, carrying values. Carried values come first among the
    /// block's parameters: Cranelift emits in the order of demand, and counters first would cost
    /// a move per iteration. From a value to itself there is nothing to do, and no code.
    pub(crate) fn for_carry(
        &mut self,
        from: Value,
        to: Value,
        step: i64,
        init: &[Value],
        body: impl FnOnce(&mut Self, Value, &[Value]) -> Emit<Vec<Value>>,
    ) -> Emit<Vec<Value>> {
        if from == to {
            return Ok(init.to_vec());
        }
        let (head, inside, after) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let kinds: Vec<Type> = init.iter().map(|v| self.b.func.dfg.value_type(*v)).collect();
        for block in [head, inside, after] {
            for kind in &kinds {
                self.b.append_block_param(block, *kind);
            }
        }
        self.b.append_block_param(head, types::I64);
        self.b.append_block_param(inside, types::I64);

        let with = |values: &[Value], i: Option<Value>| -> Vec<BlockArg> {
            values.iter().copied().chain(i).map(BlockArg::from).collect()
        };
        self.b.ins().jump(head, &with(init, Some(from)));
        // The head tests once; the body loops to itself, so a round costs one branch.
        self.b.switch_to_block(head);
        let params = self.b.block_params(head).to_vec();
        let (i, carried) = (params[kinds.len()], &params[..kinds.len()]);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, i, to);
        self.b.ins().brif(more, inside, &with(carried, Some(i)), after, &with(carried, None));
        self.b.seal_block(head);

        self.b.switch_to_block(inside);
        let params = self.b.block_params(inside).to_vec();
        let (i, carried) = (params[kinds.len()], params[..kinds.len()].to_vec());
        let next = body(self, i, &carried)?;
        let i = self.b.ins().iadd_imm_s(i, step);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, i, to);
        self.b.ins().brif(more, inside, &with(&next, Some(i)), after, &with(&next, None));
        self.b.seal_block(inside);

        self.b.switch_to_block(after);
        self.b.seal_block(after);
        Ok(self.b.block_params(after).to_vec())
    }

    /// `for i in (from..to).step_by(step)`
    pub(crate) fn for_range(
        &mut self,
        from: Value,
        to: Value,
        step: i64,
        body: impl FnOnce(&mut Self, Value) -> Emit<()>,
    ) -> Emit<()> {
        self.for_carry(from, to, step, &[], |f, i, _| body(f, i).map(|()| Vec::new())).map(|_| ())
    }

    /// The largest multiple of the power of two `unit` that is at most `n`; `n` itself if that is known to be
    /// one, so that loops over the rest are none.
    pub(crate) fn round_down(&mut self, n: Value, unit: i64) -> Value {
        match self.constant(n) {
            Some(constant) if constant % unit == 0 => n,
            _ => self.b.ins().band_imm_s(n, -unit),
        }
    }

    /// The integer that a value is known to be.
    fn constant(&self, value: Value) -> Option<i64> {
        let dfg = &self.b.func.dfg;
        match dfg.insts[dfg.value_def(value).inst()?] {
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(imm.bits()),
            _ => None,
        }
    }
}
