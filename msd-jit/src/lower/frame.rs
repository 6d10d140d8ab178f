//! What every stage function shares: its arguments, loops, sizes and addresses. Owns no
//! knowledge of ops.
//!
//! A stage function takes `(memories, sizes, begin, end)`: the table of memory addresses, the
//! table of dimension sizes, and the range of its units to do.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{BlockArg, InstBuilder, MemFlagsData, Type, Value, types};
use cranelift_frontend::FunctionBuilder;
use msd_ir::diag::Diagnostic;
use msd_ir::dim::Dim;

use crate::isa::internal;
use crate::schedule::{Memory, View};

/// Number of arguments of a stage function.
pub(crate) const STAGE_ARGUMENTS: usize = 4;

/// Emission of one function.
pub(crate) struct Frame<'a> {
    pub(crate) b: FunctionBuilder<'a>,
    memories: &'a [Memory],
    used: &'a mut Vec<Dim>,
    table: Value,
    sizes: Value,
    pub(crate) begin: Value,
    pub(crate) end: Value,
}

/// Result of emitting code: only faults of ours can occur here.
pub(crate) type Emit<T> = Result<T, Diagnostic>;

impl<'a> Frame<'a> {
    /// Opens the entry block of a stage function.
    ///
    /// `used` collects the sizes that are not constants; their values are the sizes table.
    pub(crate) fn open(mut b: FunctionBuilder<'a>, memories: &'a [Memory], used: &'a mut Vec<Dim>) -> Self {
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        b.seal_block(entry);
        let [table, sizes, begin, end] = [0, 1, 2, 3].map(|i| b.block_params(entry)[i]);
        Frame { b, memories, used, table, sizes, begin, end }
    }

    /// Opens a leaf function of integer arguments, such as a tile: no memories, no range.
    pub(crate) fn open_leaf(
        mut b: FunctionBuilder<'a>,
        used: &'a mut Vec<Dim>,
        arguments: usize,
    ) -> (Self, Vec<Value>) {
        let entry = b.create_block();
        b.append_block_params_for_function_params(entry);
        b.switch_to_block(entry);
        b.seal_block(entry);
        let values = b.block_params(entry)[..arguments].to_vec();
        let none = values[0];
        (Frame { b, memories: &[], used, table: none, sizes: none, begin: none, end: none }, values)
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
        let index = self.used.iter().position(|d| d == dim).unwrap_or_else(|| {
            self.used.push(dim.clone());
            self.used.len() - 1
        });
        let offset = i32::try_from(index * 8).map_err(internal)?;
        Ok(self.b.ins().load(types::I64, Self::table_flags(), self.sizes, offset))
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
        let mut elements = self.dim(&view.offset)?;
        for (index, stride) in indices.iter().zip(&view.strides) {
            if stride.as_constant() != Some(0) {
                let step = self.scaled(*index, stride)?;
                elements = self.b.ins().iadd(elements, step);
            }
        }
        let bytes = self.b.ins().imul_imm_s(elements, view.dtype.host_bytes() as i64);
        let base = self.address(view.memory)?;
        Ok(self.b.ins().iadd(base, bytes))
    }

    /// `for i in (from..to).step_by(step)`, carrying values. Carried values come first among the
    /// block's parameters: Cranelift emits in the order of demand, and counters first would cost
    /// a move per iteration.
    pub(crate) fn for_carry(
        &mut self,
        from: Value,
        to: Value,
        step: i64,
        init: &[Value],
        body: impl FnOnce(&mut Self, Value, &[Value]) -> Emit<Vec<Value>>,
    ) -> Emit<Vec<Value>> {
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

    /// The largest multiple of the power of two `unit` that is at most `n`.
    pub(crate) fn round_down(&mut self, n: Value, unit: i64) -> Value {
        self.b.ins().band_imm_s(n, -unit)
    }
}
