//! From a graph to stages over tensors of GM: what is computed where, and where each value lies. Owns no instruction.

use msd_ir::diag::Diagnostic;
use msd_ir::dim::Sizes;
use msd_ir::dtype::DType;
use msd_ir::graph::{Kernel, Value};
use msd_ir::input::shape_under;
use msd_ir::melt;
use msd_ir::ops::{Class, Op};
use msd_ir::types::{Shape, Type};

use super::builder::Builder;
use super::code::Code;
use super::copy::CopyStage;
use super::numbers::{computed, stored};
use super::product::{MAX_INT_K, ProductStage};
use super::region::{Merging, Region, Term, extent_of, internal};
use super::rows;
use super::vector::{Pass, VectorStage};
use super::view::{View, merge_axes};
use crate::chip::Chip;
use crate::program::Purpose;

/// Which tensor of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The tensor, or the codes of a quantized one.
    Codes,
    /// The scale.
    Scale,
    /// The zero point.
    Zero,
}

/// What a tensor of the program is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// A part of a parameter of the kernel.
    Param {
        /// Its index.
        index: usize,
        /// Which part.
        part: Part,
    },
    /// The integers from 0 on, as F32.
    Indexes,
}

/// Work that ends before what needs it begins.
pub(crate) enum Stage {
    Vector(VectorStage),
    Copy(CopyStage),
    Product(Box<ProductStage>),
}

/// Stages in an order in which they can run, and the tensors they work on.
pub(crate) struct Schedule {
    pub(crate) builder: Builder,
    pub(crate) stages: Vec<Stage>,
    pub(crate) given: Vec<(u16, Given)>,
    pub(crate) outputs: Vec<u16>,
}

pub(crate) struct Scheduler<'k> {
    pub(crate) kernel: &'k Kernel,
    pub(super) sizes: &'k Sizes,
    pub(crate) chip: &'k Chip,
    shapes: Vec<Vec<Vec<i64>>>,
    views: Vec<Vec<Option<View>>>,
    pub(crate) melts: Vec<bool>,
    pub(crate) uses: Vec<usize>,
    /// Values in other types and less a number, for the cube.
    pub(crate) converted: Vec<(Value, (DType, i64), View)>,
    /// Type of dequantized weights that the cube multiplies.
    pub(crate) dequantized: DType,
    pub(crate) schedule: Schedule,
}

/// Schedules a kernel, all of whose sizes are known.
pub(crate) fn schedule(
    kernel: &Kernel,
    sizes: &Sizes,
    chip: &Chip,
    dequantized: DType,
) -> Result<Schedule, Diagnostic> {
    let mut shapes = Vec::new();
    let mut dims: Vec<Vec<Shape>> = Vec::new();
    for node in &kernel.nodes {
        let of_types = node.types.iter().map(|t| shape_under(t.shape(), sizes));
        let of_types = of_types.collect::<Result<Vec<_>, _>>().map_err(|d| d.at(node.span))?;
        dims.push(of_types.iter().map(|s| s.iter().map(|n| msd_ir::dim::Dim::constant(*n as u64)).collect()).collect());
        shapes.push(of_types.iter().map(|s| s.iter().map(|n| *n as i64).collect()).collect());
    }
    let builder = Builder::new(&kernel.name, *chip.cores.cube as i64);
    let mut s = Scheduler {
        kernel,
        sizes,
        chip,
        views: kernel.nodes.iter().map(|n| vec![None; n.types.len()]).collect(),
        melts: melt::melting(kernel, &dims),
        shapes,
        uses: kernel.use_counts(),
        converted: Vec::new(),
        dequantized,
        schedule: Schedule { builder, stages: Vec::new(), given: Vec::new(), outputs: Vec::new() },
    };
    // What vector cores add up is in a stage of its own.
    for (index, node) in kernel.nodes.iter().enumerate() {
        let value = Value { node: index, result: 0 };
        let is_sum = matches!(node.op, Op::Accumulate | Op::AccumulateWide { .. }) && !s.is_grouped(value)
            || s.is_int_product(value);
        s.melts[index] &= !is_sum;
    }
    for index in 0..kernel.nodes.len() {
        s.place(index).map_err(|d| d.at_known(Some(kernel.nodes[index].span)))?;
    }
    for (index, value) in kernel.results.iter().enumerate() {
        let dtype = computed(kernel.tensor_ty(*value).dtype, chip);
        let shape = s.shape(*value).to_vec();
        let name = if kernel.results.len() == 1 { "out".to_string() } else { format!("out{index}") };
        let out = s.tensor(&name, dtype, &shape, Purpose::Output);
        s.schedule.outputs.push(out.tensor);
        s.map_into(*value, out)?;
    }
    Ok(s.schedule)
}

impl Scheduler<'_> {
    pub(crate) fn shape(&self, value: Value) -> &[i64] {
        &self.shapes[value.node][value.result]
    }

    pub(crate) fn dtype(&self, value: Value) -> DType {
        self.kernel.tensor_ty(value).dtype
    }

    /// What a value is called in comments.
    pub(crate) fn note(&self, value: Value) -> String {
        let node = self.kernel.node(value);
        let name = node.names.get(value.result).and_then(|n| n.as_deref());
        match name {
            Some(name) => format!("{name} = {}", node.op.spelled()),
            None => node.op.spelled().to_string(),
        }
    }

    /// A new tensor.
    pub(crate) fn tensor(&mut self, name: &str, dtype: DType, shape: &[i64], purpose: Purpose) -> View {
        let mut padded = shape.to_vec();
        if let Some(last) = padded.last_mut() {
            *last = super::view::stored_row(*last, dtype);
        } else if dtype.bits() == 4 {
            padded = vec![2];
        }
        let tensor = self.schedule.builder.tensor(name, dtype, &padded, purpose);
        View::dense(tensor, dtype, shape.to_vec())
    }

    /// A new tensor for a value.
    pub(crate) fn home(&mut self, value: Value, purpose: Purpose) -> View {
        let dtype = computed(self.dtype(value), self.chip);
        let shape = self.shape(value).to_vec();
        let node = self.kernel.node(value);
        let name = node.names.get(value.result).and_then(|n| n.as_deref()).map(str::to_string);
        let name = name.unwrap_or_else(|| format!("v{}", value.node));
        self.tensor(&name, dtype, &shape, purpose)
    }

    pub(crate) fn set(&mut self, value: Value, view: View) {
        self.views[value.node][value.result] = Some(view);
    }

    /// Gives a node its place: a window, or a stage that computes it.
    fn place(&mut self, index: usize) -> Result<(), Diagnostic> {
        let kernel = self.kernel;
        let node = &kernel.nodes[index];
        let value = Value { node: index, result: 0 };
        if self.melts[index] || self.uses[index] == 0 {
            return Ok(());
        }
        match &node.op {
            Op::Const { .. } | Op::Size { .. } | Op::Dequant => Ok(()),
            Op::Param { index: param } => {
                if matches!(node.types[0], Type::Tensor(_)) {
                    self.place_given(value, *param, Part::Codes);
                }
                Ok(())
            }
            Op::Codes => self.place_part(value, Part::Codes),
            Op::Scale => self.place_part(value, Part::Scale),
            Op::Zero => self.place_part(value, Part::Zero),
            Op::Sum | Op::Amax | Op::Softmax => {
                let work = rows::reduction(&node.op, self.dtype(value));
                let out = self.home(value, Purpose::Activation);
                self.push_rows(node.operands[0], work.as_ref(), std::slice::from_ref(&out), self.note(value))?;
                self.set(value, out);
                Ok(())
            }
            Op::Decompose { scheme } => self.place_decompose(value, *scheme),
            Op::DecomposeBlocks { scheme, size } => {
                let size = self.sizes_of(std::slice::from_ref(size))?[0];
                self.place_blocks(value, *scheme, size)
            }
            Op::Dot | Op::MatMul if self.is_int_product(value) => self.place_int_product(value),
            Op::Accumulate if !self.is_grouped(value) => self.place_accumulate(value, None),
            Op::AccumulateWide { scheme } if !self.is_grouped(value) => self.place_accumulate(value, Some(*scheme)),
            // Places come when they are asked for.
            op if op.class() == Class::Movement => Ok(()),
            op if melt::is_product(op) && self.is_part_of_another(value) => Ok(()),
            Op::Steps => self.place_steps(value),
            _ => {
                let out = self.home(value, Purpose::Activation);
                self.map_into(value, out.clone())?;
                self.set(value, out);
                Ok(())
            }
        }
    }

    /// Whether a value lies somewhere already.
    pub(crate) fn is_placed(&self, value: Value) -> bool {
        self.views[value.node][value.result].is_some()
    }

    /// Sizes of a shape.
    pub(crate) fn sizes_of(&self, shape: &[msd_ir::dim::Dim]) -> Result<Vec<i64>, Diagnostic> {
        Ok(shape_under(shape, self.sizes)?.iter().map(|n| *n as i64).collect())
    }

    fn place_given(&mut self, value: Value, param: usize, part: Part) {
        let (dtype, shape) = (self.dtype(value), self.shape(value).to_vec());
        let view = self.part_view(param, part, dtype, &shape);
        self.set(value, view);
    }

    /// A part of a parameter, whether or not a node of the graph reads it.
    pub(crate) fn part_view(&mut self, index: usize, part: Part, dtype: DType, shape: &[i64]) -> View {
        let given = Given::Param { index, part };
        let dtype = stored(dtype, self.chip);
        if let Some((tensor, _)) = self.schedule.given.iter().find(|(_, known)| *known == given) {
            return View::dense(*tensor, dtype, shape.to_vec());
        }
        let purpose = match self.kernel.params[index].ty {
            Type::Quant(_) => Purpose::Weight,
            Type::Tensor(_) => Purpose::Activation,
        };
        let name = self.kernel.params[index].name.to_string();
        let name = match part {
            Part::Codes => name,
            Part::Scale => format!("{name}_scale"),
            Part::Zero => format!("{name}_zero"),
        };
        let view = self.tensor(&name, dtype, shape, purpose);
        self.schedule.given.push((view.tensor, given));
        view
    }

    /// The integers from 0 to before `count`.
    fn indexes(&mut self, count: i64) -> View {
        let view = self.tensor("indexes", DType::F32, &[count], Purpose::Activation);
        self.schedule.given.push((view.tensor, Given::Indexes));
        view
    }

    fn place_part(&mut self, value: Value, part: Part) -> Result<(), Diagnostic> {
        match self.kernel.node(self.kernel.node(value).operands[0]).op {
            Op::Param { index } => {
                self.place_given(value, index, part);
                Ok(())
            }
            _ => Err(internal("a quantized value that is no parameter")),
        }
    }

    /// Where the value lies; what lies nowhere is computed.
    pub(crate) fn view(&mut self, value: Value) -> Result<View, Diagnostic> {
        if let Some(view) = &self.views[value.node][value.result] {
            return Ok(view.clone());
        }
        let node = self.kernel.node(value);
        let view = match &node.op {
            Op::Transpose { .. } | Op::Broadcast { .. } | Op::Slice { .. } | Op::Reshape { .. } => {
                let view = self.view(node.operands[0])?;
                self.moved(value, view)?
            }
            Op::Concat { axis } => self.place_concat(value, *axis)?,
            Op::Dequant => self.place_dequant(value, DType::F32, false)?,
            op if op.class() != Class::Elementwise && !self.is_merged(value) => {
                return Err(internal("a value that no stage computes"));
            }
            _ => {
                let out = self.home(value, Purpose::Activation);
                self.map_into(value, out.clone())?;
                out
            }
        };
        self.set(value, view.clone());
        Ok(view)
    }

    /// What moving elements as `value` does makes of where its operand lies.
    pub(crate) fn moved(&mut self, value: Value, view: View) -> Result<View, Diagnostic> {
        match &self.kernel.node(value).op {
            Op::Transpose { axes } => Ok(view.transposed(axes)),
            Op::Broadcast { .. } => Ok(view.stretched(self.shape(value))),
            Op::Slice { axis, start, stop } => {
                let bounds = self.sizes_of(&[start.clone(), stop.clone()])?;
                Ok(view.sliced(*axis, bounds[0], bounds[1]))
            }
            _ => {
                if let Some(view) = view.reshaped(self.shape(value)) {
                    return Ok(view);
                }
                let dense = self.repeated(&view, self.note(value))?;
                dense.reshaped(self.shape(value)).ok_or_else(|| internal("a dense view of no other shape"))
            }
        }
    }

    /// Every element in a place of its own, those that are seen several times as often.
    pub(super) fn repeated(&mut self, view: &View, note: String) -> Result<View, Diagnostic> {
        let is_repeated = view.strides.iter().zip(&view.shape).any(|(stride, size)| *stride == 0 && *size > 1);
        if !is_repeated {
            return self.dense(view, note);
        }
        let dtype = byte_of(view.dtype);
        let to = self.tensor("copy", dtype, &view.shape, Purpose::Activation);
        self.push_map(Region::of_view(view.clone()), dtype, to.clone(), note)?;
        Ok(to)
    }

    fn place_concat(&mut self, value: Value, axis: usize) -> Result<View, Diagnostic> {
        let operands = self.kernel.node(value).operands.clone();
        let mut out = self.home(value, Purpose::Activation);
        // Halves of bytes are not put together.
        if out.dtype.bits() == 4 && axis + 1 == out.rank() && operands.iter().any(|v| self.shape(*v)[axis] % 2 != 0) {
            let shape = self.shape(value).to_vec();
            out = self.tensor("concat", byte_of(out.dtype), &shape, Purpose::Activation);
        }
        let mut at = 0;
        for operand in operands {
            let size = self.shape(operand)[axis];
            let window = out.sliced(axis, at, at + size);
            at += size;
            self.map_into(operand, window)?;
        }
        Ok(out)
    }

    /// The same elements one after the other.
    pub(crate) fn dense(&mut self, view: &View, note: String) -> Result<View, Diagnostic> {
        // Elements that are there once are copied once.
        let own: Vec<i64> = view
            .shape
            .iter()
            .zip(&view.strides)
            .map(|(size, stride)| if *stride == 0 { 1.min(*size) } else { *size })
            .collect();
        let mut from = View { shape: own.clone(), ..view.clone() };
        let dtype = byte_of(view.dtype);
        if dtype != view.dtype {
            let natural = self.widened_whole(view.tensor, view.dtype, dtype)?;
            from = restrided(&from, &natural);
        }
        let to = self.tensor("copy", dtype, &own, Purpose::Activation);
        if from.count() == 0 {
            return Ok(View { shape: view.shape.clone(), ..to });
        }
        self.schedule.stages.push(Stage::Copy(CopyStage { from, to: to.clone(), note }));
        let strides = to.strides.iter().zip(&view.strides).map(|(own, old)| if *old == 0 { 0 } else { *own });
        Ok(View { strides: strides.collect(), shape: view.shape.clone(), ..to })
    }

    /// All of a tensor of 4-bit elements in a wider type, which lies as it does.
    fn widened_whole(&mut self, tensor: u16, from: DType, to: DType) -> Result<View, Diagnostic> {
        let declared = &self.schedule.builder.tensors()[usize::from(tensor)];
        let shape: Vec<i64> = declared.shape.iter().map(|size| size.number().unwrap_or(0)).collect();
        let name = format!("{}_wide", declared.name);
        let whole = View::dense(tensor, from, shape.clone());
        let out = self.tensor(&name, to, &shape, Purpose::Activation);
        let region = Region::of_view(whole);
        self.push_map(region, from, out.clone(), name)?;
        Ok(out)
    }

    /// Elements of `value`, and whatever melts into it, into `out`.
    pub(crate) fn map_into(&mut self, value: Value, out: View) -> Result<(), Diagnostic> {
        let note = self.note(value);
        if self.is_merged(value) || self.has_products(value) {
            return self.push_product(value, out);
        }
        if self.kernel.node(value).op.class() == Class::Movement || self.is_placed(value) {
            let from = self.view(value)?;
            // Elements of 4 bits move with their neighbours only.
            let is_repeated = from.strides.iter().zip(&from.shape).any(|(stride, size)| *stride == 0 && *size > 1);
            if from.dtype == out.dtype && from.dtype.bits() > 4 && !is_repeated {
                self.schedule.stages.push(Stage::Copy(CopyStage { from, to: out, note }));
                return Ok(());
            }
        }
        let region = self.region(value)?;
        self.push_map(region, self.dtype(value), out, note)
    }

    /// Element by element: a region into a window of its shape. `dtype` is its type in the graph.
    pub(crate) fn push_map(&mut self, region: Region, dtype: DType, out: View, note: String) -> Result<(), Diagnostic> {
        self.push_map_as(region, dtype, out, false, note)
    }

    /// The same; one that is to be a factor of the cube keeps its rows.
    pub(crate) fn push_map_as(
        &mut self,
        mut region: Region,
        dtype: DType,
        mut out: View,
        is_conversion: bool,
        note: String,
    ) -> Result<(), Diagnostic> {
        let mut shape = region.shape.clone();
        let mut views = region.views();
        views.push(&mut out);
        // In the order in which the elements of the result lie.
        if shape.len() >= 2 && views.iter().all(|view| view.rank() == shape.len()) {
            let order = by_strides(views[views.len() - 1]);
            views.iter_mut().for_each(|view| **view = view.transposed(&order));
            shape = order.iter().map(|axis| shape[*axis]).collect();
        }
        merge_axes(&mut shape, &mut views, is_conversion, 1);
        region.shape = shape;
        self.settle(&mut region)?;
        let mut code = Code::default();
        let number = match region.nodes.is_empty() && region.root.node == usize::MAX {
            true => {
                let number = code.loaded(&region.leaves[0].1, dtype, self.chip);
                code.less(number, region.less)
            }
            false => region.compute(&mut code, self.kernel, self.chip)?,
        };
        // Bytes may stand for something else.
        let to = if dtype == DType::Bool || computed(dtype, self.chip) == out.dtype { dtype } else { out.dtype };
        let to = if out.dtype == stored(to, self.chip) && to != DType::Bool { out.dtype } else { to };
        let reg = code.output(number, to, self.chip);
        let pass = Pass { code, outputs: vec![(reg, out)], ..Pass::default() }.clean();
        let stage = VectorStage { shape: region.shape, passes: vec![pass], is_rowwise: false, is_conversion, note };
        self.schedule.stages.push(Stage::Vector(stage));
        Ok(())
    }

    /// Copies what a tile cannot load as it lies.
    pub(crate) fn settle(&mut self, region: &mut Region) -> Result<(), Diagnostic> {
        let mut moved = Vec::new();
        for view in region.views() {
            if extent_of(view).is_none() {
                moved.push(view.clone());
            }
        }
        for old in moved {
            let new = self.dense(&old, "elements where a tile can read them".to_string())?;
            for view in region.views() {
                if *view == old {
                    *view = new.clone();
                }
            }
        }
        Ok(())
    }

    /// The elementwise expression of `value` down to what lies in GM.
    pub(crate) fn region(&mut self, value: Value) -> Result<Region, Diagnostic> {
        let kernel = self.kernel;
        let shape = self.shape(value).to_vec();
        let is_root = kernel.node(value).op.class() == Class::Elementwise && !self.is_placed(value);
        let mut inside = vec![false; kernel.nodes.len()];
        if is_root || self.is_merged(value) {
            inside[value.node] = true;
            for index in (0..=value.node).rev() {
                if inside[index] && !self.is_merged(Value { node: index, result: 0 }) {
                    for v in &kernel.nodes[index].operands {
                        inside[v.node] |= self.melts[v.node];
                    }
                }
            }
        }
        let nodes: Vec<usize> = (0..=value.node).filter(|i| inside[*i]).collect();
        let mut region = Region { nodes, ..Region::new(shape.clone(), value) };
        for index in region.nodes.clone() {
            let own = Value { node: index, result: 0 };
            if self.is_merged(own) {
                self.join_product(&mut region, own)?;
                continue;
            }
            for v in &kernel.nodes[index].operands {
                if !inside[v.node] {
                    self.leaf(&mut region, *v)?;
                }
            }
            if kernel.nodes[index].op == Op::Causal && region.indexes.is_empty() {
                let rank = shape.len();
                let (rows, cols) = (shape[rank - 2], shape[rank - 1]);
                let indexes = self.indexes(rows.max(cols));
                let row = View { shape: vec![rows, 1], strides: vec![1, 0], ..indexes.clone() };
                let col = View { shape: vec![cols], strides: vec![1], ..indexes };
                region.more_cols = cols - rows;
                region.indexes.extend([row, col].map(|view| (own, view.stretched(&shape))));
            }
        }
        if region.nodes.is_empty() {
            self.leaf(&mut region, value)?;
        }
        Ok(region)
    }

    /// A product of the region, or a value in GM where it shares nothing with those before.
    fn join_product(&mut self, region: &mut Region, value: Value) -> Result<(), Diagnostic> {
        if self.is_grouped(value) {
            return self.join_groups(region, value);
        }
        let (mut merging, term) = self.merging(value, region.terms.len())?;
        let Some(term) = term else {
            region.merges.push((value.node, merging));
            return Ok(());
        };
        let shares = |other: &Term| (&other.a, other.digits) == (&term.a, term.digits) && other.scales == term.scales;
        self.check_zero(&merging, &term, value)?;
        if merging.is_empty {
            // Nothing to multiply.
        } else if term.a.dtype.is_int() && term.k() >= MAX_INT_K {
            merging = self.merged_in_parts(value, merging, &term)?;
        } else if region.groups.is_none() && region.terms.iter().all(shares) {
            region.terms.push(term);
        } else {
            merging = self.merged_alone(value, merging, term)?;
        }
        region.merges.push((value.node, merging));
        Ok(())
    }

    /// A product in groups: the one of the region, or a value in GM.
    fn join_groups(&mut self, region: &mut Region, value: Value) -> Result<(), Diagnostic> {
        if !region.terms.is_empty() {
            let out = self.home(value, Purpose::Activation);
            self.push_product(value, out.clone())?;
            self.set(value, out);
            region.nodes.retain(|index| *index != value.node);
            return self.leaf(region, value);
        }
        let (groups, term) = self.grouped(value)?;
        region.terms.push(term);
        region.groups = Some(Box::new(groups));
        let kept = Merging { weights: Vec::new(), is_kept: true, ..Merging::alone(DType::F32) };
        region.merges.push((value.node, kept));
        Ok(())
    }

    fn leaf(&mut self, region: &mut Region, value: Value) -> Result<(), Diagnostic> {
        if let Op::Size { dim } = &self.kernel.node(value).op {
            let size = self.sizes_of(std::slice::from_ref(dim))?[0];
            region.sizes.push((value, size as f32));
            return Ok(());
        }
        let is_known = region.leaves.iter().any(|(known, _)| *known == value);
        if is_known || matches!(self.kernel.node(value).op, Op::Const { .. }) {
            return Ok(());
        }
        let view = self.view(value)?.stretched(&region.shape);
        region.leaves.push((value, view));
        Ok(())
    }
}

/// Axes in the order of their strides, the longest first.
pub(super) fn by_strides(view: &View) -> Vec<usize> {
    let mut order: Vec<usize> = (0..view.rank()).collect();
    order.sort_by_key(|axis| std::cmp::Reverse(view.strides[*axis]));
    order
}

/// A type whose elements move alone, which halves of bytes do not.
fn byte_of(dtype: DType) -> DType {
    match (dtype.bits(), dtype.is_int()) {
        (4, true) => DType::I8,
        (4, false) => DType::BF16,
        _ => dtype,
    }
}

/// A window like `view`, into a tensor that lies as its own but for the type.
fn restrided(view: &View, whole: &View) -> View {
    View { tensor: whole.tensor, dtype: whole.dtype, ..view.clone() }
}
