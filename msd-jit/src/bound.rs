//! A kernel bound to the shapes of its arguments: everything about a call that does not depend on
//! the arguments' contents, worked out once and reused by every call of the same shapes. Owns sizes
//! and the check that arguments have them; addresses and results belong to the call.

use msd_ir::diag::{Code, Diagnostic};
use msd_ir::dim::{Dim, Sizes};
use msd_ir::dtype::DType;
use msd_ir::tensor::{TensorView, TensorViewMut};

use crate::argument::Argument;
use crate::blocking::{Blocking, ENTRIES, Shape, TERM_ENTRIES, tile};
use crate::isa::internal;
use crate::lower::frame::Known;
use crate::pack::Strided;
use crate::schedule::{Layout, MemoryKind, PartName, Product, Program, Work};
use crate::tile::{LINE, Tile};

/// Work (elements or multiply-accumulates) below which waking threads costs more than it saves.
const THREAD_THRESHOLD: u64 = 1 << 16;

/// Most bytes the results and scratch of one call may take: sizes come from untrusted inputs.
const MAX_CALL_BYTES: u64 = 16 << 30;

/// What a call needs besides its arguments' contents, for one combination of shapes.
#[derive(Debug)]
pub struct Bound {
    /// Identity of the kernel.
    pub(crate) kernel: u64,
    /// Every array of the arguments, parameters in order.
    pub(crate) pieces: Vec<Piece>,
    /// One for each memory of the program.
    pub(crate) slots: Vec<Slot>,
    /// What the code reads of the call: sizes, how products are cut, addresses of tiles.
    pub(crate) table: Vec<u64>,
    /// One for each stage.
    pub(crate) stages: Vec<Extent>,
    /// How the product of each stage is cut, if it is one.
    pub(crate) cuts: Vec<Option<Blocking>>,
    pub(crate) outputs: Vec<(DType, Vec<usize>)>,
    params: usize,
}

/// What of a compiled kernel a call is worked out from.
pub(crate) struct CodeView<'c> {
    /// Identity of the kernel.
    pub(crate) id: u64,
    /// What the code reads from the table.
    pub(crate) known: &'c [Known],
    /// The address of a tile, if it was compiled.
    pub(crate) tile: &'c dyn Fn(&Tile) -> Option<u64>,
}

/// An entry of a product's part of the table.
fn blocking_entry(
    product: &Product,
    cut: &Blocking,
    entry: usize,
    address: &dyn Fn(&Tile) -> Option<u64>,
) -> Result<u64, Diagnostic> {
    let Some(of_terms) = entry.checked_sub(ENTRIES) else { return Ok(cut.entries()[entry]) };
    let term = &product.region.terms[of_terms / TERM_ENTRIES];
    let wanted = tile(product, term, cut.tiles()[of_terms % TERM_ENTRIES]);
    address(&wanted).ok_or_else(|| internal(format!("{} was not compiled", wanted.name())))
}

/// One array of the arguments.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) param: usize,
    pub(crate) part: PartName,
    dtype: DType,
    shape: Vec<usize>,
}

/// Where the address of a memory comes from.
#[derive(Debug)]
pub(crate) enum Slot {
    /// The array of that piece.
    Input { piece: usize },
    /// That piece, packed.
    Packed { piece: usize, layout: Layout, source: Strided, bytes: usize },
    /// Memory of the call.
    Buffer { bytes: usize },
    /// Memory of each thread.
    Scratch { bytes: usize },
    /// A result.
    Output { index: usize },
}

/// How much a stage does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Units of its range; none if it writes nothing.
    pub(crate) units: u64,
    /// Whether it is worth waking threads for.
    pub(crate) is_large: bool,
}

impl Bound {
    /// Works out a call; `sizes` and the shapes of `arguments` fit the kernel, as
    /// [`msd_ir::input::bind`] has found.
    pub(crate) fn new(
        program: &Program,
        code: &CodeView<'_>,
        sizes: &Sizes,
        arguments: &[Argument<'_>],
    ) -> Result<Bound, Diagnostic> {
        let eval = |d: &Dim| d.eval(sizes).map_err(internal);
        let mut pieces = Vec::new();
        for (param, argument) in arguments.iter().enumerate() {
            for part in PartName::ALL {
                if let Some(view) = argument.part(part) {
                    pieces.push(Piece { param, part, dtype: view.dtype(), shape: view.shape().to_vec() });
                }
            }
        }
        let find = |param: usize, part: PartName| {
            let found = pieces.iter().position(|p| p.param == param && p.part == part);
            found.ok_or_else(|| internal("a part that binding let pass"))
        };
        let memory_bytes =
            |bytes: &Dim| usize::try_from(bytes.eval(sizes).map_err(|_| too_large(u64::MAX))?).map_err(internal);
        let mut slots = Vec::with_capacity(program.memories.len());
        for memory in &program.memories {
            slots.push(match &memory.kind {
                MemoryKind::Input { param, part } => Slot::Input { piece: find(*param, *part)? },
                MemoryKind::Packed { param, part, layout } => {
                    let packing = memory.packing.as_ref().ok_or_else(|| internal("a packed memory of nothing"))?;
                    let (piece, source) = (find(*param, *part)?, Strided::new(packing, sizes)?);
                    let bytes = source.packed_bytes(layout, pieces[piece].dtype)?;
                    Slot::Packed { piece, layout: layout.clone(), source, bytes }
                }
                MemoryKind::Buffer { bytes } => Slot::Buffer { bytes: memory_bytes(bytes)? },
                MemoryKind::Scratch { bytes } => {
                    let bytes = memory_bytes(bytes)?;
                    Slot::Scratch { bytes: bytes.next_multiple_of(LINE) }
                }
                MemoryKind::Output { index } => Slot::Output { index: *index },
            });
        }
        let mut outputs = Vec::new();
        for (dtype, shape) in &program.outputs {
            let shape: Result<Vec<usize>, Diagnostic> = shape.iter().map(|d| Ok(eval(d)? as usize)).collect();
            outputs.push((*dtype, shape?));
        }
        let mut cuts = Vec::new();
        for stage in &program.stages {
            cuts.push(match &stage.work {
                Work::Product(product) => {
                    let tokens = eval(&product.out.size_from_end(1))?;
                    let shape = Shape { tokens, channels: eval(&stage.inner)?, batches: eval(&stage.outer)? };
                    Some(product.limits.cut(shape))
                }
                _ => None,
            });
        }
        let stages = program.stages.iter().zip(&cuts).map(|(stage, cut)| {
            if eval(&stage.writes)? == 0 {
                return Ok(Extent { units: 0, is_large: false });
            }
            let (outer, inner) = (eval(&stage.outer)?, eval(&stage.inner)?);
            let units = match (cut, stage.work.row_layout()) {
                (Some(cut), _) => cut.units(outer),
                (None, Some(layout)) => outer * layout.tokens.cut(inner).blocks,
                (None, None) => outer * inner.div_ceil(stage.by),
            };
            // A cost beyond every bound is worth waking threads for.
            let is_large = !stage.cost.as_ref().is_some_and(|c| c.eval(sizes).is_ok_and(|c| c < THREAD_THRESHOLD));
            Ok(Extent { units, is_large })
        });
        let stages = stages.collect::<Result<_, Diagnostic>>()?;
        let table = code.known.iter().map(|known| match known {
            Known::Size(size) => eval(size),
            Known::Tokens { count, most, entry } => Ok(most.cut(eval(count)?).entry(*entry)),
            Known::Blocking { stage, entry } => match (&program.stages[*stage].work, &cuts[*stage]) {
                (Work::Product(product), Some(cut)) => blocking_entry(product, cut, *entry, code.tile),
                _ => Err(internal("a blocking of no product")),
            },
        });
        let table = table.collect::<Result<_, _>>()?;
        let bound = Bound { kernel: code.id, pieces, slots, table, stages, cuts, outputs, params: arguments.len() };
        bound.check_memory(arguments, 1)?;
        Ok(bound)
    }

    /// Element type and shape of each result, in order.
    pub fn outputs(&self) -> &[(DType, Vec<usize>)] {
        &self.outputs
    }

    /// Refuses calls whose results and scratch would take more than [`MAX_CALL_BYTES`]. What is packed
    /// on the call and dense copies of arguments, which depend on strides, count as scratch.
    pub(crate) fn check_memory(&self, arguments: &[Argument<'_>], threads: usize) -> Result<(), Diagnostic> {
        let results = self.outputs.iter().map(|(dtype, shape)| {
            shape.iter().fold(dtype.host_bytes() as u64, |n, size| n.saturating_mul(*size as u64))
        });
        let is_weight = |piece: usize| arguments[self.pieces[piece].param].weight().is_some();
        let scratch = self.slots.iter().map(|slot| match slot {
            Slot::Buffer { bytes } => *bytes as u64,
            Slot::Packed { piece, bytes, .. } if !is_weight(*piece) => *bytes as u64,
            Slot::Packed { .. } | Slot::Input { .. } | Slot::Output { .. } => 0,
            Slot::Scratch { bytes } => (*bytes as u64).saturating_mul(threads as u64),
        });
        let arrays = arguments.iter().flat_map(Argument::arrays).flatten().filter(|a| !a.is_dense());
        let copies = arrays.map(|a| (a.len() as u64).saturating_mul(a.dtype().host_bytes() as u64));
        let total = results.chain(scratch).chain(copies).fold(0u64, u64::saturating_add);
        if total <= MAX_CALL_BYTES { Ok(()) } else { Err(too_large(total)) }
    }

    /// One of the arrays among `arguments`, which fit.
    pub(crate) fn view<'a>(&self, piece: usize, arguments: &[Argument<'a>]) -> Result<TensorView<'a>, Diagnostic> {
        let Piece { param, part, .. } = self.pieces[piece];
        arguments[param].part(part).ok_or_else(|| internal("a part that was not given"))
    }

    /// Whether `arguments` have the element types and shapes this was made for. The code reads
    /// exactly as far as those say.
    pub(crate) fn fits(&self, arguments: &[Argument<'_>]) -> bool {
        let mut pieces = self.pieces.iter();
        for (param, argument) in arguments.iter().enumerate() {
            for part in PartName::ALL {
                let Some(view) = argument.part(part) else { continue };
                let same = |p: &Piece| {
                    p.param == param && p.part == part && p.dtype == view.dtype() && p.shape == view.shape()
                };
                if !pieces.next().is_some_and(same) {
                    return false;
                }
            }
        }
        pieces.next().is_none() && arguments.len() == self.params
    }

    /// Checks that results go where they fit.
    ///
    /// # Errors
    /// If number, element type or shape of the outputs is another than the kernel's.
    pub(crate) fn check_outputs(&self, outputs: &[TensorViewMut<'_>]) -> Result<(), Diagnostic> {
        if outputs.len() != self.outputs.len() {
            let message = format!("{} outputs for {} results", outputs.len(), self.outputs.len());
            return Err(Diagnostic::new(Code::OutputMismatch, message).help("give one output per result, in order"));
        }
        for (i, (output, (dtype, shape))) in outputs.iter().zip(&self.outputs).enumerate() {
            if output.dtype() != *dtype || output.shape() != shape {
                let (found, wanted) = (output.dtype().name(), dtype.name());
                let message = format!("output {i} is `{found}` {:?}, the result `{wanted}` {shape:?}", output.shape());
                return Err(Diagnostic::new(Code::OutputMismatch, message).help("give it the result's type and shape"));
            }
        }
        Ok(())
    }
}

fn too_large(total: u64) -> Diagnostic {
    let message = format!("results and scratch of this call would take {} GiB", total >> 30);
    Diagnostic::new(Code::TooLarge, message).help(format!("the limit is {} GiB", MAX_CALL_BYTES >> 30))
}
