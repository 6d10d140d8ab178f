//! From a graph to a list of stages over memories. Decides what is computed where: which
//! elementwise nodes melt into one loop, which values are views of others, which products read
//! packed weights. Owns no machine code and no numbers.

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dim::{Dim, Sizes};
use msd_ir::dtype::DType;
use msd_ir::graph::{Kernel, Value};
use msd_ir::ops::{Class, Op};
use msd_ir::quant::scheme::Scheme;
use msd_ir::types::{Shape, Type};

use crate::isa::DotForm;
use crate::tile::RowForm;

mod digits;
mod products;

/// Nodes one elementwise loop may hold; bounds code size and compile time.
const MAX_REGION: usize = 48;

/// Which tensor of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum PartName {
    Codes,
    Scale,
    Zero,
}

impl PartName {
    /// In the order of a declaration.
    pub(crate) const ALL: [PartName; 3] = [PartName::Codes, PartName::Scale, PartName::Zero];
}

/// What an address of the memory table points to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MemoryKind {
    /// A caller's tensor.
    Input { param: usize, part: PartName },
    /// Weights in the layout a tile wants; see [`crate::pack`].
    Packed { param: usize, layout: Layout },
    /// Scratch, owned by the call.
    Buffer { bytes: Dim },
    /// A result.
    Output { index: usize },
}

/// How a matrix operand `b[batch, k, n]` is laid out for its tile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Layout {
    /// One row of `k` codes per `n`, 128 added where the dot product wants unsigned bytes.
    Rows { offset: bool },
    /// `[ceil(n / 24)][k][24]`, elements as they are, zeros at the end.
    Panels,
}

/// A slot of the memory table.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) kind: MemoryKind,
    /// For packed weights: the codes it is made from.
    pub(crate) source: Option<View>,
}

/// A strided window into a memory. Strides and offset count elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct View {
    pub(crate) memory: usize,
    pub(crate) dtype: DType,
    pub(crate) shape: Shape,
    pub(crate) strides: Vec<Dim>,
    pub(crate) offset: Dim,
}

impl View {
    /// A dense row-major view of a whole memory.
    pub(crate) fn dense(memory: usize, dtype: DType, shape: Shape) -> Option<View> {
        let mut strides = vec![Dim::constant(1); shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis].mul(&shape[axis])?;
        }
        Some(View { memory, dtype, shape, strides, offset: Dim::constant(0) })
    }

    /// The view stretched to `shape` by NumPy's rule.
    pub(crate) fn stretched(&self, shape: &[Dim]) -> View {
        let missing = shape.len().saturating_sub(self.shape.len());
        let strides = (0..shape.len()).map(|axis| match axis.checked_sub(missing) {
            Some(own) if self.shape[own] == shape[axis] => self.strides[own].clone(),
            _ => Dim::constant(0),
        });
        View { strides: strides.collect(), shape: shape.to_vec(), ..self.clone() }
    }

    /// The leading axes stretched to `batch`; the last two stay.
    pub(crate) fn stretched_outer(&self, batch: &[Dim]) -> View {
        self.stretched_keeping(batch, 2)
    }

    /// The leading axes stretched to `batch`; the panel, depth and column axes stay.
    pub(crate) fn stretched_panels(&self, batch: &[Dim]) -> View {
        self.stretched_keeping(batch, 3)
    }

    fn stretched_keeping(&self, batch: &[Dim], kept: usize) -> View {
        let own = self.shape.len().saturating_sub(kept);
        let shape: Shape = batch.iter().chain(&self.shape[own..]).cloned().collect();
        self.stretched(&shape)
    }

    pub(crate) fn is_dense(&self) -> bool {
        View::dense(self.memory, self.dtype, self.shape.clone()).is_some_and(|d| d.strides == self.strides)
    }

    /// Stride along the axis counted from the last.
    pub(crate) fn stride_from_end(&self, axis: usize) -> Dim {
        self.strides.len().checked_sub(axis + 1).map_or(Dim::constant(0), |i| self.strides[i].clone())
    }

    /// Size along the axis counted from the last.
    pub(crate) fn size_from_end(&self, axis: usize) -> Dim {
        self.shape.len().checked_sub(axis + 1).map_or(Dim::constant(1), |i| self.shape[i].clone())
    }
}

/// An operand inside an elementwise region.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// Elements of a memory, stretched to the region's shape.
    Leaf(usize),
    /// The result of an earlier step.
    Step(usize),
    /// The same value everywhere.
    Const(u32),
    /// A dimension's size.
    Size(Dim),
}

/// One op of a region.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) op: Op,
    pub(crate) operands: Vec<Source>,
    pub(crate) dtype: DType,
}

/// Elementwise work over one shape.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) shape: Shape,
    pub(crate) leaves: Vec<View>,
    pub(crate) steps: Vec<Step>,
    pub(crate) root: Source,
}

/// What a reduction does with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowOp {
    Sum,
    Amax,
    Softmax,
}

/// Sums of digit rows as the products they belong to see them: `[.., M, N]`, those of the next digit
/// `digit_stride` elements on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RowSums {
    pub(crate) view: View,
    pub(crate) digit_stride: Dim,
}

/// Rows in blocks of K.
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    pub(crate) size: Dim,
    /// The scale of a block over that of its row, F32 `[.., G, M, 1]`.
    pub(crate) relative: View,
}

/// What becomes of the exact products of a token's digits.
#[derive(Clone, Debug)]
pub(crate) struct Merge {
    /// Of the digits.
    pub(crate) weights: &'static [i64],
    pub(crate) zero: Option<ZeroPoint>,
    pub(crate) groups: Option<Groups>,
    /// Whether an I32 holds every integer from the tile to the one rounding.
    pub(crate) is_narrow: bool,
}

/// `S - zero * R`; both views have the shape of the merged products.
#[derive(Clone, Debug)]
pub(crate) struct ZeroPoint {
    pub(crate) sums: RowSums,
    pub(crate) zero: View,
}

/// Merged products of groups of K, `[.., G, M, N]`, added up times `scale * unit`. Both views have
/// that shape.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    pub(crate) scale: View,
    pub(crate) unit: Option<View>,
}

impl Merge {
    pub(crate) fn group_count(&self) -> Option<Dim> {
        self.groups.as_ref().map(|g| g.scale.size_from_end(2))
    }
}

/// Work between two barriers.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// `out[...] = region`
    Map { region: Region, out: View },
    /// A row operation over the region's last axis.
    Row { op: RowOp, region: Region, out: View },
    /// `x [.., M, K]` split into digit rows `[.., D*M, K]`, and the scale `[.., M, 1]` of each token.
    /// With `blocks`, each block of a row is split by its own scale: digits `[.., G, D*M, size]`.
    Decompose { scheme: Scheme, x: View, digits: View, scale: View, blocks: Option<Blocks> },
    /// Integer products of rows `x [.., R, K]` and `w [.., N, K]`. With `merge`, the digit rows of
    /// each token are merged into F32 `out [.., M, N]`, else `out [.., R, N]` is I64.
    /// `sums` are the row sums of `x`, where products are taken with `w + 128`.
    Dot { x: View, w: View, sums: Option<RowSums>, form: RowForm, merge: Option<Merge>, out: View },
    /// `out [.., M, N] = sum_g p[g] * (s[g] * u[g])`, all `[.., G, M, N]`; `u` is 1 where missing.
    Accumulate { p: View, s: View, u: Option<View>, out: View },
    /// `b [.., K, N]` rearranged into panels `out [.., ceil(N/24), K, 24]`.
    Panels { b: View, out: View },
    /// `out [.., M, N] = a [.., M, K] @ panels`, floats or integers.
    MatMul { a: View, panels: View, out: View },
}

/// A piece of work and how many units it splits into.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) work: Work,
    /// Independent units: `outer * ceil(inner / by)`.
    pub(crate) outer: Dim,
    pub(crate) inner: Dim,
    pub(crate) by: u64,
    /// Elements or multiply-accumulates in all, to decide whether threads are worth waking; `None`
    /// where the number is beyond every bound.
    pub(crate) cost: Option<Dim>,
    /// Elements it writes; none means nothing to do, however many units there are.
    pub(crate) writes: Dim,
}

/// A scheduled kernel.
pub(crate) struct Program {
    pub(crate) memories: Vec<Memory>,
    pub(crate) stages: Vec<Stage>,
    /// Type and shape of each result.
    pub(crate) outputs: Vec<(DType, Shape)>,
}

/// Schedules `kernel` with the sizes in `fixed` known; other dimensions stay symbolic.
pub(crate) fn schedule(kernel: &Kernel, fixed: &Sizes, dot: DotForm) -> Result<Program, Diagnostic> {
    let shapes = kernel
        .nodes
        .iter()
        .map(|n| n.types.iter().map(|t| t.shape().iter().map(|d| d.with(fixed)).collect::<Option<Shape>>()).collect());
    let shapes: Option<Vec<Vec<Shape>>> = shapes.collect();
    let mut s = Scheduler {
        kernel,
        fixed,
        dot,
        shapes: shapes.ok_or_else(too_complex)?,
        views: vec![Vec::new(); kernel.nodes.len()],
        melts: Vec::new(),
        uses: kernel.use_counts(),
        row_sums: Vec::new(),
        memories: Vec::new(),
        stages: Vec::new(),
    };
    for (index, node) in kernel.nodes.iter().enumerate() {
        s.views[index] = vec![None; node.types.len()];
    }
    s.melts = s.find_melting();
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
    shapes: Vec<Vec<Shape>>,
    /// Where each value that is in memory lies.
    views: Vec<Vec<Option<View>>>,
    /// Elementwise nodes computed inside their only user's loop.
    melts: Vec<bool>,
    /// Of each node's results together, results of the kernel included.
    uses: Vec<usize>,
    /// Integer rows and their sums, computed once.
    row_sums: Vec<(View, View)>,
    memories: Vec<Memory>,
    stages: Vec<Stage>,
}

impl Scheduler<'_> {
    fn shape(&self, value: Value) -> Shape {
        self.shapes[value.node][value.result].clone()
    }

    fn memory(&mut self, kind: MemoryKind) -> usize {
        let is_shared = !matches!(kind, MemoryKind::Buffer { .. });
        let known = self.memories.iter().position(|m| is_shared && m.kind == kind);
        known.unwrap_or_else(|| {
            self.memories.push(Memory { kind, source: None });
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

    /// Nodes that need no memory of their own: elementwise, used once, by a loop over the same shape.
    fn find_melting(&self) -> Vec<bool> {
        let kernel = self.kernel;
        let uses = &self.uses;
        let mut melts = vec![false; kernel.nodes.len()];
        let mut weight = vec![1usize; kernel.nodes.len()];
        for (user, node) in kernel.nodes.iter().enumerate() {
            let hosts = match node.op.class() {
                Class::Elementwise => true,
                Class::Row => true,
                Class::Leaf | Class::Quantized | Class::Movement | Class::Product | Class::Digits => false,
            };
            if !hosts {
                continue;
            }
            for v in &node.operands {
                let same_shape = match node.op.class() {
                    Class::Row => true,
                    _ => self.shapes[v.node][v.result] == self.shapes[user][0],
                };
                let fits = weight[user] + weight[v.node] <= MAX_REGION;
                if kernel.nodes[v.node].op.class() == Class::Elementwise && uses[v.node] == 1 && same_shape && fits {
                    melts[v.node] = true;
                    weight[user] += weight[v.node];
                }
            }
        }
        for v in &kernel.results {
            // A result's loop writes straight to the output.
            melts[v.node] = kernel.nodes[v.node].op.class() == Class::Elementwise && uses[v.node] == 1;
        }
        melts
    }

    /// Gives node `index` its place: a view, or a stage that computes it.
    fn place(&mut self, index: usize) -> Result<(), Diagnostic> {
        if self.melts[index] {
            return Ok(());
        }
        let kernel = self.kernel;
        let node = &kernel.nodes[index];
        let value = Value { node: index, result: 0 };
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
        let out = self.buffer(self.kernel.tensor_ty(value).dtype, self.shape(value))?;
        self.map_into(value, out.clone())?;
        self.set(value, out.clone());
        Ok(out)
    }

    /// The value in memory as `dtype`.
    fn view_as(&mut self, value: Value, dtype: DType) -> Result<View, Diagnostic> {
        let view = self.view(value)?;
        if view.dtype == dtype { Ok(view) } else { self.copy(&view, dtype) }
    }

    /// A dense copy of a view as `dtype`.
    fn copy(&mut self, view: &View, dtype: DType) -> Result<View, Diagnostic> {
        let out = self.buffer(dtype, view.shape.clone())?;
        self.copy_into(view, out.clone())?;
        Ok(out)
    }

    fn copy_into(&mut self, view: &View, out: View) -> Result<(), Diagnostic> {
        let region =
            Region { shape: out.shape.clone(), leaves: vec![view.clone()], steps: Vec::new(), root: Source::Leaf(0) };
        self.push_map(region, out)
    }

    fn push_map(&mut self, region: Region, out: View) -> Result<(), Diagnostic> {
        let outer = region.shape.len().saturating_sub(1);
        let rows = product(&region.shape[..outer])?;
        let cost = size(&region.shape);
        self.push(Work::Map { region, out }, rows, Dim::constant(1), 1, cost)
    }

    /// Adds a stage of `outer * ceil(inner / by)` units.
    fn push(&mut self, work: Work, outer: Dim, inner: Dim, by: u64, cost: Option<Dim>) -> Result<(), Diagnostic> {
        let written = match &work {
            Work::Map { out, .. } | Work::Row { out, .. } => out,
            Work::Dot { out, .. } | Work::Accumulate { out, .. } => out,
            Work::Panels { out, .. } | Work::MatMul { out, .. } => out,
            Work::Decompose { scale, .. } => scale,
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
        let mut region = Region { shape: shape.clone(), leaves: Vec::new(), steps: Vec::new(), root: Source::Const(0) };
        let root_is_step = kernel.node(value).op.class() == Class::Elementwise && self.views[value.node][0].is_none();
        // Nodes of the region, found from the root backwards; operands stand before users.
        let mut inside = vec![false; kernel.nodes.len()];
        if root_is_step {
            inside[value.node] = true;
            for index in (0..=value.node).rev() {
                if inside[index] {
                    for v in &kernel.nodes[index].operands {
                        inside[v.node] |= self.melts[v.node];
                    }
                }
            }
        }
        let mut step_of = vec![None; kernel.nodes.len()];
        for index in (0..=value.node).filter(|i| inside[*i]) {
            let node = &kernel.nodes[index];
            let mut operands = Vec::new();
            for v in &node.operands {
                operands.push(match step_of[v.node] {
                    Some(step) => Source::Step(step),
                    None => self.leaf(&mut region, *v, &shape)?,
                });
            }
            step_of[index] = Some(region.steps.len());
            let dtype = kernel.tensor_ty(Value { node: index, result: 0 }).dtype;
            region.steps.push(Step { op: node.op.clone(), operands, dtype });
        }
        region.root = match step_of[value.node] {
            Some(step) => Source::Step(step),
            None => self.leaf(&mut region, value, &shape)?,
        };
        Ok(region)
    }

    fn leaf(&mut self, region: &mut Region, value: Value, shape: &[Dim]) -> Result<Source, Diagnostic> {
        match &self.kernel.node(value).op {
            Op::Const { bits } => return Ok(Source::Const(*bits)),
            Op::Size { dim } => return Ok(Source::Size(dim.with(self.fixed).ok_or_else(too_complex)?)),
            _ => {}
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
        let mut view = self.view(node.operands[0])?;
        match &node.op {
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
            _ => {
                if !view.is_dense() {
                    view = self.copy(&view, view.dtype)?;
                }
                let offset = view.offset.clone();
                view = View::dense(view.memory, view.dtype, self.shape(value)).ok_or_else(too_complex)?;
                view.offset = offset;
            }
        }
        self.set(value, view);
        Ok(())
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

    /// The memory of a parameter packed from `source`, shared by equal uses.
    fn packed_memory(&mut self, param: usize, layout: Layout, source: View) -> usize {
        let kind = MemoryKind::Packed { param, layout };
        let known = self.memories.iter().position(|m| m.kind == kind && m.source.as_ref() == Some(&source));
        known.unwrap_or_else(|| {
            self.memories.push(Memory { kind, source: Some(source) });
            self.memories.len() - 1
        })
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
