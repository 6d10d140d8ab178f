//! A fixed pool of threads for kernels that last microseconds. It owns its threads, the handing
//! out of task numbers and the waiting for the last of them. It refuses to own what a task is,
//! how work is cut into tasks and any order between tasks: results must not depend on who ran what.
//!
//! # How a run goes
//!
//! The caller publishes a job by one store to `Shared::state`; workers that see it enter by a
//! compare-and-swap, work and leave; the caller works too, then closes the job and waits only for
//! those who entered. So a worker the system has not scheduled yet costs nothing, and the fast
//! path takes no lock that another thread holds. Who waits spins first and sleeps later; a pool with
//! more threads than the process has processors sleeps at once. A worker that wakes on the processor
//! of another thread of the pool moves away, see `placement.rs`.
//!
//! # What it costs
//!
//! Measured on a two-core Zen 5 virtual machine with empty tasks, best and median in microseconds:
//!
//! | run | workers spinning | workers parked |
//! |---|---|---|
//! | 2 threads, a task each | 0.2, 0.25 | 14, 54 (waking the processor and moving the worker there) |
//! | 2 threads, 16 tasks | 0.15, 0.35 | 18, 23 (lets a worker queued behind the caller go first) |
//! | 8 threads, a task each | | 14, 36 |
//! | 8 threads, 16 tasks | | 0.15, 0.5 |

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};

use crate::placement::Placement;

/// More threads than this are never started.
pub const MAX_THREADS: usize = 256;

/// How often a waiting thread looks again before it sleeps.
#[derive(Clone, Copy)]
struct Patience {
    /// A worker without a job.
    worker: usize,
    /// The caller, its own tasks done, for the others to finish theirs.
    caller: usize,
}

/// Some 50 microseconds on Zen 5 for a worker, which spans the gap between two kernels of one
/// model but not the wait for the next request; for the caller 5 ms, in which the end is near.
const PATIENT: Patience = Patience { worker: 2000, caller: 200_000 };

/// With more threads than processors whoever spins keeps the thread that is waited for from running.
const CROWDED: Patience = Patience { worker: 0, caller: 0 };

/// Every so many looks the processor is offered to another thread, as the one that is waited for
/// may be queued behind us. Between offers lie some 2 microseconds.
const LOOKS_PER_YIELD: usize = 100;

thread_local! {
    /// Whether this thread is inside a run that holds its pool: always on workers, on a caller
    /// while it works. A run started there would wait for itself, so it runs in place instead.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Cores this process may use.
pub(crate) fn cores() -> usize {
    static CORES: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));
    *CORES
}

/// A fixed set of threads that run numbered tasks. The thread that calls [`run`](Pool::run) is
/// one of them. Dropping the pool ends and joins the others.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held for the length of a run, so that there is one job at a time.
    turn: Mutex<()>,
    /// Cores this process may use; more helpers than that are never woken where any thread will do.
    cores: usize,
}

impl Pool {
    /// A pool of `threads` threads, the caller of [`run`](Pool::run) included: at least 1, at most
    /// [`MAX_THREADS`], and fewer if the system refuses to start them; see [`threads`](Pool::threads).
    pub fn new(threads: usize) -> Pool {
        let threads = threads.clamp(1, MAX_THREADS);
        let cores = cores();
        let shared = Arc::new(Shared::new(threads, threads > cores));
        let mut workers = Vec::with_capacity(threads - 1);
        for index in 0..threads - 1 {
            let shared = Arc::clone(&shared);
            let name = format!("msd-worker-{}", index + 1);
            match thread::Builder::new().name(name).spawn(move || shared.work(index)) {
                Ok(worker) => workers.push(worker),
                Err(_) => break,
            }
        }
        Pool { shared, workers, turn: Mutex::new(()), cores }
    }

    /// The pool of `threads` threads that all of this process share, started by the first who asks
    /// and ended with the last who holds it.
    pub fn shared(threads: usize) -> Arc<Pool> {
        static POOLS: Mutex<Vec<(usize, Weak<Pool>)>> = Mutex::new(Vec::new());
        let mut pools = lock(&POOLS);
        if let Some(pool) = pools.iter().filter(|(n, _)| *n == threads).find_map(|(_, pool)| pool.upgrade()) {
            return pool;
        }
        let pool = Arc::new(Pool::new(threads));
        pools.retain(|(_, pool)| pool.strong_count() > 0);
        pools.push((threads, Arc::downgrade(&pool)));
        pool
    }

    /// How many threads a run may use, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `f(0)`, `f(1)`, … `f(tasks - 1)`, each exactly once, and returns when all have
    /// returned. What the tasks wrote is visible to the caller then.
    ///
    /// With `tasks == self.threads()` task `i` runs on thread `i`, the caller being thread 0, so
    /// that a thread meets the same part of the data in every run. Any other number is handed out
    /// in order to whichever thread is free.
    ///
    /// A panicking task stops no other; the first panic is raised again here after all are done.
    /// Runs of several threads take turns. A run started inside a task of any pool executes all
    /// its tasks in order on the thread that started it.
    pub fn run(&self, tasks: usize, f: &(dyn Fn(usize) + Sync)) {
        match tasks {
            0 => return,
            1 => return f(0),
            _ => {}
        }
        let fault = FirstPanic::default();
        let job = Job { f, tasks, is_static: tasks == self.threads(), fault: &fault };
        if self.workers.is_empty() || INSIDE.get() {
            (0..tasks).for_each(|task| job.call(task));
        } else {
            let _turn = lock(&self.turn);
            INSIDE.set(true);
            self.run_shared(&job);
            INSIDE.set(false);
        }
        fault.raise();
    }

    /// Publishes the job, takes part in it and waits for everyone who entered. Does not unwind:
    /// [`Job::call`] catches, so no worker is left holding a job that is gone.
    fn run_shared(&self, job: &Job<'_>) {
        let shared = &*self.shared;
        shared.open(job);
        // Each thread must wake for a task of its own; otherwise no more than can run at once.
        let wanted = if job.is_static { job.tasks } else { job.tasks.min(self.cores) };
        let helpers = self.workers.len().min(wanted - 1);
        let is_asleep = |index: usize| shared.parked[index].0.load(Ordering::SeqCst);
        if (0..helpers).any(is_asleep) {
            if let Some(placement) = &shared.placement {
                placement.note(0);
            }
            for index in (0..helpers).filter(|&index| is_asleep(index)) {
                self.workers[index].thread().unpark();
            }
            // A worker that woke on this processor would otherwise sit out our own tasks.
            thread::yield_now();
        }
        shared.take_part(job, 0);
        let entered = if job.is_static { self.workers.len() } else { shared.close() };
        shared.wait_until_left(entered);
        if job.is_static {
            shared.close();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state.0.store(STOP, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // Workers catch what tasks raise, so this fails only if the thread is gone already.
            let _ = worker.join();
        }
    }
}

/// One run: lives on the caller's stack until every worker that entered has left.
struct Job<'run> {
    f: &'run (dyn Fn(usize) + Sync),
    tasks: usize,
    /// Task `i` belongs to thread `i`, rather than to whoever asks for it first.
    is_static: bool,
    fault: &'run FirstPanic,
}

impl Job<'_> {
    fn call(&self, task: usize) {
        // Unwind safety is the caller's affair, who gets the panic back as if it had looped itself.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (self.f)(task))) {
            self.fault.record(payload);
        }
    }
}

/// The first panic among the tasks of a run.
#[derive(Default)]
struct FirstPanic(Mutex<Option<Box<dyn Any + Send>>>);

impl FirstPanic {
    fn record(&self, payload: Box<dyn Any + Send>) {
        let mut slot = lock(&self.0);
        if slot.is_none() {
            *slot = Some(payload);
        } else {
            // Leaked, as dropping a payload may panic and nobody would catch that here.
            std::mem::forget(payload);
        }
    }

    fn raise(self) {
        if let Some(payload) = self.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(payload);
        }
    }
}

/// Keeps what several threads write at once on cache lines of its own (pairs of lines on x86,
/// where the prefetcher fetches them together).
#[repr(align(128))]
#[derive(Default)]
struct Line<T>(T);

/// The job number is in the bits from here up: 2^47 runs, so it does not come round.
const NUMBER_SHIFT: u32 = 17;
/// Set while workers may enter.
const OPEN: u64 = 1 << 16;
/// The bits that count the workers that entered the job.
const ENTERED: u64 = OPEN - 1;
/// The state that ends the workers.
const STOP: u64 = u64::MAX;

/// What the caller and the workers share.
struct Shared {
    /// Number of the latest job, whether it is open, and how many workers have entered it.
    state: Line<AtomicU64>,
    /// The next task to hand out.
    next: Line<AtomicUsize>,
    /// How many workers have left the latest job.
    left: Line<AtomicUsize>,
    /// The latest job; to be looked at only by who has entered it and not left.
    job: AtomicPtr<Job<'static>>,
    /// Per worker: it is parked or about to look at `state` once more before it parks.
    parked: Vec<Line<AtomicBool>>,
    /// The value of `left` a parked caller waits for; 0 for none.
    awaited: AtomicUsize,
    gate: Mutex<()>,
    all_left: Condvar,
    patience: Patience,
    /// None in a crowd, where threads must share processors.
    placement: Option<Placement>,
}

impl Shared {
    fn new(threads: usize, is_crowded: bool) -> Shared {
        Shared {
            state: Line::default(),
            next: Line::default(),
            left: Line::default(),
            job: AtomicPtr::new(ptr::null_mut()),
            parked: (1..threads).map(|_| Line::default()).collect(),
            awaited: AtomicUsize::new(0),
            gate: Mutex::new(()),
            all_left: Condvar::new(),
            patience: if is_crowded { CROWDED } else { PATIENT },
            placement: (!is_crowded).then(|| Placement::new(threads)),
        }
    }

    /// Makes `job` the one that workers may enter. The former job is closed and everyone has left it.
    fn open(&self, job: &Job<'_>) {
        self.next.0.store(0, Ordering::Relaxed);
        self.left.0.store(0, Ordering::Relaxed);
        self.job.store(ptr::from_ref(job).cast::<Job<'static>>().cast_mut(), Ordering::Relaxed);
        let number = (self.state.0.load(Ordering::Relaxed) >> NUMBER_SHIFT) + 1;
        // Sequentially consistent with the load of `parked` that follows, and on the worker's side
        // `parked` with the load of `state`: one of the two sees the other, so no wake-up is lost.
        self.state.0.store(number << NUMBER_SHIFT | OPEN, Ordering::SeqCst);
    }

    /// Lets no more workers enter; how many have.
    fn close(&self) -> usize {
        (self.state.0.fetch_and(!OPEN, Ordering::AcqRel) & ENTERED) as usize
    }

    fn take_part(&self, job: &Job<'_>, thread: usize) {
        if job.is_static {
            return job.call(thread);
        }
        loop {
            let task = self.next.0.fetch_add(1, Ordering::Relaxed);
            if task >= job.tasks {
                return;
            }
            job.call(task);
        }
    }

    /// The caller's wait for `entered` workers to have left.
    fn wait_until_left(&self, entered: usize) {
        for look in 0..=self.patience.caller {
            if self.left.0.load(Ordering::Acquire) == entered {
                return;
            }
            pause(look);
        }
        let mut gate = lock(&self.gate);
        self.awaited.store(entered, Ordering::SeqCst);
        while self.left.0.load(Ordering::SeqCst) != entered {
            gate = self.all_left.wait(gate).unwrap_or_else(PoisonError::into_inner);
        }
        self.awaited.store(0, Ordering::Relaxed);
    }

    /// The life of worker `index`, which is thread `index + 1` of the pool.
    fn work(&self, index: usize) {
        INSIDE.set(true);
        let mut done = 0;
        while let Some(state) = self.next_job(index, done) {
            // Entering is what keeps the job alive, so it must be this job, and still open.
            if self.state.0.compare_exchange(state, state + 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
                continue;
            }
            done = state >> NUMBER_SHIFT;
            let job = self.job.load(Ordering::Relaxed);
            // SAFETY: `open` stored the pointer before it released the state that the exchange
            // above acquired, so it points to the job of that number. `run_shared`, which borrows
            // that job, returns only when as many workers have left as have entered; it cannot
            // unwind before. We have entered, and leave below, after the last use of the borrow.
            // The job's own borrows outlive it, and it is `Sync`: a `Sync` closure, a mutex, numbers.
            self.take_part(unsafe { &*job }, index + 1);
            self.leave();
        }
    }

    fn leave(&self) {
        let left = self.left.0.fetch_add(1, Ordering::SeqCst) + 1;
        if self.awaited.load(Ordering::SeqCst) == left {
            // Through the gate, so that the caller is either not yet looking or already waiting.
            drop(lock(&self.gate));
            self.all_left.notify_one();
        }
    }

    /// The state of an open job other than number `done`, spinning and then parked until there is
    /// one; `None` when the pool ends.
    fn next_job(&self, index: usize, done: u64) -> Option<u64> {
        let news = |state: u64| state == STOP || (state & OPEN != 0 && state >> NUMBER_SHIFT != done);
        let found = |state: u64| (state != STOP).then_some(state);
        for look in 0..self.patience.worker {
            let state = self.state.0.load(Ordering::Relaxed);
            if news(state) {
                return found(state);
            }
            pause(look);
        }
        let parked = &self.parked[index].0;
        parked.store(true, Ordering::SeqCst);
        loop {
            let state = self.state.0.load(Ordering::SeqCst);
            if news(state) {
                parked.store(false, Ordering::Relaxed);
                if let Some(placement) = &self.placement {
                    placement.settle(index + 1);
                }
                return found(state);
            }
            // Returns at once if the wake-up came since; may also return for no reason.
            thread::park();
        }
    }
}

/// Between look number `look` and the next.
fn pause(look: usize) {
    if look % LOOKS_PER_YIELD == LOOKS_PER_YIELD - 1 {
        thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

/// No code panics while it holds a lock of this module, so poison says nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
