//! Work in parts on the threads of the machine. Owns the threads; results come in the order of the
//! parts, so nothing that is computed from them depends on how many there were.

use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// `part(0), part(1), …, part(count - 1)`.
pub(crate) fn parts<T: Send>(threads: usize, count: usize, part: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                return done;
            }
            done.push((i, part(i)));
        }
    };
    let mut all = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(count)).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for other in others {
            // A panic of a part is ours to report as if there were no threads.
            all.extend(other.join().unwrap_or_else(|panic| panic::resume_unwind(panic)));
        }
        all
    });
    all.sort_by_key(|(i, _)| *i);
    all.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_in_order() {
        for threads in [1, 2, 7] {
            assert_eq!(parts(threads, 100, |i| i * i), (0..100).map(|i| i * i).collect::<Vec<_>>());
            assert!(parts(threads, 0, |i| i).is_empty());
        }
    }
}
