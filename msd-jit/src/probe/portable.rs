//! The measuring loops in plain Rust, for processors we have no loops for. The compiler
//! vectorises them for the baseline of the target, so the figures are lower bounds. Refuses to
//! contain anything specific to a processor.

use std::hint::black_box;

use super::{Line, Peak, Reader, split};

/// Independent lanes: enough for the latency of a few vectors of any width to overlap.
const LANES: usize = 64;

pub(super) fn reader() -> Reader {
    |part, streams| match streams {
        8.. => sum::<8>(part),
        4.. => sum::<4>(part),
        2.. => sum::<2>(part),
        _ => sum::<1>(part),
    }
}

fn sum<const S: usize>(part: &[Line]) -> u64 {
    let (streams, rest) = split::<S>(part);
    let mut sums = [0u64; 8];
    for i in 0..streams[0].len() {
        for stream in streams {
            add(&mut sums, &stream[i]);
        }
    }
    rest.iter().for_each(|line| add(&mut sums, line));
    sums.iter().fold(0, |total, sum| total.wrapping_add(*sum))
}

fn add(sums: &mut [u64; 8], line: &Line) {
    for (sum, word) in sums.iter_mut().zip(line.0) {
        *sum = sum.wrapping_add(word);
    }
}

pub(super) fn int8() -> Peak {
    Peak {
        instruction: "portable i8*i8+i32",
        macs: LANES as u64,
        rounds: 500_000,
        run: |rounds| {
            let mut sums = [0i32; LANES];
            for _ in 0..rounds {
                // Opaque each time, or the products would be computed once.
                let (a, b) = black_box(([77i8; LANES], [-93i8; LANES]));
                for i in 0..LANES {
                    sums[i] = sums[i].wrapping_add(i32::from(a[i]) * i32::from(b[i]));
                }
            }
            black_box(sums);
        },
    }
}

/// Nothing is known of matrix registers.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn amx() -> Option<Peak> {
    None
}

pub(super) fn f32() -> Peak {
    // Elsewhere a fused multiply-add may be a library call.
    const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
    Peak {
        instruction: "portable f32*f32+f32",
        macs: LANES as u64,
        rounds: 500_000,
        run: |rounds| {
            let (a, b) = black_box(([1.0f32; LANES], [1e-3f32; LANES]));
            let mut sums = [0f32; LANES];
            for _ in 0..rounds {
                for i in 0..LANES {
                    sums[i] = if FUSED { a[i].mul_add(b[i], sums[i]) } else { a[i] * b[i] + sums[i] };
                }
            }
            black_box(sums);
        },
    }
}

/// The first model name in the system's description of the processors, where there is one.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn cpu_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, name) = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == "model name")?;
    Some(name.trim().to_owned())
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn features() -> Vec<&'static str> {
    #[cfg(target_arch = "aarch64")]
    {
        use std::arch::is_aarch64_feature_detected as has;
        let all = [("neon", has!("neon")), ("dotprod", has!("dotprod")), ("i8mm", has!("i8mm")), ("sve", has!("sve"))];
        all.into_iter().filter_map(|(name, present)| present.then_some(name)).collect()
    }
    #[cfg(not(target_arch = "aarch64"))]
    Vec::new()
}
