//! From a graph to a list of stages over memories. Decides what is computed where: which
//! elementwise nodes melt into one loop, which values are views of others, which products read
//! packed weights. Owns no machine code and no numbers.

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dim::{Dim, Sizes};
use msd_ir::dtype::DType;
use msd_ir::graph::{Kernel, Value};
use msd_ir::melt;
use msd_ir::ops::{Class, Op};
use msd_ir::types::{Shape, Type};

use crate::isa::{DotForm, Isa};
use crate::micro::Emitter;

mod digits;
mod finish;
mod groups;
mod join;
mod layout;
mod products;
mod program;

pub(crate) use layout::{Layout, RowLayout};
pub(crate) use program::{
    Blocks, Decompose, DigitSums, Groups, Memory, MemoryKind, Packing, PartName, Product, Program, Region, RowOp,
    RowSums, Source, Stage, Step, Term, View, Work, ZeroPoint,
};

/// Schedules `kernel` for a target, with the sizes in `fixed` known; other dimensions stay symbolic.
pub(crate) fn schedule(kernel: &Kernel, fixed: &Sizes, isa: &Isa) -> Result<Program, Diagnostic> {
    let shapes = kernel
        .nodes
        .iter()
        .map(|n| n.types.iter().map(|t| t.shape().iter().map(|d| d.with(fixed)).collect::<Option<Shape>>()).collect());
    let shapes: Option<Vec<Vec<Shape>>> = shapes.collect();
    let mut s = Scheduler {
        kernel,
        fixed,
        dot: isa.dot,
        emitter: isa.emitter,
        shapes: shapes.ok_or_else(too_complex)?,
        views: vec![Vec::new(); kernel.nodes.len()],
        melts: Vec::new(),
        pending: vec![None; kernel.nodes.len()],
        uses: kernel.use_counts(),
        sums: Vec::new(),
        memories: Vec::new(),
        stages: Vec::new(),
    };
    for (index, node) in kernel.nodes.iter().enumerate() {
        s.views[index] = vec![None; node.types.len()];
    }
    s.melts = melt::melting(kernel, &s.shapes);
    for index in 0..kernel.nodes.len() {
        s.place(index)?;
    }
    let mut outputs = Vec::new();
    for (index, value) in kernel.results.iter().enumerate() {
        let dtype = kernel.tensor_ty(*value).dtype;
        let shape = s.shape(*value);
        let memory = s.memory(MemoryKind::Output { index });
        let out = View::dense(memory, dtype, shape.clone()).ok_or_else(too_complex)?;
        s.map_into(*value, out)?;
        outputs.push((dtype, shape));
    }
    join::join(&mut s.stages, &mut s.memories);
    Ok(Program { memories: s.memories, stages: s.stages, outputs })
}

pub(crate) fn too_complex() -> Diagnostic {
    Diagnostic::new(Code::DimensionTooComplex, "a size of this kernel is too complex")
        .help("fix more dimensions with `-D`")
}

struct Scheduler<'k> {
    kernel: &'k Kernel,
    fixed: &'k Sizes,
    dot: DotForm,
    /// The widest emitter of tiles.
    emitter: Emitter,
    shapes: Vec<Vec<Shape>>,
    /// Where each value that is in memory lies.
    views: Vec<Vec<Option<View>>>,
    /// Nodes computed inside the loop of whatever uses them.
    melts: Vec<bool>,
    /// Products among those, until their loop comes.
    pending: Vec<Option<Pending>>,
    /// Of each node's results together, results of the kernel included.
    uses: Vec<usize>,
    /// Integer rows, the size of their groups, a factor, and the sums of groups times that.
    sums: Vec<(View, Dim, i32, View)>,
    memories: Vec<Memory>,
    stages: Vec<Stage>,
}

/// A product that is computed in the loop it melts into.
#[derive(Clone)]
struct Pending {
    term: Term,
    /// Its place among the terms of the region that is being built, once it is asked for.
    place: Option<usize>,
}

impl Scheduler<'_> {
    fn shape(&self, value: Value) -> Shape {
        self.shapes[value.node][value.result].clone()
    }

    fn memory(&mut self, kind: MemoryKind) -> usize {
        let is_shared = !matches!(kind, MemoryKind::Buffer { .. });
        let known = self.memories.iter().position(|m| is_shared && m.kind == kind);
        known.unwrap_or_else(|| {
            self.memories.push(Memory { kind, packing: None });
            self.memories.len() - 1
        })
    }

    /// A fresh dense buffer.
    fn buffer(&mut self, dtype: DType, shape: Shape) -> Result<View, Diagnostic> {
        let count = shape.iter().try_fold(Dim::constant(dtype.host_bytes() as u64), |n, d| n.mul(d));
        let bytes = count.ok_or_else(too_complex)?;
        let memory = self.memory(MemoryKind::Buffer { bytes });
        View::dense(memory, dtype, shape).ok_or_else(too_complex)
    }

    /// Gives node `index` its place: a view, or a stage that computes it.
    fn place(&mut self, index: usize) -> Result<(), Diagnostic> {
        let kernel = self.kernel;
        let node = &kernel.nodes[index];
        if self.melts[index] && node.op.class() == Class::Elementwise {
            return Ok(());
        }
        let value = Value { node: index, result: 0 };
        // Packing converts parts of parameters; others ask for them.
        if self.is_conversion(value) {
            return Ok(());
        }
        match &node.op {
            Op::Const { .. } | Op::Size { .. } => Ok(()),
            Op::Param { index: param } => {
                if matches!(node.types[0], Type::Tensor(_)) {
                    self.place_input(value, *param, PartName::Codes)?;
                }
                Ok(())
            }
            Op::Codes => self.place_part(value, PartName::Codes),
            Op::Scale => self.place_part(value, PartName::Scale),
            Op::Zero => self.place_part(value, PartName::Zero),
            Op::Dequant => self.place_dequant(value),
            Op::Sum | Op::Amax | Op::Softmax => self.place_row(value),
            Op::Transpose { .. } | Op::Reshape { .. } | Op::Slice { .. } | Op::Broadcast { .. } => {
                self.place_movement(value)
            }
            Op::Concat { axis } => self.place_concat(value, *axis),
            Op::MatMul => self.place_matmul(value),
            Op::Dot => self.place_dot(value),
            Op::Decompose { scheme } => self.place_decompose(value, *scheme, None),
            Op::DecomposeBlocks { scheme, size } => self.place_decompose(value, *scheme, Some(size)),
            Op::Combine { scheme } | Op::CombineZero { scheme } => self.place_combine(value, *scheme),
            Op::Accumulate => self.place_accumulate(value),
            Op::AccumulateWide { scheme } => self.place_accumulate_wide(value, *scheme),
            // Packing counts the steps of what products read; others compute them when they ask.
            Op::Steps if self.stored(value).is_some() => Ok(()),
            _ => {
                let out = self.buffer(kernel.tensor_ty(value).dtype, self.shape(value))?;
                self.map_into(value, out.clone())?;
                self.set(value, out);
                Ok(())
            }
        }
    }

    fn set(&mut self, value: Value, view: View) {
        self.views[value.node][value.result] = Some(view);
    }

    fn place_input(&mut self, value: Value, param: usize, part: PartName) -> Result<(), Diagnostic> {
        let memory = self.memory(MemoryKind::Input { param, part });
        let dtype = self.kernel.tensor_ty(value).dtype;
        let view = View::dense(memory, dtype, self.shape(value)).ok_or_else(too_complex)?;
        self.set(value, view);
        Ok(())
    }

    fn place_part(&mut self, value: Value, part: PartName) -> Result<(), Diagnostic> {
        match self.kernel.node(self.kernel.node(value).operands[0]).op {
            Op::Param { index } => self.place_input(value, index, part),
            _ => Err(crate::isa::internal("a quantized value that is no parameter")),
        }
    }

    /// The value in memory; leaves that live nowhere get a buffer.
    fn view(&mut self, value: Value) -> Result<View, Diagnostic> {
        if let Some(view) = &self.views[value.node][value.result] {
            return Ok(view.clone());
        }
        if let Some(pending) = self.pending[value.node].take() {
            let view = self.materialize(value, pending.term)?;
            self.set(value, view.clone());
            return Ok(view);
        }
        if self.kernel.node(value).op.class() == Class::Movement {
            self.place_movement(value)?;
            return self.view(value);
        }
        let out = self.buffer(self.kernel.tensor_ty(value).dtype, self.shape(value))?;
        self.map_into(value, out.clone())?;
        self.set(value, out.clone());
        Ok(out)
    }

    /// A dense copy of a view as `dtype`.
    fn copy(&mut self, view: &View, dtype: DType) -> Result<View, Diagnostic> {
        let out = self.buffer(dtype, view.shape.clone())?;
        self.copy_into(view, out.clone())?;
        Ok(out)
    }

    fn copy_into(&mut self, view: &View, out: View) -> Result<(), Diagnostic> {
        self.push_map(Region::of_view(view.clone()), out)
    }

    /// A loop that stores the region, around products if it has any.
    fn push_map(&mut self, region: Region, out: View) -> Result<(), Diagnostic> {
        if !region.terms.is_empty() {
            return self.push_product(region, out);
        }
        let outer = region.shape.len().saturating_sub(1);
        let rows = product(&region.shape[..outer])?;
        let cost = size(&region.shape);
        self.push(Work::Map { region, out }, rows, Dim::constant(1), 1, cost)
    }

    /// Adds a stage of `outer * ceil(inner / by)` units.
    fn push(&mut self, work: Work, outer: Dim, inner: Dim, by: u64, cost: Option<Dim>) -> Result<(), Diagnostic> {
        let written = match &work {
            Work::Map { out, .. } | Work::Row { out, .. } | Work::Accumulate { out, .. } => out,
            Work::Product(product) => &product.out,
            // Panels hold more than what they are made from.
            Work::Pack { source, .. } | Work::PackRows { source, .. } => source,
            Work::Decompose(decompose) => &decompose.scale,
        };
        let writes = product(&written.shape)?;
        self.stages.push(Stage { work, outer, inner, by, cost, writes });
        Ok(())
    }

    /// A loop that computes `value`, and whatever melts into it, into `out`.
    fn map_into(&mut self, value: Value, out: View) -> Result<(), Diagnostic> {
        let region = self.region(value)?;
        self.push_map(region, out)
    }

    /// The elementwise expression of `value` down to values in memory.
    fn region(&mut self, value: Value) -> Result<Region, Diagnostic> {
        let kernel = self.kernel;
        let shape = self.shape(value);
        let mut region = Region::new(shape.clone());
        let root_is_step = kernel.node(value).op.class() == Class::Elementwise && self.views[value.node][0].is_none();
        // Nodes of the region, found from the root backwards; operands stand before users.
        let mut inside = vec![false; kernel.nodes.len()];
        if root_is_step {
            inside[value.node] = true;
            for index in (0..=value.node).rev() {
                if inside[index] {
                    for v in &kernel.nodes[index].operands {
                        inside[v.node] |= self.melts[v.node] && kernel.node(*v).op.class() == Class::Elementwise;
                    }
                }
            }
        }
        let mut step_of: Vec<Option<Source>> = vec![None; kernel.nodes.len()];
        for index in (0..=value.node).filter(|i| inside[*i]) {
            let node = &kernel.nodes[index];
            let mut operands = Vec::new();
            for v in &node.operands {
                operands.push(match &step_of[v.node] {
                    Some(step) => step.clone(),
                    None => self.leaf(&mut region, *v, &shape)?,
                });
            }
            let dtype = kernel.tensor_ty(Value { node: index, result: 0 }).dtype;
            let mut op = node.op.clone();
            if let (Op::Steps, Some(format)) = (&op, kernel.tensor_ty(node.operands[0]).dtype.minifloat()) {
                operands.push(Source::Const((1.0 / format.step()).to_bits()));
                let steps = region.step(Op::Mul, operands, DType::F32);
                (op, operands) = (Op::Cast { dtype }, vec![steps]);
            }
            step_of[index] = Some(region.step(op, operands, dtype));
        }
        region.root = match &step_of[value.node] {
            Some(step) => step.clone(),
            None => self.leaf(&mut region, value, &shape)?,
        };
        for pending in self.pending.iter_mut().flatten() {
            pending.place = None;
        }
        Ok(region)
    }

    fn leaf(&mut self, region: &mut Region, value: Value, shape: &[Dim]) -> Result<Source, Diagnostic> {
        match &self.kernel.node(value).op {
            Op::Const { bits } => return Ok(Source::Const(*bits)),
            Op::Size { dim } => return Ok(Source::Size(dim.with(self.fixed).ok_or_else(too_complex)?)),
            _ => {}
        }
        if self.melts[value.node]
            && self.shape(value) == shape
            && let Some(known) = self.term_of(region, value)
        {
            return Ok(known);
        }
        let view = self.view(value)?.stretched(shape);
        let known = region.leaves.iter().position(|l| *l == view);
        Ok(Source::Leaf(known.unwrap_or_else(|| {
            region.leaves.push(view);
            region.leaves.len() - 1
        })))
    }

    fn place_row(&mut self, value: Value) -> Result<(), Diagnostic> {
        let node = self.kernel.node(value);
        let op = match node.op {
            Op::Sum => RowOp::Sum,
            Op::Amax => RowOp::Amax,
            _ => RowOp::Softmax,
        };
        let region = self.region(node.operands[0])?;
        if let (RowOp::Sum, Some(x)) = (op, exact_sum(&region, self.kernel.tensor_ty(value).dtype)) {
            let out = self.row_sums(&x)?;
            self.set(value, out);
            return Ok(());
        }
        let out = self.buffer(self.kernel.tensor_ty(value).dtype, self.shape(value))?;
        let rows = product(&region.shape[..region.shape.len() - 1])?;
        let cost = size(&region.shape);
        self.push(Work::Row { op, region, out: out.clone() }, rows, Dim::constant(1), 1, cost)?;
        self.set(value, out);
        Ok(())
    }

    fn place_movement(&mut self, value: Value) -> Result<(), Diagnostic> {
        let node = self.kernel.node(value);
        let view = self.view(node.operands[0])?;
        let moved = self.moved(view.clone(), value)?;
        let view = match moved {
            Some(view) => view,
            None => {
                let copy = self.copy(&view, view.dtype)?;
                self.moved(copy, value)?.ok_or_else(|| crate::isa::internal("a dense view that has no other shape"))?
            }
        };
        self.set(value, view);
        Ok(())
    }

    /// What moving elements as `value` does makes of a view of its operand; nothing where the elements
    /// would have to be copied.
    fn moved(&self, mut view: View, value: Value) -> Result<Option<View>, Diagnostic> {
        match &self.kernel.node(value).op {
            Op::Transpose { axes } => {
                view.strides = axes.iter().map(|a| view.strides[*a].clone()).collect();
                view.shape = self.shape(value);
            }
            Op::Slice { axis, start, .. } => {
                let start = start.with(self.fixed).ok_or_else(too_complex)?;
                let step = start.mul(&view.strides[*axis]).ok_or_else(too_complex)?;
                view.offset = view.offset.add(&step).ok_or_else(too_complex)?;
                view.shape = self.shape(value);
            }
            Op::Broadcast { .. } => view = view.stretched(&self.shape(value)),
            _ => return Ok(view.reshaped(&self.shape(value))),
        }
        Ok(Some(view))
    }

    fn place_concat(&mut self, value: Value, axis: usize) -> Result<(), Diagnostic> {
        let out = self.buffer(self.kernel.tensor_ty(value).dtype, self.shape(value))?;
        let mut at = Dim::constant(0);
        for operand in self.kernel.node(value).operands.clone() {
            let part = self.view(operand)?;
            let step = at.mul(&out.strides[axis]).ok_or_else(too_complex)?;
            let window = View { shape: part.shape.clone(), offset: step, ..out.clone() };
            at = at.add(&part.shape[axis]).ok_or_else(too_complex)?;
            self.copy_into(&part, window)?;
        }
        self.set(value, out);
        Ok(())
    }
}

/// The integers in memory whose exact sum this is.
fn exact_sum(region: &Region, dtype: DType) -> Option<View> {
    let is_plain = match (region.steps.as_slice(), &region.root) {
        ([], Source::Leaf(0)) => true,
        ([Step { op: Op::Cast { .. }, operands, .. }], Source::Step(0)) => matches!(operands[..], [Source::Leaf(0)]),
        _ => false,
    };
    let x = region.leaves.first().filter(|x| is_plain && dtype == DType::I64 && x.dtype.is_int())?;
    Some(x.clone())
}

/// Product of sizes, unless it grows too complex.
fn size(shape: &[Dim]) -> Option<Dim> {
    shape.iter().try_fold(Dim::constant(1), |n, d| n.mul(d))
}

/// Product of sizes that the schedule cannot do without.
fn product(shape: &[Dim]) -> Result<Dim, Diagnostic> {
    size(shape).ok_or_else(too_complex)
}
