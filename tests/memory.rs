//! Kernels give back what they take: code, scratch, packed weights; also when many threads compile,
//! call and drop them at once.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Builder;
use std::time::Duration;

use msd::{Argument, DType, Kernel, Options, Tensor, Weight};

/// Address space of this process in bytes, from the kernel's own count of pages.
fn address_space() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 4096
}

/// Each test measures the whole process, in which nothing else may happen meanwhile.
static ALONE: Mutex<()> = Mutex::new(());

/// What the allocator may keep for itself; less than the 8 MB of address space that one kernel reserves.
const SLACK: usize = 6 << 20;

/// The C library gives threads that live at the same time arenas of their own, 64 MB of address space each, up to eight
/// for each core, and keeps them; so it does with the stacks of some threads that are gone. How many a round needs is a
/// matter of chance: all are made here, so that none is made between two measurements.
fn fill_what_the_library_keeps() {
    let cores = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let arenas = 8 * cores.lines().filter(|line| line.starts_with("processor")).count();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..arenas.max(32) {
            let live = || {
                std::hint::black_box(vec![0u8; 100]);
                while !is_done.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            };
            // If the system allows no more threads, the rounds will not have more either.
            if Builder::new().spawn_scoped(scope, live).is_err() {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(100));
        is_done.store(true, Ordering::Relaxed);
    });
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// The address space when no thread has gone for a while: one that ended may be there for a moment.
fn settled() -> usize {
    let (mut known, mut rounds) = (threads(), 0);
    while rounds < 20 {
        std::thread::sleep(Duration::from_millis(5));
        let now = threads();
        rounds = if now == known { rounds + 1 } else { 0 };
        known = now;
    }
    address_space()
}

/// A kernel, its weight, some tokens and the results that the evaluator gives.
struct Case {
    weight: Weight,
    tokens: Vec<Tensor>,
    expected: Vec<Vec<Tensor>>,
}

const TEXT: &str = "kernel f(w: i8[N, K] scale f32[N], x: f32[M, K]) -> f32[M, N] { x @ dequant(w).T }";

impl Case {
    fn new(kernel: &Kernel, n: usize, k: usize) -> Case {
        let values: Vec<f32> = (0..n * k).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
        let quant = kernel.quantize("w", &values, &[n, k]).unwrap();
        let token = |m: usize| {
            let values: Vec<f32> = (0..m * k).map(|i| ((i * 53 + m) % 97) as f32 / 48.0 - 1.0).collect();
            Tensor::from_f32(DType::F32, vec![m, k], &values).unwrap()
        };
        let tokens: Vec<Tensor> = [1, 2, 5, 33].map(token).into();
        let evaluated = |x: &Tensor| {
            let sizes = [("N".into(), n as u64), ("K".into(), k as u64), ("M".into(), x.shape()[0] as u64)].into();
            let rewritten = msd::Rewritten::new(kernel.graph(), &sizes, kernel.options()).unwrap();
            rewritten.evaluate(&[quant.clone().into(), x.clone().into()]).unwrap()
        };
        let expected = tokens.iter().map(evaluated).collect();
        Case { weight: Weight::from(quant), tokens, expected }
    }

    fn check(&self, kernel: &Kernel, round: usize) {
        let at = round % self.tokens.len();
        let found = kernel.call(&[Argument::from(&self.weight), Argument::from(&self.tokens[at])]).unwrap();
        assert_eq!(found, self.expected[at]);
    }
}

#[test]
fn three_hundred_kernels_leave_no_memory_behind() {
    let _alone = ALONE.lock();
    fill_what_the_library_keeps();
    let mut levels = Vec::new();
    for round in 0..300 {
        let kernel = Kernel::new(TEXT, &Options::new()).unwrap();
        let (n, k) = (64 + round, 64);
        let quant = kernel.quantize("w", &vec![0.5; n * k], &[n, k]).unwrap();
        let x = Tensor::zeros(DType::F32, vec![2, k]).unwrap();
        kernel.call(&[Argument::from(&quant), Argument::from(&x)]).unwrap();
        if round % 100 == 99 {
            levels.push(address_space());
        }
    }
    assert!(levels[2] < levels[0] + SLACK, "{levels:?}");
}

#[test]
fn a_thousand_calls_from_eight_threads_while_kernels_come_and_go() {
    const THREADS: usize = 8;
    const CALLS: usize = 1000;
    let _alone = ALONE.lock();
    let shared = Kernel::new(TEXT, &Options::new().threads(2)).unwrap();
    let case = Case::new(&shared, 200, 96);
    fill_what_the_library_keeps();
    let round = || {
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (shared, case, done) = (&shared, &case, &done);
                scope.spawn(move || {
                    for i in 0..CALLS / THREADS {
                        case.check(shared, thread + i);
                        if i % 25 == 0 {
                            // Of its own, made, used with the same weight and dropped while others run.
                            let own = Kernel::new(TEXT, &Options::new().threads(1 + thread % 3)).unwrap();
                            case.check(&own, i);
                        }
                        if i % 50 == 49 {
                            shared.clear();
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(done.into_inner(), CALLS);
        settled()
    };
    let first = round();
    let second = round();
    assert!(second < first + SLACK, "{first} then {second}");
}
