//! Keeps the threads of a pool on different processors. Some kernels (seen: Linux 6.18 in a small
//! virtual machine) wake a parked worker on the processor of the thread that wakes it even when
//! another is idle, and take tens of milliseconds to part them: two threads then run microsecond
//! kernels one after the other. A worker that wakes beside another thread of its pool steps aside
//! here. It owns that single step and refuses to pin: the set of processors a thread may use is
//! the same afterwards. Elsewhere than on 64-bit Linux nothing is done.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Where the threads of one pool were last seen.
pub(crate) struct Placement(Vec<AtomicUsize>);

impl Placement {
    /// For a pool of `threads` threads, none seen so far.
    pub(crate) fn new(threads: usize) -> Placement {
        Placement((0..threads).map(|_| AtomicUsize::new(usize::MAX)).collect())
    }

    /// The calling thread, which is `thread` of the pool, is about to wake others.
    pub(crate) fn note(&self, thread: usize) {
        if let Some(cpu) = host::current() {
            self.0[thread].store(cpu, Ordering::Relaxed);
        }
    }

    /// The calling thread, which is `thread` of the pool, has just woken: moves it if a thread of
    /// lower number was last seen on the same processor. The order makes only one of two move.
    pub(crate) fn settle(&self, thread: usize) {
        let seen = |other: usize| self.0[other].load(Ordering::Relaxed);
        self.note(thread);
        if (0..thread).any(|other| seen(other) == seen(thread) && seen(other) != usize::MAX) {
            host::move_away((0..self.0.len()).map(seen));
            self.note(thread);
        }
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod host {
    use std::ffi::c_int;

    /// The C library's `cpu_set_t`: one bit per processor.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct CpuSet([u64; 16]);

    // From the C library that std links already.
    unsafe extern "C" {
        safe fn sched_getcpu() -> c_int;
        fn sched_getaffinity(pid: c_int, size: usize, set: *mut CpuSet) -> c_int;
        fn sched_setaffinity(pid: c_int, size: usize, set: *const CpuSet) -> c_int;
    }

    /// The processor the calling thread is on.
    pub(super) fn current() -> Option<usize> {
        usize::try_from(sched_getcpu()).ok()
    }

    /// Moves the calling thread to a processor it may use outside `taken`, if there is one.
    pub(super) fn move_away(taken: impl Iterator<Item = usize>) {
        let mut allowed = CpuSet([0; 16]);
        // SAFETY: the kernel writes at most the given size, which is that of the set.
        if unsafe { sched_getaffinity(0, size_of::<CpuSet>(), &mut allowed) } < 0 {
            return;
        }
        let mut free = allowed;
        for cpu in taken {
            if let Some(word) = free.0.get_mut(cpu / 64) {
                *word &= !(1 << (cpu % 64));
            }
        }
        // Leaving the set moves the thread before the call returns; coming back does not. An empty
        // set is refused by the kernel, and then nothing has changed.
        for set in [free, allowed] {
            // SAFETY: the kernel reads the given size, which is that of the set.
            unsafe { sched_setaffinity(0, size_of::<CpuSet>(), &set) };
        }
    }
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
mod host {
    pub(super) fn current() -> Option<usize> {
        None
    }

    pub(super) fn move_away(_taken: impl Iterator<Item = usize>) {}
}

#[cfg(all(test, target_os = "linux", target_pointer_width = "64"))]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_thread_leaves_the_processor_of_a_lower_one_and_stays_free() {
        let before = thread::available_parallelism().map_or(1, usize::from);
        // The system may move a thread at any time, so not every attempt shows it.
        let moved = (0..20).any(|_| {
            let placement = Placement::new(3);
            placement.note(0);
            placement.settle(2);
            placement.0[0].load(Ordering::Relaxed) != placement.0[2].load(Ordering::Relaxed)
        });
        assert_eq!(moved, before > 1);
        assert_eq!(thread::available_parallelism().map_or(1, usize::from), before);
    }

    #[test]
    fn a_thread_stays_for_one_of_higher_number() {
        let placement = Placement::new(3);
        placement.0[2].store(host::current().unwrap_or(0), Ordering::Relaxed);
        placement.settle(1);
        assert_eq!(placement.0[0].load(Ordering::Relaxed), usize::MAX);
        assert_ne!(placement.0[1].load(Ordering::Relaxed), usize::MAX);
    }
}
