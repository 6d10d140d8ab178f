//! Evaluator and JIT agree bit for bit on generated kernels, at every instruction set and number
//! of threads, on awkward sizes and values. A failure names the case's seed and prints the graph.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

mod case;
mod conversions;
mod graphs;
mod linear;
mod measure;
mod npu;
#[path = "../oracle/mod.rs"]
mod oracle;
mod samples;
mod sizes;
mod small_floats;

use std::ops::Range;

use oracle::draw::Draw;

/// Sizes that fill vectors, tiles and panels, miss them by one, or are prime.
const SIZES: &[usize] = &[1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 63, 65, 127, 257, 1000];

/// Runs `case` for these seeds, as many more as `PROPTEST_CASES` says over proptest's own default
/// of 256. The seed of a failure, given in `MSD_SEED`, runs that case alone.
fn for_seeds(seeds: Range<u64>, case: impl Fn(&mut Draw) -> Result<(), String>) {
    let variable = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let times = |n: u64| variable("PROPTEST_CASES").map_or(n, |cases| n * cases / 256);
    let (start, count) = (times(seeds.start), times(seeds.end - seeds.start).max(1));
    let seeds = variable("MSD_SEED").map_or(start..start + count, |seed| seed..seed + 1);
    for seed in seeds {
        if let Err(what) = case(&mut Draw::new(seed)) {
            panic!("case MSD_SEED={seed}: {what}");
        }
    }
}
