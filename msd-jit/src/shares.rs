//! Units of a stage shared out to the threads of a run. Each thread has a range of its own, always the same, whose
//! data is in its caches and was first touched by it; who is through with it takes from those who are not, so that a
//! processor that is slow for a while holds nobody up. Owns who does which unit, on which no bit of a result depends.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::pool::MAX_THREADS;

/// What is left of each thread's range.
pub(crate) struct Shares {
    /// Where each begins, above where it ends, which are one number so that both change at once.
    left: [AtomicU64; MAX_THREADS],
    count: usize,
}

impl Shares {
    /// So many units for `count` threads, of which there are at most [`MAX_THREADS`].
    pub(crate) fn new(units: u32, count: usize) -> Shares {
        let left = [const { AtomicU64::new(0) }; MAX_THREADS];
        let bound = |i: usize| u64::from(units) * i as u64 / count as u64;
        for (i, share) in left.iter().take(count).enumerate() {
            share.store(bound(i) << 32 | bound(i + 1), Ordering::Relaxed);
        }
        Shares { left, count }
    }

    /// The next units of a thread: of its own range the first half of what is left; if nothing is, the last half of
    /// what another has left. None if all are taken.
    pub(crate) fn take(&self, thread: usize) -> Option<(u64, u64)> {
        // Data that a stage reads was written before it, and what it writes is read after the run is over: the pool
        // orders both.
        let mut found = None;
        for turn in 0..self.count {
            let of = (thread + turn) % self.count;
            let _ = self.left[of].fetch_update(Ordering::Relaxed, Ordering::Relaxed, |share| {
                let (begin, end) = (share >> 32, share & u64::from(u32::MAX));
                let half = (end - begin).div_ceil(2);
                let (taken, left) = match turn {
                    0 => ((begin, begin + half), (begin + half, end)),
                    _ => ((end - half, end), (begin, end - half)),
                };
                found = (half > 0).then_some(taken);
                found.map(|_| left.0 << 32 | left.1)
            });
            if found.is_some() {
                break;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::pool::Pool;

    #[test]
    fn every_unit_is_taken_once() {
        for threads in [1, 2, 3, 8] {
            for units in [0, 1, 2, 7, 64, 1000] {
                let (shares, taken) = (Shares::new(units, threads), Mutex::new(Vec::new()));
                Pool::new(threads).run(threads, &|thread| {
                    while let Some((begin, end)) = shares.take(thread) {
                        assert!(begin < end);
                        taken.lock().expect("nobody panics").extend(begin..end);
                    }
                });
                let mut taken = taken.into_inner().expect("nobody panics");
                taken.sort_unstable();
                assert_eq!(taken, (0..u64::from(units)).collect::<Vec<_>>(), "{threads} threads");
            }
        }
    }

    #[test]
    fn a_thread_begins_with_its_own_and_goes_on_with_the_last_of_others() {
        let shares = Shares::new(16, 2);
        assert_eq!(shares.take(1), Some((8, 12)));
        assert_eq!(shares.take(1), Some((12, 14)));
        assert_eq!(shares.take(0), Some((0, 4)));
        assert_eq!([shares.take(1), shares.take(1)], [Some((14, 15)), Some((15, 16))]);
        assert_eq!(shares.take(1), Some((6, 8)));
        assert_eq!([shares.take(0), shares.take(1), shares.take(0)], [Some((4, 5)), Some((5, 6)), None]);
    }
}
