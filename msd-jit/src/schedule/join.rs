//! Joining stages: digit rows that nothing but their packing reads are packed as they are made.

use msd_ir::dim::Dim;

use super::{Decompose, Memory, MemoryKind, RowLayout, Stage, View, Work};
use crate::tile::QUAD;

/// Joins what can be joined; memory that is no longer written takes no room.
pub(super) fn join(stages: &mut Vec<Stage>, memories: &mut [Memory]) {
    let mut index = 0;
    while index < stages.len() {
        let Some((maker, layout, out)) = joined(stages, index) else {
            index += 1;
            continue;
        };
        let pack = stages.remove(index);
        let stage = &mut stages[maker];
        if let Work::Decompose(decompose) = &mut stage.work {
            memories[decompose.digits.memory].kind = MemoryKind::Buffer { bytes: Dim::constant(0) };
            (decompose.digits, decompose.packing) = (out, Some(layout));
        }
        // Threads that shared a block would write to the same cache lines.
        (stage.outer, stage.inner, stage.by) = (pack.outer, pack.inner, pack.by);
    }
}

/// The decomposition that can do what a stage does, if that is packing rows.
fn joined(stages: &[Stage], index: usize) -> Option<(usize, RowLayout, View)> {
    let Work::PackRows { source, layout, out } = &stages[index].work else { return None };
    let makes = |stage: &Stage| matches!(&stage.work, Work::Decompose(d) if d.digits == *source && fits(d, layout));
    let maker = stages.iter().position(makes)?;
    let reads = stages.iter().flat_map(|s| s.work.reads()).filter(|view| view.memory == source.memory);
    (reads.count() == 1).then(|| (maker, *layout, out.clone()))
}

/// Whether digits can be stored in a layout as they are made: integers, of rows and blocks of whole units.
fn fits(d: &Decompose, layout: &RowLayout) -> bool {
    let digits = d.scheme.weights().len() as u64;
    let is_quads = layout.depth >= QUAD as u64 && layout.group.is_none() && d.scheme.digit_dtype().is_int();
    let k = d.digits.size_from_end(0);
    let is_whole = |size: &Dim| *size == k || size.as_constant().is_some_and(|n| n % layout.depth == 0);
    let blocks = d.blocks.iter().map(|b| &b.size);
    layout.digits == digits && is_quads && blocks.chain(d.sums.iter().map(|s| &s.size)).all(is_whole)
}
