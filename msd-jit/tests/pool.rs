//! The contract of the thread pool, from outside.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

use msd_jit::pool::{MAX_THREADS, Pool};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Fails, rather than hangs, if `body` takes longer than any machine should.
fn within_a_minute(body: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let thread = thread::spawn(move || {
        body();
        let _ = done.send(());
    });
    match wait.recv_timeout(Duration::from_secs(60)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("still running after a minute"),
        _ => thread.join().unwrap(),
    }
}

/// How often each task ran.
fn counts(pool: &Pool, tasks: usize) -> Vec<u32> {
    let counts: Vec<AtomicU32> = (0..tasks).map(|_| AtomicU32::new(0)).collect();
    pool.run(tasks, &|i| {
        counts[i].fetch_add(1, Ordering::Relaxed);
    });
    counts.into_iter().map(AtomicU32::into_inner).collect()
}

#[test]
fn every_task_runs_exactly_once() {
    within_a_minute(|| {
        for threads in [1, 2, 3, 4, 8] {
            let pool = Pool::new(threads);
            for tasks in (0..20).chain([63, 64, 65, 1000, 10_007]) {
                assert_eq!(counts(&pool, tasks), vec![1; tasks], "{threads} threads, {tasks} tasks");
            }
        }
    });
}

#[test]
fn thread_count_is_clamped() {
    assert_eq!(Pool::new(0).threads(), 1);
    assert_eq!(Pool::new(1).threads(), 1);
    assert_eq!(Pool::new(3).threads(), 3);
    let most = Pool::new(usize::MAX).threads();
    assert!((1..=MAX_THREADS).contains(&most));
}

#[test]
fn as_many_tasks_as_threads_keep_their_thread() {
    within_a_minute(|| {
        for threads in [2, 5] {
            let pool = Pool::new(threads);
            let who = || {
                let ids: Vec<Mutex<Option<thread::ThreadId>>> = (0..threads).map(|_| Mutex::new(None)).collect();
                pool.run(threads, &|i| *ids[i].lock().unwrap() = Some(thread::current().id()));
                ids.into_iter().map(|id| id.into_inner().unwrap().unwrap()).collect::<Vec<_>>()
            };
            let first = who();
            assert_eq!(first[0], thread::current().id(), "the caller is thread 0");
            assert!((1..threads).all(|i| !first[..i].contains(&first[i])), "{first:?}");
            for round in 0..200 {
                // Runs of other sizes, and pauses long enough to park, must not disturb it.
                pool.run(1 + round % 7, &|_| {});
                if round % 50 == 0 {
                    thread::sleep(Duration::from_millis(3));
                }
                assert_eq!(who(), first);
            }
        }
    });
}

#[test]
fn tasks_are_handed_out_in_order() {
    let pool = Pool::new(2);
    let seen: Mutex<Vec<(thread::ThreadId, usize)>> = Mutex::new(Vec::new());
    pool.run(500, &|i| seen.lock().unwrap().push((thread::current().id(), i)));
    let seen = seen.into_inner().unwrap();
    let me = thread::current().id();
    for mine in [true, false] {
        let order: Vec<usize> = seen.iter().filter(|(id, _)| (*id == me) == mine).map(|&(_, i)| i).collect();
        assert!(order.is_sorted(), "{order:?}");
    }
}

#[test]
fn two_threads_do_run_at_the_same_time() {
    within_a_minute(|| {
        let pool = Pool::new(2);
        // Each task waits for the other one, so one thread alone would never end.
        for _ in 0..100 {
            let barrier = Barrier::new(2);
            pool.run(2, &|_| {
                barrier.wait();
            });
        }
    });
}

#[test]
fn more_threads_than_cores_do_not_collapse() {
    within_a_minute(|| {
        let pool = Pool::new(8);
        let sum = AtomicUsize::new(0);
        let start = Instant::now();
        for tasks in [8, 3, 100] {
            for _ in 0..10_000 {
                pool.run(tasks, &|i| {
                    sum.fetch_add(i, Ordering::Relaxed);
                });
            }
        }
        assert_eq!(sum.into_inner(), 10_000 * (28 + 3 + 4950));
        println!("30,000 runs of 8 threads: {:.2?}", start.elapsed());
    });
}

#[test]
fn what_tasks_wrote_is_visible_to_the_caller() {
    let pool = Pool::new(4);
    let cells: Vec<AtomicUsize> = (0..64).map(|_| AtomicUsize::new(0)).collect();
    for round in 1..2000 {
        pool.run(64, &|i| cells[i].store(round * (i + 1), Ordering::Relaxed));
        for (i, cell) in cells.iter().enumerate() {
            assert_eq!(cell.load(Ordering::Relaxed), round * (i + 1));
        }
    }
}

#[test]
fn a_panic_reaches_the_caller_after_all_tasks_are_done() {
    within_a_minute(|| {
        for threads in [1, 2, 8] {
            let pool = Pool::new(threads);
            for (tasks, bad) in [(1, 0), (2, 1), (8, 0), (8, 7), (50, 33)] {
                let done = AtomicUsize::new(0);
                let raised = catch_unwind(AssertUnwindSafe(|| {
                    pool.run(tasks, &|i| {
                        if i == bad {
                            panic!("task {i}");
                        }
                        thread::yield_now();
                        done.fetch_add(1, Ordering::Relaxed);
                    });
                }));
                let payload = raised.unwrap_err();
                assert_eq!(*payload.downcast::<String>().unwrap(), format!("task {bad}"));
                assert_eq!(done.into_inner(), tasks - 1);
            }
            // Every task panics: one of them arrives, and the pool works on.
            let raised = catch_unwind(AssertUnwindSafe(|| pool.run(20, &|i| panic!("task {i}"))));
            assert!(raised.unwrap_err().downcast::<String>().unwrap().starts_with("task "));
            assert_eq!(counts(&pool, 100), vec![1; 100]);
        }
    });
}

#[test]
fn a_run_inside_a_task_runs_in_place() {
    within_a_minute(|| {
        let (pool, other) = (Pool::new(3), Pool::new(2));
        let inner = AtomicUsize::new(0);
        for tasks in [3, 10] {
            pool.run(tasks, &|_| {
                let me = thread::current().id();
                for pool in [&pool, &other] {
                    pool.run(5, &|_| {
                        assert_eq!(thread::current().id(), me);
                        inner.fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
        }
        assert_eq!(inner.load(Ordering::Relaxed), 13 * 2 * 5);
        // Outside again, the caller's runs are shared again.
        let barrier = Barrier::new(3);
        pool.run(3, &|_| {
            barrier.wait();
        });
    });
}

#[test]
fn callers_on_several_threads_take_turns() {
    within_a_minute(|| {
        let pool = Pool::new(2);
        let active = AtomicUsize::new(0);
        thread::scope(|scope| {
            for caller in 0..4 {
                let (pool, active) = (&pool, &active);
                scope.spawn(move || {
                    for round in 0..500 {
                        let tasks = 2 + (caller + round) % 9;
                        let sum = AtomicUsize::new(0);
                        pool.run(tasks, &|i| {
                            // Two tasks of one run at most: another caller's run would make it three.
                            assert!(active.fetch_add(1, Ordering::SeqCst) < 2);
                            sum.fetch_add(i + 1, Ordering::Relaxed);
                            active.fetch_sub(1, Ordering::SeqCst);
                        });
                        assert_eq!(sum.into_inner(), tasks * (tasks + 1) / 2);
                    }
                });
            }
        });
    });
}

/// Counts the threads that have ended, by what they leave behind.
struct Ended(Arc<AtomicUsize>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

thread_local! {
    static ENDED: std::cell::RefCell<Option<Ended>> = const { std::cell::RefCell::new(None) };
}

#[test]
fn drop_joins_spinning_and_parked_workers() {
    within_a_minute(|| {
        for threads in [1, 2, 8] {
            for pause in [0, 20] {
                let pool = Pool::new(threads);
                let ended = Arc::new(AtomicUsize::new(0));
                pool.run(threads, &|i| {
                    if i > 0 {
                        ENDED.set(Some(Ended(Arc::clone(&ended))));
                    }
                });
                thread::sleep(Duration::from_millis(pause));
                assert_eq!(ended.load(Ordering::SeqCst), 0);
                drop(pool);
                assert_eq!(ended.load(Ordering::SeqCst), threads - 1, "a worker outlived its pool");
            }
            drop(Pool::new(threads));
        }
    });
}

#[test]
fn parked_workers_wake_for_the_next_run() {
    within_a_minute(|| {
        let pool = Pool::new(2);
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(3));
            assert_eq!(counts(&pool, 2), [1, 1]);
        }
    });
}

#[test]
fn pool_is_send_and_sync() {
    fn check<T: Send + Sync>() {}
    check::<Pool>();
}
