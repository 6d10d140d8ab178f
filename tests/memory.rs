//! Kernels give their code memory back.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use msd::{Options, Source};

/// Address space of this process in bytes, from the kernel's own count of pages.
fn address_space() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().next().unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn three_hundred_kernels_leave_no_memory_behind() {
    let text = "kernel f(W: i8[N, K] scale f32[N], X: bf16[M, K]) -> f32[M, N] { X @ dequant(W).T }";
    let checked = Source::new("f.msd", text).check().unwrap();
    let options = Options::default();
    let rewritten = checked.rewrite(checked.kernel(None).unwrap(), &Default::default(), &options).unwrap();
    let mut sizes = Vec::new();
    let compile = |n: u64| {
        let mut fixed = rewritten.clone();
        fixed.sizes = [("N".into(), n), ("K".into(), 64)].into_iter().collect();
        fixed.compile(&options).unwrap()
    };
    for round in 0..300 {
        drop(compile(64 + round));
        if round % 100 == 99 {
            sizes.push(address_space());
        }
    }
    // One leaked kernel is 8 MB of reserved address space; the allocator may move by less.
    assert!(sizes[2] < sizes[0] + (64 << 20), "{sizes:?}");
}
