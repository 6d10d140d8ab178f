//! What a schedule is made of: memories, views of them, and stages of work. Owns no choice among them.

use msd_ir::dim::Dim;
use msd_ir::dtype::DType;
use msd_ir::ops::Op;
use msd_ir::quant::scheme::Scheme;
use msd_ir::types::Shape;

use crate::tile::RowForm;

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
    /// One row of `k` codes per `n`, floats of 4 bits as integers in steps of their type; 128 added
    /// where the dot product wants unsigned bytes.
    Rows { offset: bool },
    /// `[ceil(n / 24)][k][24]`, small floats as the BF16 they equal, which one shift makes an F32; zeros
    /// at the end.
    Panels,
}

impl Layout {
    /// What elements of a parameter become in it.
    pub(crate) fn stored(&self, dtype: DType) -> DType {
        match (self, dtype.minifloat()) {
            (_, None) => dtype,
            (Layout::Rows { .. }, Some(_)) => DType::I8,
            (Layout::Panels, Some(_)) => DType::BF16,
        }
    }
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

/// What becomes of the F32 products of a token's digits in groups of K.
#[derive(Clone, Debug)]
pub(crate) struct GroupSum {
    /// Of the digits.
    pub(crate) weights: &'static [i64],
    pub(crate) groups: Groups,
}

/// Integer products of rows `x [.., R, K]` and `w [.., N, K]`. With `merge`, the digit rows of each
/// token are merged into F32 `out [.., M, N]`, else `out [.., R, N]` is I64.
#[derive(Clone, Debug)]
pub(crate) struct Dot {
    pub(crate) x: View,
    pub(crate) w: View,
    /// Row sums of `x`, where products are taken with `w + 128`.
    pub(crate) sums: Option<RowSums>,
    pub(crate) form: RowForm,
    pub(crate) merge: Option<Merge>,
    pub(crate) out: View,
}

impl Dot {
    /// Rows of `x` that make one of `out`.
    pub(crate) fn digits(&self) -> usize {
        self.merge.as_ref().map_or(1, |m| m.weights.len())
    }

    /// Whether tiles store I32 sums, rather than add to I64 ones.
    pub(crate) fn is_narrow(&self) -> bool {
        self.merge.as_ref().is_some_and(|m| m.is_narrow)
    }

    /// Number of the groups of K, if there are any.
    pub(crate) fn group_count(&self) -> Option<Dim> {
        self.merge.as_ref()?.groups.as_ref().map(|g| g.scale.size_from_end(2))
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
    /// Integer products.
    Dot(Box<Dot>),
    /// `out [.., M, N] = sum_g p[g] * (s[g] * u[g])`, all `[.., G, M, N]`; `u` is 1 where missing. In F32,
    /// or in F64 of I64 products, as `out` is.
    Accumulate { p: View, s: View, u: Option<View>, out: View },
    /// `b [.., K, N]` rearranged into panels `out [.., ceil(N/24), K, 24]`.
    Panels { b: View, out: View },
    /// `out [.., M, N] = a [.., M, K] @ panels`, floats or integers. With `sum`, `a` is `[.., G, D*M, K]`
    /// and `out` the sums of the products.
    MatMul { a: View, panels: View, sum: Option<GroupSum>, out: View },
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
