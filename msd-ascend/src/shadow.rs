//! What was last written and read in a memory, region by region. Owns which accesses are kept: those that a later one
//! must be ordered after. Order itself is [`crate::order`]'s, and what an access without order means
//! [`crate::race`]'s.

use std::collections::{BTreeMap, HashMap};

use crate::isa::memory::Region;
use crate::order::{Epoch, Thread};
use crate::program::Instruction;

/// What an access does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// It reads.
    Read,
    /// It writes.
    Write,
    /// It adds to what is there; several of these need no order among each other.
    Add,
}

/// An access to a region.
#[derive(Clone, Copy)]
pub(crate) struct Access<'p> {
    pub(crate) region: Region,
    pub(crate) kind: Kind,
    pub(crate) thread: Thread,
    pub(crate) epoch: Epoch,
    pub(crate) instruction: &'p Instruction,
}

/// A memory's accesses, found by the buckets of so many bytes that their rows touch.
pub(crate) struct Shadow<'p> {
    bucket: i64,
    accesses: Vec<Option<Access<'p>>>,
    free: Vec<usize>,
    buckets: HashMap<i64, Vec<usize>>,
    written: Written,
}

/// Bytes of a bucket: memories on chip are written in large pieces, tensors in pieces of any size.
pub(crate) const ON_CHIP: i64 = 1 << 14;
pub(crate) const IN_GM: i64 = 1 << 11;

/// Buckets of a region, each once.
fn buckets(region: &Region, bucket: i64) -> Vec<i64> {
    let mut all: Vec<i64> = (0..region.rows)
        .flat_map(|row| {
            let start = region.start + row * region.stride;
            start / bucket..=(start + region.bytes - 1).max(start) / bucket
        })
        .collect();
    all.dedup();
    all
}

/// Whether every byte of `inner` is one of `outer`, as far as can be told at once.
fn covers(outer: &Region, inner: &Region) -> bool {
    outer.is_alike(inner) || outer.rows == 1 && outer.start <= inner.start && inner.end() <= outer.end()
}

impl<'p> Shadow<'p> {
    /// Nothing was accessed yet.
    pub(crate) fn new(bucket: i64) -> Shadow<'p> {
        let (accesses, free, buckets, written) = Default::default();
        Shadow { bucket, accesses, free, buckets, written }
    }

    /// How many accesses are kept.
    pub(crate) fn len(&self) -> usize {
        self.accesses.len() - self.free.len()
    }

    /// Accesses that have a byte in common with a region.
    fn overlapping(&self, region: &Region) -> Vec<usize> {
        let near = buckets(region, self.bucket).into_iter().filter_map(|b| self.buckets.get(&b));
        let mut found: Vec<usize> = near.flatten().copied().collect();
        found.sort_unstable();
        found.dedup();
        found.retain(|i| self.accesses[*i].is_some_and(|access| access.region.overlaps(region)));
        found
    }

    /// The first of the accesses kept that an access overlaps and `disagrees` with; then keeps it instead of those
    /// that nothing after it need be ordered after.
    pub(crate) fn touch(&mut self, access: Access<'p>, disagrees: impl Fn(&Access<'p>) -> bool) -> Option<Access<'p>> {
        let overlapping = self.overlapping(&access.region);
        let found = overlapping.iter().filter_map(|i| self.accesses[*i]).find(|other| disagrees(other));
        for i in overlapping {
            let Some(other) = self.accesses[i] else { continue };
            let same = other.thread == access.thread && other.kind == access.kind;
            // Whatever is ordered after a write is ordered after all that the write was.
            let over = access.kind == Kind::Write || same;
            if over && covers(&access.region, &other.region) {
                self.forget(i, &other.region);
            }
        }
        if access.kind != Kind::Read {
            self.written.add(&access.region);
        }
        let slot = self.free.pop().unwrap_or(self.accesses.len());
        if slot == self.accesses.len() {
            self.accesses.push(None);
        }
        for bucket in buckets(&access.region, self.bucket) {
            self.buckets.entry(bucket).or_default().push(slot);
        }
        self.accesses[slot] = Some(access);
        found
    }

    fn forget(&mut self, slot: usize, region: &Region) {
        for bucket in buckets(region, self.bucket) {
            if let Some(slots) = self.buckets.get_mut(&bucket) {
                slots.retain(|s| *s != slot);
            }
        }
        self.accesses[slot] = None;
        self.free.push(slot);
    }

    /// Whether somebody wrote every byte of a region.
    pub(crate) fn is_written(&self, region: &Region) -> bool {
        (0..region.rows).all(|row| {
            let start = region.start + row * region.stride;
            self.holds(start, start + region.bytes)
        })
    }

    /// Whether somebody wrote every byte from `start` to before `end`.
    pub(crate) fn holds(&self, start: i64, end: i64) -> bool {
        self.written.holds(start, end)
    }
}

/// Bytes that somebody wrote, as intervals that do not touch: first byte and one past the last.
#[derive(Default)]
struct Written(BTreeMap<i64, i64>);

impl Written {
    fn add(&mut self, region: &Region) {
        for row in 0..region.rows {
            let (mut start, mut end) =
                (region.start + row * region.stride, region.start + row * region.stride + region.bytes);
            if self.holds(start, end) {
                continue;
            }
            while let Some((from, to)) = self.0.range(..=end).next_back().map(|(from, to)| (*from, *to)) {
                if to < start {
                    break;
                }
                self.0.remove(&from);
                (start, end) = (start.min(from), end.max(to));
            }
            self.0.insert(start, end);
        }
    }

    fn holds(&self, start: i64, end: i64) -> bool {
        self.0.range(..=start).next_back().is_some_and(|(_, to)| *to >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::memory::Space;

    fn region(start: i64, rows: i64, bytes: i64, stride: i64) -> Region {
        Region { space: Space::Gm, tensor: 0, writes: true, start, rows, bytes, stride }
    }

    #[test]
    fn written_bytes_are_those_of_a_set() {
        let mut state = 3u64;
        let mut next = |n: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((state >> 33) % n) as i64
        };
        for _ in 0..2000 {
            let (mut intervals, mut set) = (Written::default(), [false; 64]);
            for _ in 0..6 {
                let added = region(next(30), 1 + next(3), 1 + next(5), 5 + next(6));
                intervals.add(&added);
                for row in 0..added.rows {
                    (0..added.bytes).for_each(|b| set[(added.start + row * added.stride + b) as usize] = true);
                }
                let (start, length) = (next(40), 1 + next(8));
                let all = (start..start + length).all(|b| set[b as usize]);
                assert_eq!(intervals.holds(start, start + length), all);
            }
            let apart = intervals.0.iter().zip(intervals.0.iter().skip(1)).all(|((_, end), (start, _))| end < start);
            assert!(apart, "{:?}", intervals.0);
        }
    }
}
