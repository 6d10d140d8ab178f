//! Order between stages: who has written what, and who has seen it. Owns the counters between cores.

use super::builder::Builder;
use super::view::View;
use crate::isa::memory::{Core, Pipe};

/// Counters between cores, each for one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    /// To a cube core: its vector cores have written, and so have all.
    Written,
    /// To vector cores: sums of a tile are there.
    Sums,
    /// Between vector cores, before they read: all have written.
    VectorRead,
    /// The same before they say so to their cube core.
    VectorWrite,
    /// Between cube cores, before they read: all have written.
    CubeRead,
    /// The same before they say so to their vector cores.
    CubeWrite,
    /// To a cube core: a tile of sums was read.
    Taken,
    /// To vector cores: all cube cores have written.
    Multiplied,
    /// To a cube core: the right operand of a tile was made.
    Made,
    /// To vector cores: the right operand of a tile was read.
    Reused,
    /// To a cube core: a chunk of the right operand is in L1.
    ChunkMade,
    /// To vector cores: there is room for a chunk of the right operand in L1.
    ChunkFree,
}

impl Counter {
    /// How many there are, with a way from UB to L1 or without.
    pub(crate) fn needed(has_way_to_l1: bool) -> u64 {
        1 + if has_way_to_l1 { Counter::ChunkFree as u64 } else { Counter::Reused as u64 }
    }

    pub(crate) fn id(self) -> i64 {
        self as i64
    }
}

/// What vector cores have not waited for yet.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    counters: Vec<Counter>,
    /// What must not be read before.
    tensors: Vec<u16>,
}

impl Awaited {
    pub(crate) fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }

    pub(crate) fn has(&self, view: &View) -> bool {
        self.tensors.contains(&view.tensor)
    }

    /// Waits for all of it.
    pub(crate) fn wait(&self, b: &mut Builder) {
        self.counters.iter().for_each(|counter| b.cross_wait(Pipe::Mte2, counter.id()));
    }
}

/// What each kind of core has written, and up to where the other kinds have waited for it.
#[derive(Debug, Default)]
pub(crate) struct Phases {
    /// Who wrote a tensor, and in which stage.
    written: Vec<(u16, Core, usize)>,
    stage: usize,
    /// For readers and writers, cube first: stages before this have been waited for.
    seen: [[usize; 2]; 2],
}

fn index(core: Core) -> usize {
    match core {
        Core::Cube => 0,
        Core::Vector => 1,
    }
}

impl Phases {
    /// A stage has been written out: what it writes, and who does.
    pub(crate) fn wrote(&mut self, core: Core, tensors: impl IntoIterator<Item = u16>) {
        let stage = self.stage;
        self.written.extend(tensors.into_iter().map(|tensor| (tensor, core, stage)));
    }

    /// Whether a stage wrote the tensor.
    pub(crate) fn has_written(&self, tensor: u16) -> bool {
        self.written.iter().any(|(written, ..)| *written == tensor)
    }

    pub(crate) fn next(&mut self) {
        self.stage += 1;
    }

    /// Whether `reader` has to wait for `writer` before it reads these. Who waits sees what the other has waited for.
    fn misses(&mut self, reader: Core, writer: Core, tensors: &[u16]) -> bool {
        let last = self.written.iter().filter(|(t, core, _)| *core == writer && tensors.contains(t));
        let last = last.map(|(.., stage)| stage + 1).max().unwrap_or(0);
        let is_missing = last > self.seen[index(reader)][index(writer)];
        if is_missing {
            self.seen[index(reader)][index(writer)] = self.stage;
            for other in 0..2 {
                let known = self.seen[index(writer)][other];
                let seen = &mut self.seen[index(reader)][other];
                *seen = known.max(*seen);
            }
        }
        is_missing
    }

    /// Vector cores wait for what they are about to read.
    pub(crate) fn before_vector<'v>(&mut self, b: &mut Builder, views: impl Iterator<Item = &'v View>) {
        let awaited = self.awaited(b, views);
        awaited.wait(b);
    }

    /// What vector cores have to wait for before they read: the others say when it is there.
    pub(crate) fn awaited<'v>(&mut self, b: &mut Builder, views: impl Iterator<Item = &'v View>) -> Awaited {
        let seen = self.seen[index(Core::Vector)];
        let is_new = |(_, core, stage): &&(u16, Core, usize)| *stage >= seen[index(*core)];
        let tensors = self.written.iter().filter(is_new).map(|(tensor, ..)| *tensor).collect();
        let mut awaited = Awaited { counters: Vec::new(), tensors };
        let tensors: Vec<u16> = views.map(|view| view.tensor).collect();
        for writer in [Core::Cube, Core::Vector] {
            if !self.misses(Core::Vector, writer, &tensors) {
                continue;
            }
            match writer {
                Core::Vector => {
                    b.on(Core::Vector);
                    b.cross_set_all(Pipe::Mte3, Counter::VectorRead.id());
                    awaited.counters.push(Counter::VectorRead);
                }
                Core::Cube => {
                    b.on(Core::Cube);
                    b.cross_set_all(Pipe::Fix, Counter::CubeWrite.id());
                    b.cross_wait(Pipe::Fix, Counter::CubeWrite.id());
                    b.cross_set(Pipe::Fix, Counter::Multiplied.id());
                    awaited.counters.push(Counter::Multiplied);
                }
            }
        }
        b.on(Core::Vector);
        awaited
    }

    /// Cube cores wait for what they are about to read.
    pub(crate) fn before_cube<'v>(&mut self, b: &mut Builder, views: impl Iterator<Item = &'v View>) {
        let tensors: Vec<u16> = views.map(|view| view.tensor).collect();
        for writer in [Core::Vector, Core::Cube] {
            if !self.misses(Core::Cube, writer, &tensors) {
                continue;
            }
            match writer {
                Core::Cube => {
                    b.on(Core::Cube);
                    b.cross_set_all(Pipe::Fix, Counter::CubeRead.id());
                    b.cross_wait(Pipe::Mte2, Counter::CubeRead.id());
                }
                Core::Vector => {
                    b.on(Core::Vector);
                    b.cross_set_all(Pipe::Mte3, Counter::VectorWrite.id());
                    b.cross_wait(Pipe::Mte3, Counter::VectorWrite.id());
                    b.cross_set(Pipe::Mte3, Counter::Written.id());
                    b.on(Core::Cube);
                    b.cross_wait(Pipe::Mte2, Counter::Written.id());
                }
            }
        }
        b.on(Core::Cube);
    }
}
