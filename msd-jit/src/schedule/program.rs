//! What a schedule is made of: memories, views of them, and stages of work. Owns no choice among them.

use msd_ir::dim::Dim;
use msd_ir::dtype::DType;
use msd_ir::ops::Op;
use msd_ir::quant::scheme::Scheme;
use msd_ir::types::Shape;

use super::layout::{Layout, RowLayout};
use crate::blocking::Limits;
use crate::tile::{Finish, Operands, Sum};

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
    /// A caller's tensor in the layout a tile wants; see [`crate::pack`].
    Packed { param: usize, part: PartName, layout: Layout },
    /// Memory of the call.
    Buffer { bytes: Dim },
    /// Memory of each thread.
    Scratch { bytes: Dim },
    /// A result.
    Output { index: usize },
}

/// A slot of the memory table.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    pub(crate) kind: MemoryKind,
    /// For what is packed: how.
    pub(crate) packing: Option<Packing>,
}

/// What a packed form is made from and how far apart its panels lie.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packing {
    /// `[.., k, n]`
    pub(crate) source: View,
    /// The packed form, `[.., n, k]`; see [`Layout::packed`].
    pub(crate) packed: View,
    /// Elements of the packed form.
    pub(crate) elements: Dim,
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
        let own = self.shape.len().saturating_sub(2);
        let shape: Shape = batch.iter().chain(&self.shape[own..]).cloned().collect();
        self.stretched(&shape)
    }

    /// The same elements in row-major order as another shape, if that is a view: of a dense one any, of
    /// others those that split the last axis.
    pub(crate) fn reshaped(&self, shape: &[Dim]) -> Option<View> {
        if self.is_dense() {
            let dense = View::dense(self.memory, self.dtype, shape.to_vec())?;
            return Some(View { offset: self.offset.clone(), ..dense });
        }
        let last = self.shape.len().checked_sub(1)?;
        let split = shape.get(last..).filter(|_| shape[..last] == self.shape[..last])?;
        if split.iter().try_fold(Dim::constant(1), |n, d| n.mul(d))? != self.shape[last] {
            return None;
        }
        let mut strides = self.strides[..last].to_vec();
        let mut step = self.strides[last].clone();
        for size in split.iter().rev() {
            strides.insert(last, step.clone());
            step = step.mul(size)?;
        }
        Some(View { shape: shape.to_vec(), strides, ..self.clone() })
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
    /// The merged product of that term.
    Term(usize),
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
    /// Products that are computed where they are used.
    pub(crate) terms: Vec<Term>,
    pub(crate) steps: Vec<Step>,
    pub(crate) root: Source,
}

impl Region {
    /// A region of nothing so far.
    pub(crate) fn new(shape: Shape) -> Region {
        Region { shape, leaves: Vec::new(), terms: Vec::new(), steps: Vec::new(), root: Source::Const(0) }
    }

    /// The elements of a view.
    pub(crate) fn of_view(view: View) -> Region {
        Region { leaves: vec![view.clone()], root: Source::Leaf(0), ..Region::new(view.shape) }
    }

    /// Adds a step.
    pub(crate) fn step(&mut self, op: Op, operands: Vec<Source>, dtype: DType) -> Source {
        self.steps.push(Step { op, operands, dtype });
        Source::Step(self.steps.len() - 1)
    }

    /// The views it reads.
    fn reads(&self) -> Vec<&View> {
        self.leaves.iter().chain(self.terms.iter().flat_map(Term::reads)).collect()
    }

    /// The view whose elements these are, if nothing is computed.
    pub(crate) fn as_view(&self) -> Option<&View> {
        match (self.steps.is_empty(), &self.root) {
            (true, Source::Leaf(leaf)) => self.leaves.get(*leaf),
            _ => None,
        }
    }
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

/// Sums of the digits of a row, or of its groups, that decomposing it gives as well.
#[derive(Clone, Debug)]
pub(crate) struct DigitSums {
    /// I64 or I32 `[.., G, D*M]`.
    pub(crate) out: View,
    /// Elements of a group.
    pub(crate) size: Dim,
    /// What each sum is multiplied with.
    pub(crate) factor: i32,
}

/// Rows in blocks of K.
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    pub(crate) size: Dim,
    /// The scale of a block over that of its row, F32 `[.., G, M, 1]`.
    pub(crate) relative: View,
}

/// Splitting rows into digits.
#[derive(Clone, Debug)]
pub(crate) struct Decompose {
    pub(crate) scheme: Scheme,
    /// Over `[.., M, K]`.
    pub(crate) x: Region,
    /// Memory of each thread for a row in F32, where `x` is more than what lies in memory.
    pub(crate) row: Option<usize>,
    /// `[.., D*M, K]`, or packed.
    pub(crate) digits: View,
    /// How digits are packed, if they are.
    pub(crate) packing: Option<RowLayout>,
    /// F64 `[.., M, 1]`.
    pub(crate) scale: View,
    /// With these, each block of a row is split by its own scale.
    pub(crate) blocks: Option<Blocks>,
    pub(crate) sums: Vec<DigitSums>,
}

/// `S - zero * R`; both views have the shape of the merged products.
#[derive(Clone, Debug)]
pub(crate) struct ZeroPoint {
    pub(crate) sums: RowSums,
    pub(crate) zero: View,
}

/// What tiles read to add up groups.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    /// Elements of a group.
    pub(crate) size: u64,
    /// F32 columns `[.., N, G]`.
    pub(crate) scale: View,
    /// F32 `[.., G, M]`.
    pub(crate) unit: Option<View>,
    /// Columns `[.., N, G]` of zero points and merged row sums `[.., G, M]`.
    pub(crate) zero: Option<(View, View)>,
}

/// Products of rows and panels, merged to one number for each token and channel.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    /// Digit rows `[.., D*M, K]`. Tiles read them packed ([`Product::rows`]), and what they are packed from may be
    /// nowhere in the end: only sizes count here.
    pub(crate) x: View,
    /// Packed `[.., N, K]`; see [`Layout`].
    pub(crate) w: View,
    pub(crate) operands: Operands,
    pub(crate) sum: Sum,
    /// Of the digits; none where rows are not merged.
    pub(crate) weights: &'static [i64],
    /// I32 `[.., G, D*M]` where tiles begin at sums of `x`.
    pub(crate) start: Option<View>,
    /// Sums of `x` and the factor, where what tiles give is to be put right by them afterwards.
    pub(crate) excess: Option<(RowSums, i32)>,
    pub(crate) zero: Option<ZeroPoint>,
    pub(crate) groups: Option<Groups>,
}

impl Term {
    /// Rows of `x` for each token: its digits, or the one row of a product that is of none.
    pub(crate) fn digits(&self) -> usize {
        self.weights.len().max(1)
    }

    /// The views it reads but for its rows, which are packed first.
    fn reads(&self) -> Vec<&View> {
        let Term { w, start, excess, zero, groups, .. } = self;
        let excess = excess.iter().map(|(sums, _)| &sums.view);
        let zero = zero.iter().flat_map(|zero| [&zero.sums.view, &zero.zero]);
        let groups = groups.iter().flat_map(|groups| {
            let zero = groups.zero.iter().flat_map(|(zero, rows)| [zero, rows]);
            [&groups.scale].into_iter().chain(&groups.unit).chain(zero)
        });
        [w].into_iter().chain(start).chain(excess).chain(zero).chain(groups).collect()
    }

    /// Rows of sums that a tile writes for each token, merged or not: as many, unless groups are added up.
    pub(crate) fn sum_rows(&self) -> usize {
        if matches!(self.sum, Sum::Groups(_)) { 1 } else { self.digits() }
    }

    /// Whether tiles leave one number for each token and channel, or those of its digits. An integer product
    /// that nothing merges is of its own type again.
    pub(crate) fn is_merged(&self) -> bool {
        match (self.sum, self.operands) {
            (Sum::Groups(_), _) | (_, Operands::Floats { .. }) => true,
            (Sum::Whole { merge, .. }, Operands::Quads(_)) => merge.is_some(),
            (Sum::Wide, Operands::Quads(_)) => false,
        }
    }
}

/// Products, and what becomes of them element by element.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    /// Over `[.., M, N]`, with terms among its sources.
    pub(crate) region: Region,
    pub(crate) out: View,
    pub(crate) limits: Limits,
    /// What tiles do of the region, which is then all of it, and what their steps take.
    pub(crate) finish: Option<(Finish, Vec<View>)>,
    /// The packed rows of each term; see [`RowLayout`].
    pub(crate) rows: Vec<View>,
    /// Memory of each thread for the sums of each term.
    pub(crate) scratch: Vec<usize>,
}

/// Work between two barriers.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// `out[...] = region`
    Map { region: Region, out: View },
    /// A row operation over the region's last axis.
    Row { op: RowOp, region: Region, out: View },
    /// Rows into digits.
    Decompose(Box<Decompose>),
    /// Products of rows and panels.
    Product(Box<Product>),
    /// `out [.., M, N] = sum_g p[g] * (s[g] * u[g])`, all `[.., G, M, N]`; `u` is 1 where missing. In F32,
    /// or in F64 of I64 products, as `out` is.
    Accumulate { p: View, s: View, u: Option<View>, out: View },
    /// `source [.., K, N]` rearranged into panels.
    Pack { source: View, layout: Layout, out: View },
    /// `source [.., D*M, K]` rearranged into blocks of tokens.
    PackRows { source: View, layout: RowLayout, out: View },
}

impl Work {
    /// How it packs rows, if it does.
    pub(crate) fn row_layout(&self) -> Option<&RowLayout> {
        match self {
            Work::PackRows { layout, .. } => Some(layout),
            Work::Decompose(decompose) => decompose.packing.as_ref(),
            _ => None,
        }
    }

    /// The views it reads.
    pub(crate) fn reads(&self) -> Vec<&View> {
        match self {
            Work::Map { region, .. } | Work::Row { region, .. } => region.reads(),
            Work::Decompose(decompose) => decompose.x.reads(),
            Work::Product(product) => product.region.reads().into_iter().chain(&product.rows).collect(),
            Work::Accumulate { p, s, u, .. } => [p, s].into_iter().chain(u).collect(),
            Work::Pack { source, .. } | Work::PackRows { source, .. } => vec![source],
        }
    }
}

/// A piece of work and how many units it splits into.
#[derive(Clone, Debug)]
pub(crate) struct Stage {
    pub(crate) work: Work,
    /// Independent units: `outer * ceil(inner / by)`. Of products these are batches and channels, of packed rows
    /// batches and tokens, whose units [`crate::blocking`] makes.
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
