//! Where operands lie and who moves them: memory spaces, pipes, kinds of cores, regions.

/// A memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// Outside the cores, behind L2.
    Gm,
    /// Of a cube core, between GM and L0.
    L1,
    /// Left operands.
    L0a,
    /// Right operands.
    L0b,
    /// Accumulators.
    L0c,
    /// Block scales of left operands.
    L0as,
    /// Block scales of right operands.
    L0bs,
    /// Of a vector core.
    Ub,
}

impl Space {
    /// All of them.
    pub const ALL: [Space; 8] =
        [Space::Gm, Space::L1, Space::L0a, Space::L0b, Space::L0c, Space::L0as, Space::L0bs, Space::Ub];

    /// Its name in text; GM's operands have a tensor's name instead.
    pub fn name(self) -> &'static str {
        match self {
            Space::Gm => "GM",
            Space::L1 => "L1",
            Space::L0a => "L0A",
            Space::L0b => "L0B",
            Space::L0c => "L0C",
            Space::L0as => "L0AS",
            Space::L0bs => "L0BS",
            Space::Ub => "UB",
        }
    }

    /// What an operand's first byte must be a multiple of.
    pub fn alignment(self) -> i64 {
        match self {
            Space::Gm => 1,
            Space::L1 | Space::L0as | Space::L0bs | Space::Ub => 32,
            Space::L0a | Space::L0b => 512,
            Space::L0c => 1024,
        }
    }
}

/// Who executes an instruction; each in order, all beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pipe {
    /// Scalar unit: loops, conditions, handing instructions to the others.
    S,
    /// GM to the core.
    Mte2,
    /// L1 to L0.
    Mte1,
    /// Cube.
    M,
    /// Vector unit.
    V,
    /// Vector core to GM.
    Mte3,
    /// L0C to wherever.
    Fix,
}

impl Pipe {
    /// All of them, by index.
    pub const ALL: [Pipe; 7] = [Pipe::S, Pipe::Mte2, Pipe::Mte1, Pipe::M, Pipe::V, Pipe::Mte3, Pipe::Fix];
    /// How many.
    pub const COUNT: usize = Pipe::ALL.len();

    /// Its name in text.
    pub fn name(self) -> &'static str {
        match self {
            Pipe::S => "S",
            Pipe::Mte2 => "MTE2",
            Pipe::Mte1 => "MTE1",
            Pipe::M => "M",
            Pipe::V => "V",
            Pipe::Mte3 => "MTE3",
            Pipe::Fix => "FIX",
        }
    }

    /// Its lane in a trace, and its column in a table: the names that profilers of such chips have.
    pub fn lane(self) -> &'static str {
        match self {
            Pipe::S => "SCALAR",
            Pipe::M => "CUBE",
            Pipe::V => "VECTOR",
            Pipe::Fix => "FIXP",
            Pipe::Mte1 | Pipe::Mte2 | Pipe::Mte3 => self.name(),
        }
    }

    /// Its index in [`Pipe::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A kind of core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Core {
    /// Multiplies matrices.
    Cube,
    /// Does everything else.
    Vector,
}

impl Core {
    /// Its name in text.
    pub fn name(self) -> &'static str {
        match self {
            Core::Cube => "cube",
            Core::Vector => "vector",
        }
    }

    /// The other kind.
    pub fn other(self) -> Core {
        match self {
            Core::Cube => Core::Vector,
            Core::Vector => Core::Cube,
        }
    }

    /// Whether it has the pipe.
    pub fn has(self, pipe: Pipe) -> bool {
        match self {
            Core::Cube => matches!(pipe, Pipe::S | Pipe::Mte2 | Pipe::Mte1 | Pipe::M | Pipe::Fix),
            Core::Vector => matches!(pipe, Pipe::S | Pipe::Mte2 | Pipe::V | Pipe::Mte3),
        }
    }
}

/// An operand of an instruction that is about to execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which memory.
    pub space: Space,
    /// Which tensor, in GM.
    pub tensor: u16,
    /// From where: bytes on chip, elements in GM.
    pub offset: i64,
    /// Bytes from row to row; none if rows are dense.
    pub row: Option<i64>,
    /// Bytes from block to block of 32.
    pub block: i64,
}

/// Bytes that an instruction touches: rows of so many bytes, so many bytes apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Which memory.
    pub space: Space,
    /// Which tensor, in GM.
    pub tensor: u16,
    /// Whether it writes them.
    pub writes: bool,
    /// First byte.
    pub start: i64,
    /// How many rows.
    pub rows: i64,
    /// Bytes of a row.
    pub bytes: i64,
    /// From row to row.
    pub stride: i64,
}

impl Region {
    /// Rows that follow each other as one.
    pub(crate) fn joined(self) -> Region {
        match self.stride == self.bytes {
            true => Region { rows: 1, bytes: self.len(), stride: 0, ..self },
            false => self,
        }
    }

    /// Whether both are the same rows of a memory.
    pub(crate) fn is_alike(&self, other: &Region) -> bool {
        (self.start, self.rows, self.bytes, self.stride) == (other.start, other.rows, other.bytes, other.stride)
    }

    /// One past the last byte.
    pub fn end(&self) -> i64 {
        match self.rows > 0 && self.bytes > 0 {
            true => self.start.saturating_add((self.rows - 1).saturating_mul(self.stride)).saturating_add(self.bytes),
            false => self.start,
        }
    }

    /// How many bytes.
    pub fn len(&self) -> i64 {
        self.rows.saturating_mul(self.bytes)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether both have a byte in common.
    pub fn overlaps(&self, other: &Region) -> bool {
        let same = self.space == other.space && self.tensor == other.tensor;
        if !same || self.is_empty() || other.is_empty() || self.start >= other.end() || other.start >= self.end() {
            return false;
        }
        let (few, many) = if self.rows <= other.rows { (self, other) } else { (other, self) };
        (0..few.rows).any(|row| many.touches(few.start + row * few.stride, few.bytes))
    }

    /// Whether one of its rows has a byte in `start..start + bytes`.
    fn touches(&self, start: i64, bytes: i64) -> bool {
        if self.stride == 0 || self.rows == 1 {
            return start < self.start + self.bytes && self.start < start + bytes;
        }
        // The first row that ends after `start`; rows may overlap each other, ends still ascend.
        let row = (start - self.start - self.bytes).div_euclid(self.stride) + 1;
        let row = row.max(0);
        row < self.rows && self.start + row * self.stride < start + bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(start: i64, rows: i64, bytes: i64, stride: i64) -> Region {
        Region { space: Space::L1, tensor: 0, writes: false, start, rows, bytes, stride }
    }

    #[test]
    fn overlap_is_a_byte_in_common() {
        let mut seed = 1u64;
        let mut next = |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((seed >> 33) % n) as i64
        };
        for _ in 0..20_000 {
            let a = region(next(40), next(5), next(6), next(9));
            let b = region(next(40), next(5), next(6), next(9));
            let bytes = |r: &Region| {
                let r = *r;
                (0..r.rows).flat_map(move |i| (0..r.bytes).map(move |j| r.start + i * r.stride + j)).collect::<Vec<_>>()
            };
            let (of_a, of_b) = (bytes(&a), bytes(&b));
            let common = of_a.iter().any(|x| of_b.contains(x));
            assert_eq!(a.overlaps(&b), common, "{a:?} {b:?}");
            assert_eq!(b.overlaps(&a), common);
            assert_eq!(a.end(), of_a.iter().max().map_or(a.start, |m| (m + 1).max(a.start)));
        }
    }
}
