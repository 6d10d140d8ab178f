//! From scheduled stages to machine code: one function per stage, tiles shared between them.

pub(crate) mod decompose;
pub(crate) mod dot;
pub(crate) mod frame;
pub(crate) mod groups;
pub(crate) mod lanes;
pub(crate) mod matmul;
pub(crate) mod merge;
pub(crate) mod narrow;
pub(crate) mod region;
pub(crate) mod row;

use std::collections::HashMap;

use cranelift_codegen::ir::{FuncRef, Function};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_module::FuncId;
use msd_ir::diag::Diagnostic;
use msd_ir::dim::Dim;

use crate::isa::Isa;
use crate::micro::{emit_panel_tile, emit_row_tile};
use crate::module::CodeBuilder;
use crate::schedule::{MemoryKind, Program, View, Work};
use crate::tile::{CHANNELS, Element, PanelTile, RowForm, RowTile, TILE_ARGUMENTS};
use dot::{ChannelTiles, RowTiles};
use frame::{Frame, STAGE_ARGUMENTS};

/// Compiles the stages of a program.
pub(crate) struct Lowering<'a> {
    isa: &'a Isa,
    code: &'a mut CodeBuilder,
    context: FunctionBuilderContext,
    row_tiles: HashMap<(RowTile, usize), FuncId>,
    panel_tiles: HashMap<PanelTile, FuncId>,
    /// Sizes that stage functions read from their table.
    sizes: Vec<Dim>,
}

/// What running the stages needs besides the code.
pub(crate) struct Lowered {
    /// One function per stage.
    pub(crate) stages: Vec<FuncId>,
    /// Contents of the sizes table.
    pub(crate) sizes: Vec<Dim>,
}

/// Compiles every stage of `program`.
pub(crate) fn lower(isa: &Isa, code: &mut CodeBuilder, program: &Program) -> Result<Lowered, Diagnostic> {
    let mut l = Lowering {
        isa,
        code,
        context: FunctionBuilderContext::new(),
        row_tiles: HashMap::new(),
        panel_tiles: HashMap::new(),
        sizes: Vec::new(),
    };
    let mut stages = Vec::new();
    for (index, stage) in program.stages.iter().enumerate() {
        stages.push(l.stage(program, index, &stage.work)?);
    }
    Ok(Lowered { stages, sizes: l.sizes })
}

impl Lowering<'_> {
    fn stage(&mut self, program: &Program, index: usize, work: &Work) -> Result<FuncId, Diagnostic> {
        let name = format!("stage{index}_{}", work_name(work));
        let id = self.code.declare(&name, STAGE_ARGUMENTS)?;
        let mut body = self.code.body(id, STAGE_ARGUMENTS);
        let tiles = self.tiles_of(work, &mut body)?;
        let b = FunctionBuilder::new(&mut body, &mut self.context);
        let mut f = Frame::open(b, &program.memories, &mut self.sizes);
        match (work, tiles) {
            (Work::Map { region, out }, _) => {
                let is_result = matches!(program.memories[out.memory].kind, MemoryKind::Output { .. });
                f.emit_map(region, out, is_result)?;
            }
            (Work::Row { op, region, out }, _) => f.emit_row(*op, region, out)?,
            (Work::Decompose { scheme, x, digits, scale, blocks }, _) => match blocks {
                Some(blocks) => f.emit_decompose_blocks(*scheme, x, digits, scale, blocks)?,
                None => f.emit_decompose(*scheme, x, digits, scale)?,
            },
            (Work::Panels { b, out }, _) => f.emit_panels(b, out)?,
            (Work::Dot(dot), Tiles::Rows(tiles)) => f.emit_dot(dot, &tiles)?,
            (Work::Accumulate { p, s, u, out }, _) => f.emit_accumulate(p, s, u.as_ref(), out)?,
            (Work::MatMul { a, panels, sum, out }, Tiles::Panels(tiles)) => match sum {
                Some(sum) => f.emit_group_sums([a, panels, out], sum, tiles)?,
                None => f.emit_matmul(a, panels, out, tiles)?,
            },
            (Work::Dot(_) | Work::MatMul { .. }, _) => return Err(crate::isa::internal("a product without tiles")),
        }
        f.close(self.isa.target.frontend_config());
        self.code.define(&name, id, body)?;
        Ok(id)
    }

    /// Tiles a product calls, compiled once per kernel.
    fn tiles_of(&mut self, work: &Work, body: &mut Function) -> Result<Tiles, Diagnostic> {
        match work {
            Work::Dot(dot) => {
                let (digits, form, is_narrow) = (dot.digits(), dot.form, dot.is_narrow());
                // Accumulators of four rows would leave no register for operands.
                let (rows, calls) = if digits % 2 == 0 || digits == 1 { (2, digits.div_ceil(2)) } else { (digits, 1) };
                let mut tiles = |channels: usize| {
                    let mut tile = |rows| self.row_tile(RowTile { rows, form, is_narrow }, channels, body);
                    let set = tile(rows)?;
                    let single = if digits > 1 { None } else { Some(tile(1)?) };
                    Ok::<_, Diagnostic>(ChannelTiles { set, single, channels })
                };
                let full = tiles(CHANNELS)?;
                let is_even = dot.w.size_from_end(1).as_constant().is_some_and(|n| n % CHANNELS as u64 == 0);
                let one_channel = if is_even { None } else { Some(tiles(1)?) };
                Ok(Tiles::Rows(RowTiles { rows, calls, full, one_channel }))
            }
            Work::MatMul { panels, out, .. } => {
                let mut tile = |rows| self.panel_tile(panels, out, rows, body);
                Ok(Tiles::Panels([tile(2)?, tile(1)?]))
            }
            Work::Map { .. }
            | Work::Row { .. }
            | Work::Decompose { .. }
            | Work::Panels { .. }
            | Work::Accumulate { .. } => Ok(Tiles::None),
        }
    }

    fn row_tile(&mut self, tile: RowTile, channels: usize, caller: &mut Function) -> Result<FuncRef, Diagnostic> {
        let id = match self.row_tiles.get(&(tile, channels)) {
            Some(id) => *id,
            None => {
                let sums = if tile.is_narrow { "_i32" } else { "" };
                let name = format!("tile_rows{}x{channels}_{}{sums}", tile.rows, form_name(tile.form));
                let id = self.code.declare(&name, TILE_ARGUMENTS)?;
                let mut body = self.code.body(id, TILE_ARGUMENTS);
                let b = FunctionBuilder::new(&mut body, &mut self.context);
                emit_row_tile(b, tile, channels, self.isa.target.frontend_config())?;
                self.code.define(&name, id, body)?;
                self.row_tiles.insert((tile, channels), id);
                id
            }
        };
        Ok(self.code.import(id, caller))
    }

    fn panel_tile(
        &mut self,
        panels: &View,
        out: &View,
        rows: usize,
        caller: &mut Function,
    ) -> Result<FuncRef, Diagnostic> {
        let tile = PanelTile { rows, panel: panels.dtype, compute: out.dtype };
        let id = match self.panel_tiles.get(&tile) {
            Some(id) => *id,
            None => {
                let name = format!("tile_panel{rows}_{}_{}", tile.panel.name(), tile.compute.name());
                let id = self.code.declare(&name, TILE_ARGUMENTS)?;
                let mut body = self.code.body(id, TILE_ARGUMENTS);
                let b = FunctionBuilder::new(&mut body, &mut self.context);
                emit_panel_tile(b, tile, self.isa.target.frontend_config())?;
                self.code.define(&name, id, body)?;
                self.panel_tiles.insert(tile, id);
                id
            }
        };
        Ok(self.code.import(id, caller))
    }
}

enum Tiles {
    None,
    Rows(RowTiles),
    Panels([FuncRef; 2]),
}

fn work_name(work: &Work) -> &'static str {
    match work {
        Work::Map { .. } => "map",
        Work::Row { .. } => "row",
        Work::Decompose { .. } => "decompose",
        Work::Dot(_) => "dot",
        Work::Panels { .. } => "panels",
        Work::MatMul { .. } => "matmul",
        Work::Accumulate { .. } => "accumulate",
    }
}

fn form_name(form: RowForm) -> String {
    let letter = |element| match element {
        Element::Signed => "s",
        Element::Unsigned => "u",
        Element::Word => "w",
    };
    format!("{:?}_x{}w{}{}", form.dot, letter(form.x), letter(form.w), if form.stored_offset { "_offset" } else { "" })
        .to_lowercase()
}
