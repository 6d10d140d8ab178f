//! From scheduled stages to functions: one per stage, tiles shared between them. Their bodies are compiled when all
//! are there, by [`crate::compiler`].

pub(crate) mod decompose;
pub(crate) mod frame;
pub(crate) mod lanes;
pub(crate) mod merge;
pub(crate) mod narrow;
pub(crate) mod panels;
pub(crate) mod places;
pub(crate) mod product;
pub(crate) mod region;
pub(crate) mod row;
pub(crate) mod splitter;
pub(crate) mod tokens;

use std::collections::HashMap;

use cranelift_codegen::ir::{FuncRef, Function};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::FuncId;
use msd_ir::diag::Diagnostic;
use msd_ir::dtype::DType;

use crate::blocking::{ENTRIES, TERM_ENTRIES, tile};
use crate::isa::{Isa, internal};
use crate::micro::split::{Pass, Split};
use crate::micro::{Emitter, emit_clif};
use crate::module::CodeBuilder;
use crate::schedule::{Decompose, Product, Program, Work};
use crate::tile::Tile;
use frame::{Frame, Known, STAGE_ARGUMENTS};

/// Arguments of a tile.
const TILE_ARGUMENTS: usize = 1;

/// Fills the functions of a program.
pub(crate) struct Lowering<'a> {
    isa: &'a Isa,
    code: &'a mut CodeBuilder,
    context: FunctionBuilderContext,
    tiles: HashMap<Tile, FuncId>,
    /// What stage functions read from the table of the call.
    known: Vec<Known>,
}

/// What running the stages needs besides the code.
pub(crate) struct Lowered {
    /// One function per stage.
    pub(crate) stages: Vec<FuncId>,
    /// Contents of the table of the call.
    pub(crate) known: Vec<Known>,
    pub(crate) tiles: HashMap<Tile, FuncId>,
}

/// Gives `code` a function for every stage of `program`, and the tiles these call.
pub(crate) fn lower(isa: &Isa, code: &mut CodeBuilder, program: &Program) -> Result<Lowered, Diagnostic> {
    let mut l =
        Lowering { isa, code, context: FunctionBuilderContext::new(), tiles: HashMap::new(), known: Vec::new() };
    let mut stages = Vec::new();
    for (index, stage) in program.stages.iter().enumerate() {
        stages.push(l.stage(program, index, &stage.work)?);
    }
    Ok(Lowered { stages, known: l.known, tiles: l.tiles })
}

impl Lowering<'_> {
    fn stage(&mut self, program: &Program, index: usize, work: &Work) -> Result<FuncId, Diagnostic> {
        let name = format!("stage{index}_{}", work_name(work));
        let id = self.code.declare(&name, STAGE_ARGUMENTS)?;
        let mut body = self.code.body(id, STAGE_ARGUMENTS);
        let mut table = 0;
        if let Work::Product(product) = work {
            self.product_tiles(product)?;
            table = self.known.len();
            let entries = ENTRIES + product.region.terms.len() * TERM_ENTRIES;
            self.known.extend((0..entries).map(|entry| Known::Blocking { stage: index, entry }));
        }
        let release = match work {
            Work::Product(product) if product.limits.have_matrices() => Some(self.release(&mut body)?),
            _ => None,
        };
        let splits = match work {
            Work::Decompose(decompose) => self.splits(decompose, &mut body)?,
            _ => None,
        };
        let tile = body.import_signature(self.code.signature(TILE_ARGUMENTS));
        let b = FunctionBuilder::new(&mut body, &mut self.context);
        let mut f = Frame::open(b, &program.memories, &mut self.known);
        f.is_x86 = self.isa.is_x86();
        match work {
            Work::Map { region, out } => f.emit_map(region, out)?,
            Work::Row { op, region, out } => f.emit_row(*op, region, out)?,
            Work::Decompose(decompose) => f.emit_decompose(decompose, splits)?,
            Work::Product(product) => f.emit_product(product, table, (tile, release))?,
            Work::Accumulate { p, s, u, out } => f.emit_accumulate(p, s, u.as_ref(), out)?,
            Work::Pack { source, layout, out } => f.emit_pack(source, layout, out)?,
            Work::PackRows { source, layout, out } => f.emit_pack_rows(source, layout, out)?,
        }
        f.close(self.isa.target.frontend_config());
        self.code.define(&name, id, body);
        Ok(id)
    }

    /// The function that is called when no tile will be.
    fn release(&mut self, body: &mut Function) -> Result<FuncRef, Diagnostic> {
        let name = format!("release_{}", self.code.count());
        let id = self.code.declare(&name, 0)?;
        self.code.define_machine(&name, id, Emitter::emit_release);
        Ok(self.code.import(id, body))
    }

    /// Machine code for splitting rows, if there is any for these.
    fn splits(&mut self, d: &Decompose, body: &mut Function) -> Result<Option<[FuncRef; 2]>, Diagnostic> {
        let source = match (d.row, d.x.as_view()) {
            (Some(_), _) => DType::F32,
            (None, Some(view)) if view.stride_from_end(0).is_one() => view.dtype,
            (None, _) => return Ok(None),
        };
        let unit = d.packing.map(|layout| layout.depth);
        let Some(split) = Split::of(d.scheme, source, d.digits.dtype, unit) else { return Ok(None) };
        if !self.isa.emitter.splits_rows() {
            return Ok(None);
        }
        let mut functions = Vec::new();
        for pass in Pass::ALL {
            let name = format!("{}_{}_{}", pass.name(), source.name(), self.code.count());
            let id = self.code.declare(&name, TILE_ARGUMENTS)?;
            self.code.define_machine(&name, id, move |is_listed| Emitter::emit_split(&split, pass, is_listed));
            functions.push(self.code.import(id, body));
        }
        functions.try_into().map(Some).map_err(|_| internal("functions that split come in pairs"))
    }

    /// Gives the builder what tiles the product may call, each once per kernel.
    fn product_tiles(&mut self, product: &Product) -> Result<(), Diagnostic> {
        let tokens = product.out.size_from_end(1).as_constant();
        let channels = product.out.size_from_end(0).as_constant();
        for size in product.limits.tiles(tokens, channels) {
            for term in &product.region.terms {
                self.tile(tile(product, term, size))?;
            }
        }
        Ok(())
    }

    fn tile(&mut self, tile: Tile) -> Result<(), Diagnostic> {
        let tile = self.isa.emitter.canonical(tile);
        if self.tiles.contains_key(&tile) {
            return Ok(());
        }
        let name = format!("{}_{}", tile.name(), self.tiles.len());
        let id = self.code.declare(&name, TILE_ARGUMENTS)?;
        let emitter = self.isa.emitter.serving(&tile.operands, tile.sum, tile.digits);
        match emitter {
            Emitter::Portable if tile.panels == 1 => {
                let mut body = self.code.body(id, TILE_ARGUMENTS);
                let b = FunctionBuilder::new(&mut body, &mut self.context);
                emit_clif(b, &tile, self.isa)?;
                self.code.define(&name, id, body);
            }
            Emitter::Portable => return Err(internal("a portable tile of several panels")),
            Emitter::Ymm | Emitter::Zmm | Emitter::Amx => {
                self.code.define_machine(&name, id, move |is_listed| emitter.emit(&tile, is_listed));
            }
        }
        self.tiles.insert(tile, id);
        Ok(())
    }
}

fn work_name(work: &Work) -> &'static str {
    match work {
        Work::Map { .. } => "map",
        Work::Row { .. } => "row",
        Work::Decompose(_) => "decompose",
        Work::Product(_) => "product",
        Work::Accumulate { .. } => "accumulate",
        Work::Pack { .. } => "pack",
        Work::PackRows { .. } => "pack_rows",
    }
}
